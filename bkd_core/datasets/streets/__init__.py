# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Generated street scenes in several looks, with exact labels; no file is needed."""

from __future__ import annotations

from functools import lru_cache

from bkd_core.datasets.streets.layout import Street
from bkd_core.datasets.streets.look import LOOKS
from bkd_core.datasets.streets.scene import Moment, Scene
from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import get_label_space
import numpy as np

DRIVE_FRAMES = 200  # frames of one drive of the target
FRAME_PERIOD_S = 0.1
_SPEED = 9.0  # metres a second


class Streets:
    """
    Street scenes that are drawn when they are asked for.

    Frames of the source are unrelated scenes, as a simulator gives them. Frames of the target,
    and of the same camera by 'night' and in 'fog', are a drive at 10 Hz that moves on from frame
    to frame; every 200 frames another drive begins, in another street and weather. A frame
    follows from (domain, seed, number) alone. To draw one takes as long as to train on it: those
    that were asked for are kept, as far as they fit.

    :param domain: 'source', 'target', 'night' or 'fog'.
    :param num_frames: Number of frames.
    :param size: (height, width), pixels, each at least 32.
    :param seed: Another seed gives other streets.
    :param first_frame: Number of the first frame.
    :param has_labels: False refuses to give labels, as a real target would.
    :param memory_megabytes: Memory for drawn frames; one is kept in any case.
    :raises InputError: If a setting is out of its range.
    """

    def __init__(
        self, *, domain: str, num_frames: int, size: tuple[int, int] = (360, 640), seed: int = 0,
        first_frame: int = 0, has_labels: bool = True, memory_megabytes: int = 256,
    ) -> None:
        if domain not in LOOKS:
            raise unknown_name("domain of data set 'streets'", domain, LOOKS)
        if num_frames < 1 or first_frame < 0 or seed < 0:
            raise InputError(
                f"data set 'streets': got num_frames={num_frames}, first_frame={first_frame}, "
                f'seed={seed}; expected at least 1, 0 and 0')
        if memory_megabytes < 0:
            raise InputError(
                f"data set 'streets': got memory_megabytes={memory_megabytes}; expected 0 or more")
        if len(size) != 2 or min(size) < 32:
            raise InputError(
                f"data set 'streets': got size={size}; expected (height, width), each at least 32")
        self.has_labels = has_labels
        self.label_space = get_label_space('street9')
        self._domain = domain
        self._num_frames = num_frames
        self._size = (int(size[0]), int(size[1]))
        self._seed = seed
        self._first_frame = first_frame
        frame_bytes = 4 * self._size[0] * self._size[1]  # three colours and a label
        self._most_kept = max(1, memory_megabytes * 1_000_000 // frame_bytes)
        self._drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._num_frames

    def name(self, index: int) -> str:
        """Return domain and number of a frame."""
        return f'{self._domain}_{self._number(index):06d}'

    def image(self, index: int) -> np.ndarray:
        """Return a frame, (H, W, 3) uint8 RGB."""
        return self._render(index)[0].copy()

    def labels(self, index: int) -> np.ndarray:
        """
        Return a frame's labels, (H, W) uint8 in label space street9.

        :param index: Number of the frame, from 0.
        :raises InputError: If the set was opened without labels.
        """
        if not self.has_labels:
            raise InputError(
                f"data set 'streets', frame {self.name(index)}: opened without labels "
                '(has_labels: false)')
        return self._render(index)[1].copy()

    def _number(self, index: int) -> int:
        if not 0 <= index < self._num_frames:
            raise IndexError(f'frame {index} of {self._num_frames}')
        return self._first_frame + index

    def _render(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        number = self._number(index)
        if number not in self._drawn:
            if len(self._drawn) == self._most_kept:
                # The newest gives way: training passes over all, and then meets the others again.
                self._drawn.popitem()
            self._drawn[number] = self._draw(number)
        return self._drawn[number]

    def _draw(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if self._domain == 'source':
            drive, along, time = number, 40.0, float(number % 97)
        else:
            drive, frame = divmod(number, DRIVE_FRAMES)
            time = frame * FRAME_PERIOD_S
            along = _SPEED * time
        scene = _scene(self._domain, self._seed, drive, self._size)
        return scene.render(Moment(
            along=along, time=time, seed=(self._seed, len(self._domain), 9, number)))


@lru_cache(maxsize=4)
def _scene(domain: str, seed: int, drive: int, size: tuple[int, int]) -> Scene:
    return Scene(Street(LOOKS[domain], seed, drive), seed, size)
