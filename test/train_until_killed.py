# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""bkd on painted frames and tiny networks; the last process is killed once."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import sys

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from bkd_core import experiment  # noqa: E402
from bkd_core.__main__ import main  # noqa: E402
from bkd_core.models import MODELS  # noqa: E402
from fixtures_processes import NETWORKS, UnevenFrames  # noqa: E402


class KilledTrainer(experiment.Trainer):
    """A trainer whose process does not survive a step of the first attempt."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if self.processes.is_first:
            with (self.directory / 'starts.txt').open('a') as file:
                file.write(f'{self.step}\n')

    def train_step(self, batch):
        """Make a step, or end."""
        is_last = self.processes.rank == self.processes.size - 1
        if (is_last and os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'
                and (self.directory.name, self.step) == ('student', 7)):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(batch)


if __name__ == '__main__':
    MODELS.update(NETWORKS)
    experiment.Trainer = KilledTrainer
    experiment.open_dataset = lambda config, data_root: UnevenFrames(6)
    main()
