# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The commands of `bkd`, one file each; a new one is a file and a name in `Command`."""

from typing import Union

from bkd_core.commands.adapt import Adapt
from bkd_core.commands.bag import Bag
from bkd_core.commands.benchmark import Benchmark
from bkd_core.commands.data import Data
from bkd_core.commands.demo import Demo
from bkd_core.commands.evaluate import Evaluate
from bkd_core.commands.export import Export
from bkd_core.commands.package import Package
from bkd_core.commands.predict import Predict
from bkd_core.commands.runs import Runs
from bkd_core.commands.train import Train
from bkd_core.commands.versions import Versions

__all__ = ['Command']

Command = Union[
    Train, Runs, Adapt, Evaluate, Export, Package, Predict, Demo, Bag, Data, Benchmark, Versions]
