# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bkd_core.commands.options import find_data_root, override_settings, require_training
from bkd_core.commands.scores import print_scores
from bkd_core.config import TrainingConfig
from bkd_core.config_file import load_experiment, to_yaml
import tyro


@dataclass(frozen=True, kw_only=True)
class Train:
    """
    Train the stages of a configuration file.

    Each stage becomes a model directory below the output folder. A finished stage is not
    trained again; an interrupted one goes on from its last checkpoint when the same command is
    given again, as long as the settings that decide the network (all but 'records') are the same.
    Any setting can be replaced for all stages by a dotted option. Started by torchrun, several
    processes, each on a GPU of its own, share every step.

    For example:

        bkd train config/experiments/streets.yaml --output runs/streets
        bkd train config/experiments/streets.yaml --stage student --steps 800
        bkd train FILE --optimizer.learning-rate 1e-4 --seed 1 --output runs/seed1
        bkd train FILE --records.validation-steps 1000 --records.tensorboard true
        bkd train config/experiments/streets.yaml --output runs/streets --resume
        torchrun --standalone --nproc-per-node 4 --max-restarts 3 -m bkd_core train FILE
    """

    config: Annotated[Path, tyro.conf.Positional]
    """YAML file; see config/experiments."""
    output: Path | None = None
    """Folder of the run; default runs/NAME_OF_THE_FILE."""
    data_root: Path | None = None
    """Folder that holds the data sets; default: the variable BKD_DATA_ROOT."""
    stage: tuple[str, ...] = ()
    """Stages to train; default all."""
    replay_frames: int = 0
    """Put so many labelled source frames into each model directory, so that 'bkd adapt' needs no
    data set; only if their licence lets them travel (data_licences must say so)."""
    resume: bool = False
    """Go on with a run that was begun: refuse to begin anew where no stage has a checkpoint or is
    finished, such as in a mistyped --output."""
    show: bool = False
    """Print the resolved settings of every stage and stop."""

    def run(self, overrides: list[str]) -> None:
        """
        Train.

        :param overrides: Dotted options.
        """
        if self.show:
            for name, config in self._stages(overrides).items():
                print(f'# stage {name}\n{to_yaml(config, is_complete=True)}')
            return
        require_training()
        from bkd_core.experiment import chosen_stages, run_experiment
        from bkd_core.runs import require_begun
        from bkd_core.training import joined
        output = self.output or Path('runs') / self.config.stem
        with joined():
            stages = self._stages(overrides)
            if self.resume:
                for sentence in require_begun(output, chosen_stages(stages, self.stage)):
                    print(sentence)
            scores = run_experiment(
                stages, output=output, data_root=find_data_root(self.data_root), only=self.stage,
                replay_frames=self.replay_frames)
            print_scores(scores)
            print(f'models: {output}')

    def _stages(self, overrides: list[str]) -> dict[str, TrainingConfig]:
        return {
            name: config if self.stage and name not in self.stage
            else override_settings(self, config, overrides)
            for name, config in load_experiment(self.config).items()}
