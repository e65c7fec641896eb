# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd adapt`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
import sys
from typing import Annotated, Literal

from bkd_core import model_directory
from bkd_core.adaptation.privacy import class_ids
from bkd_core.adaptation.round_folder import require_same_model, require_whole
from bkd_core.adaptation.round_input import RoundTask, SourceInput
from bkd_core.adaptation.settings import RoundSettings
from bkd_core.adaptation.versions import ModelVersions
from bkd_core.commands.options import refuse_options, require_training
from bkd_core.errors import InputError
import tyro


@dataclass(frozen=True, kw_only=True)
class Adapt:
    """
    Adapt a model to new unlabelled frames, and use the result only if it is proven better.

    The teacher is refreshed on the frames, a student is distilled from it, and a gate compares
    it with the model in use: on labelled source frames, on target frames that were held back,
    and on labelled target frames where some are given. The student becomes a version in the
    output folder, with report.html, and is used only if the gate accepts it and the version
    that it was compared with is still in use then.

    Runs at low priority. Ctrl-C or SIGTERM stops it, and the same command goes on; SIGSTOP and
    SIGCONT pause it.

    For example:

        bkd adapt runs/streets/student drive.mcap --output versions
        bkd adapt versions more_frames --labelled ten_labelled_frames
        bkd adapt versions night_drive.mcap --memory-frames 40
        bkd adapt versions drive.mcap --blur-classes pedestrian car
        bkd adapt default drive --topic /camera/image_raw --replay my_source --output versions
    """

    model: Annotated[str, tyro.conf.Positional]
    """Model directory, or a folder of versions that earlier rounds made of it."""
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Rosbags (rosbag2 folder, .mcap, .db3, .bag), folders of images, frame stores."""
    output: Path | None = None
    """Folder of the versions; default: MODEL itself, if it is one."""
    teacher: Path | None = None
    """Model directory to refresh as the teacher; default: the original, the first version."""
    replay: Path | None = None
    """Folder with images/NAME.jpg and labels/NAME.png of the source, in the model's classes;
    default: the frames that travel with the model ('bkd train --replay-frames')."""
    labelled: Path | None = None
    """The same of the target; the gate uses them, nothing learns from them. 10 are enough."""
    topic: str | None = None
    """Image topic of a rosbag; needed if it holds several."""
    stride: int = 1
    """Use every n-th frame of a rosbag."""
    blur_classes: tuple[str, ...] = ()
    """Classes whose pixels are made unrecognisable in the frames before the round stores, learns
    from or shows one, as far as the model in use finds them. A source itself is not changed."""
    memory_megabytes: int = 0
    """Memory that the process may have; 0 is no limit."""
    threads: int = 0
    """Processor threads; 0 leaves the choice to the libraries."""
    priority: Literal['low', 'idle'] = 'low'
    """low: other processes go first (nice). idle: only what they leave of the processors."""
    restart: bool = False
    """Throw away what an unfinished round reached."""
    restart_if_changed: bool = False
    """Throw it away if it had other settings or target frames; without, that is refused."""
    allow_grey: bool = False
    """Adapt to frames without colour, a monochrome camera's, though the source's have some."""
    check: bool = False
    """Only check that all that a round needs is here, but for target frames, and end."""
    supervisor: int = 0
    """For programs: id of the process that starts this one, gets progress as JSON lines on
    standard output, and with which the round ends."""
    settings: tyro.conf.OmitArgPrefixes[RoundSettings] = field(default_factory=RoundSettings)

    def run(self, overrides: list[str]) -> None:
        """
        Adapt.

        :param overrides: Must be empty.
        """
        refuse_options(self, overrides)
        require_training()
        if not self.sources:
            raise InputError('bkd adapt: got no target frames; name a rosbag, folder or store')
        if self.check:
            self._check(self._output())
            return
        from bkd_core.adaptation.budget import (
            end_with,
            lower_priority,
            memory_limit,
            stop_on_sigterm,
        )
        if self.supervisor:
            end_with(self.supervisor)
        lower_priority(is_idle=self.priority == 'idle')
        with stop_on_sigterm(), memory_limit(self.memory_megabytes):
            self._adapt(self._output())

    def _output(self) -> Path:
        if self.output is not None:
            return self.output
        if not (Path(self.model) / model_directory.POINTER).is_file():
            raise InputError(
                f"bkd adapt: '{self.model}' is no folder of versions; say with --output where "
                'they are to go')
        return Path(self.model)

    def _task(self, output: Path) -> RoundTask:
        return RoundTask(
            model=self.model, sources=self.sources, output=output, settings=self.settings,
            teacher=self.teacher, replay=self.replay, labelled=self.labelled, topic=self.topic,
            stride=self.stride, blur_classes=self.blur_classes, threads=self.threads,
            restart=self.restart, restart_if_changed=self.restart_if_changed,
            allow_grey=self.allow_grey)

    def _check(self, output: Path) -> None:
        from bkd_core.training import choose_device
        directory = model_directory.resolve(self.model)
        if (output / model_directory.POINTER).is_file():
            versions = ModelVersions(output)
            require_same_model(versions, directory)
            in_use = versions.in_use()
            require_whole(in_use)
            directory = in_use.directory
        given = SourceInput.open(self._task(output), directory)
        class_ids(self.blur_classes, given.spec.label_space)
        choose_device(self.settings.device)

    def _adapt(self, output: Path) -> None:
        from bkd_core.adaptation.round import run_round
        from bkd_core.adaptation.round_progress import ProgressLines, RoundResult
        import torch
        if self.threads:
            torch.set_num_threads(self.threads)
        task = self._task(output)
        if self.supervisor:
            lines = ProgressLines(sys.stdout)
            version = run_round(task, on_progress=lines.report).version
            lines.result(RoundResult(
                version=version.name, state=version.state, reason=version.reason))
            return
        outcome = run_round(task)
        for item in outcome.decision.criteria:
            print(f'{"met    " if item.is_met else "NOT MET"}  {item.sentence}')
        version = outcome.version
        print(f'version {version.name}: {version.state}')
        if outcome.decision.is_accepted and version.state != 'in use':
            print(version.reason)
        print(f'report: {version.directory}/report.html')
