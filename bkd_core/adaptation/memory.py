# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
A few unlabelled frames of all domains that a version was adapted to, inside its directory.

    memory/adapting/000001_NAME.jpg     frames that the next round learns from again
    memory/held_back/000001_NAME.jpg    frames that only its gate looks at

The number is that of the version that the frames' round began with, so that each round of a
line of versions has its own. Nothing is stored unless the settings ask for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from bkd_core import atomic
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.image_folder import ImageFolder
from bkd_core.labels import LabelSpace
import numpy as np

MEMORY = 'memory'
ADAPTING, HELD_BACK = 'adapting', 'held_back'
# One frame in this many is held back for the gate.
_GATE_SHARE = 4


@dataclass(frozen=True, kw_only=True)
class Memory:
    """
    Frames of earlier domains, without labels.

    :param adapting: Frames to learn from.
    :param held_back: Frames that were never learnt from.
    """

    adapting: SegmentationDataset
    held_back: SegmentationDataset


@dataclass(frozen=True, kw_only=True)
class MemoryFile:
    """
    A frame that is or may become a part of the memory.

    :param round_name: Name of the round that it comes from.
    :param name: Its file's name in the memory.
    :param path: Where it lies now.
    :param num_bytes: Its size.
    """

    round_name: str
    name: str
    path: Path
    num_bytes: int


def open_memory(version: Path, *, label_space: LabelSpace) -> Memory | None:
    """
    Return the memory that a version carries; None if it carries none.

    :param version: Its model directory.
    :param label_space: The classes that the frames are to be seen in.
    """
    if not (version / MEMORY).is_dir():
        return None
    adapting, held_back = (
        ImageFolder(
            root=version / MEMORY, images=part, labels=None, label_space=label_space.name)
        for part in (ADAPTING, HELD_BACK))
    return Memory(adapting=adapting, held_back=held_back)


def write_memory(
    directory: Path, *, before: Path, frames: dict[str, Sequence[Path]], round_name: str,
    max_frames: int, max_bytes: int, seed: int,
) -> None:
    """
    Write the memory of a new version: that of the version before and frames of its round.

    :param directory: The new version's model directory.
    :param before: The model directory of the version that it was made from.
    :param frames: JPEG files of the round, by part: 'adapting' and 'held_back', none empty.
    :param round_name: Name of the round, six digits, unlike those in the memory before.
    :param max_frames: Frames of the memory, at most; a quarter is held back.
    :param max_bytes: Their size, at most; one frame of each part stays in any case.
    :param seed: Which frames give way follows from it.
    """
    num_held_back = max(1, max_frames // _GATE_SHARE)
    shares = {ADAPTING: 1 - num_held_back / max_frames, HELD_BACK: num_held_back / max_frames}
    with atomic.directory(directory / MEMORY) as folder:
        for number, (part, share) in enumerate(shares.items()):
            known = sorted((before / MEMORY / part).glob('*.jpg'))
            files = [
                *(_file(path.name[:6], path.name, path) for path in known),
                *(_file(round_name, f'{round_name}_{path.parent.name}_{path.name}', path)
                  for path in frames[part])]
            (folder / part).mkdir()
            for file in balanced(
                    files, max_files=round(share * max_frames), max_bytes=share * max_bytes,
                    rng=np.random.default_rng([seed, int(round_name), number])):
                (folder / part / file.name).write_bytes(file.path.read_bytes())


def _file(round_name: str, name: str, path: Path) -> MemoryFile:
    return MemoryFile(
        round_name=round_name, name=name, path=path, num_bytes=path.stat().st_size)


def balanced(
    files: Sequence[MemoryFile], *, max_files: int, max_bytes: float, rng: np.random.Generator,
) -> list[MemoryFile]:
    """
    Return files within both bounds, as equally many of each round as there are.

    While there are too many, one that is drawn from the round with the most gives way, as in
    GDumb's greedy sampler (Prabhu et al. 2020, ECCV, "GDumb: A Simple Approach that Questions
    Our Progress in Continual Learning"), with rounds in the place of classes.

    :param files: At least one.
    :param max_files: Their number, at most; at least 1.
    :param max_bytes: Their size, at most; the last file stays in any case.
    :param rng: Draws.
    """
    kept = list(files)
    num_bytes = sum(file.num_bytes for file in kept)
    while len(kept) > 1 and (len(kept) > max_files or num_bytes > max_bytes):
        counts = Counter(file.round_name for file in kept)
        most = max(counts.values())
        candidates = [
            index for index, file in enumerate(kept) if counts[file.round_name] == most]
        num_bytes -= kept.pop(int(rng.choice(candidates))).num_bytes
    return kept
