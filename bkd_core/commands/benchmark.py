# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd benchmark` and its subcommands, which `Benchmark` lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from bkd_core.commands.benchmark_frames import Selection, Shift
from bkd_core.commands.benchmark_methods import Adaptation, Online, Search
from bkd_core.commands.benchmark_speed import Latency, Node, Students, Training
from bkd_core.commands.options import refuse_options
import tyro


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """
    Measure something side by side, and write the table.

    For example:

        bkd benchmark adaptation --help
        bkd benchmark search --help
        bkd benchmark online --help
        bkd benchmark node --help
        bkd benchmark latency --help
        bkd benchmark selection --help
        bkd benchmark shift --help
        bkd benchmark students --help
        bkd benchmark training --help
    """

    what: tyro.conf.OmitArgPrefixes[tyro.conf.OmitSubcommandPrefixes[
        Union[Adaptation, Search, Online, Node, Latency, Selection, Shift, Students, Training]]]

    def run(self, overrides: list[str]) -> None:
        """
        Measure.

        :param overrides: Must be empty.
        """
        refuse_options(self.what, overrides, 'benchmark ')
        self.what.run()
