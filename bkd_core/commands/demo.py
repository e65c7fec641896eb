# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bkd_core.commands.options import refuse_options, require_training


@dataclass(frozen=True, kw_only=True)
class Demo:
    """
    Show the whole way: two generated domains, adaptation, a robot's camera before and after.

    Generates labelled source streets and a recording of unlabelled target streets, trains a
    source-only network, a teacher and a BKD student, lets the gate of the adaptation rounds decide
    whether the student takes the source-only network's place, plays the recording through the
    running ROS 2 node before and after, and writes report.html. About four minutes on two cores.

    For example:

        bkd demo
        bkd demo --output my_demo --steps 60
    """

    output: Path = Path('demo_output')
    """Folder for models, versions, recordings and report.html."""
    steps: int | None = None
    """Steps of each training stage; default: what the demo's configuration says."""
    ros: bool = True
    """Play the recording through the ROS 2 node (needs rclpy)."""

    def run(self, overrides: list[str]) -> None:
        """
        Run the demo.

        :param overrides: Must be empty.
        """
        refuse_options(self, overrides)
        require_training()
        from bkd_core.benchmarks.demo import run_demo
        run_demo(self.output, steps=self.steps, use_ros=self.ros)
