# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every step of a round knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bkd_core.adaptation.round_input import RoundInput, RoundTask
from bkd_core.adaptation.round_progress import OnProgress
from bkd_core.adaptation.settings import RoundSettings
from bkd_core.adaptation.versions import ModelVersions, Version
from bkd_core.inference import Segmenter


@dataclass(frozen=True, kw_only=True)
class RoundContext:
    """
    A round.

    :param task: Model, frames and settings.
    :param given: What was read for it.
    :param versions: Where the result goes.
    :param parent: The version in use.
    :param original: The version that adaptation began with.
    :param work: Folder of what was reached.
    :param on_progress: As in `run_round`.
    """

    task: RoundTask
    given: RoundInput
    versions: ModelVersions
    parent: Version
    original: Version
    work: Path
    on_progress: OnProgress

    @property
    def settings(self) -> RoundSettings:
        """Return how to adapt."""
        return self.task.settings

    @property
    def num_rounds(self) -> int:
        """
        Return how many rounds led from the original to the parent.

        A version whose record says it stands for those before it, which may have been pruned.
        """
        known = {version.name: version for version in self.versions.list()}
        rounds, version = 0, self.parent
        while version is not None and version.name != self.original.name:
            if version.num_rounds is not None:
                return rounds + version.num_rounds
            rounds += 1
            version = known.get(version.parent)
        return rounds

    def segmenter(self, directory: Path) -> Segmenter:
        """
        Load a model by one runtime for all, so that only the weights make a difference.

        :param directory: The model directory.
        """
        return Segmenter.load(
            directory, runtime='onnxruntime', num_threads=self.task.threads)
