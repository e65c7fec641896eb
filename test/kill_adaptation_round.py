# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Kill a round (SIGKILL) at every stage in turn, and let it come to its end.

A process that has trained cannot fork one that trains, so this is a program of its own: it never
trains, each of its children does. `test_adaptation_faults.py` runs it:

    python kill_adaptation_round.py MODEL FRAMES OUTPUT NUM_THREADS
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import signal
import sys
from typing import Any, Callable

from bkd_core import experiment
from bkd_core.adaptation import round as round_module, round_version, target_frames
from bkd_core.adaptation.round import run_round
from bkd_core.adaptation.round_input import RoundTask
from bkd_core.adaptation.versions import ModelVersions
from bkd_core.models import MODELS
from bkd_core.training import Trainer
from test_adaptation_round import SETTINGS
from tiny_training import TinyNetwork
import torch

Patch = tuple[Any, str, Callable]


def at_call(number: int, owner: Any, name: str) -> Patch:
    """
    Return a replacement that kills its process at a call.

    :param number: Of the call, from 1; the ones before are the original's.
    :param owner: Module or class.
    :param name: Of its function.
    """
    original = getattr(owner, name)
    calls = []

    def function(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **keywords)
    return owner, name, function


def at_step(stage: str, step: int) -> Patch:
    """
    Return a training step that kills its process.

    :param stage: 'teacher' or 'student'.
    :param step: Number of the step.
    """
    original = Trainer.train_step

    def train_step(self: Trainer, batch: Any) -> Any:
        if self.directory.name == stage and self.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, batch)
    return Trainer, 'train_step', train_step


def at_removal(name: str) -> Patch:
    """
    Return a replacement of `shutil.rmtree` that removes half of a folder and is killed.

    :param name: The folder's.
    """
    original = shutil.rmtree

    def rmtree(path: str | Path, *arguments: Any, **keywords: Any) -> None:
        if Path(path).name == name:
            for file in sorted(Path(path).iterdir())[::2]:
                file.unlink() if file.is_file() else original(file)
            os.kill(os.getpid(), signal.SIGKILL)
        original(path, *arguments, **keywords)
    return shutil, 'rmtree', rmtree


# In the order of a round.
STAGES = {
    'frames are kept': lambda: at_call(5, target_frames, 'encode_jpeg'),
    'teacher trains': lambda: at_step('teacher', 9),
    'teacher is written': lambda: at_call(1, experiment, 'export_onnx'),
    'student trains': lambda: at_step('student', 21),
    'student is written': lambda: at_call(1, experiment, 'export_onnx'),
    'gate measures': lambda: at_call(2, round_module, 'measure_student'),
    'report is written': lambda: at_call(1, round_version, 'write_round_report'),
    'version is added': lambda: at_call(1, ModelVersions, 'add'),
    'version is used': lambda: at_call(1, ModelVersions, 'use'),
}
CLEARING = {
    'versions are pruned': lambda: at_call(1, ModelVersions, 'prune'),
    'work is cleared away': lambda: at_removal('.round'),
}


def run(task: RoundTask, patch: Patch | None) -> int:
    """
    Make a round in a child.

    :param task: The round.
    :param patch: What is replaced in the child.
    :return: The signal that ended it; 0 if none did.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            if patch is not None:
                setattr(*patch)
            run_round(task)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def check(output: Path, stage: str, *, in_use: int) -> None:
    """
    Require that a whole version is in use and none is damaged.

    :param output: Folder of the versions.
    :param stage: For the message.
    :param in_use: Number of the one that is expected.
    """
    versions = ModelVersions(output)
    states = [version.state for version in versions.list()]
    assert versions.in_use().number == in_use and 'damaged' not in states, (stage, states)


def main(model: Path, frames: Path, output: Path, num_threads: int) -> None:
    """
    Kill, check, and come to an end.

    :param model: The model to adapt.
    :param frames: Its target.
    :param output: Folder of the versions.
    :param num_threads: Of torch; results are equal to the bit for equal numbers only.
    """
    MODELS['tiny'] = TinyNetwork
    torch.set_num_threads(num_threads)
    task = RoundTask(model=model, sources=(frames,), output=output, settings=SETTINGS)
    round_module.begin_versions(ModelVersions(output), model)
    for stage, patch in STAGES.items():
        assert run(task, patch()) == signal.SIGKILL, stage
        check(output, stage, in_use=1)
    for stage, patch in CLEARING.items():
        copy = RoundTask(
            model=model, sources=(frames,), settings=SETTINGS,
            output=Path(shutil.copytree(output, output.with_name(stage.replace(' ', '_')))))
        assert run(copy, patch()) == signal.SIGKILL, stage
        check(copy.output, stage, in_use=2)
    assert run(task, None) == 0
    check(output, 'the end', in_use=2)


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
