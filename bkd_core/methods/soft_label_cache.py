# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Soft labels of whole frames: computed once, then cut like the crops."""

from __future__ import annotations

from typing import Callable, Sequence

from bkd_core.batch import Window
from bkd_core.datasets.dataset import SegmentationDataset
import cv2
import torch
from torch import Tensor
from torch.nn import functional

_SIZE_MULTIPLE = 32  # of the frames that the teacher sees
_STRIDE = 4  # of the maps that are kept
_MOST_SHARE_FRAMES = 64
_SMALLEST_SHARE = 1e-5  # of a class that the teacher never sees
SharedMaps = tuple[dict[int, Tensor], dict[int, Tensor]]


class SoftLabelCache:
    """
    What a fixed teacher says about a data set's frames, seen as a whole.

    A frame shows a teacher more of a scene than a crop does, and it has the scale that networks
    are used at. Since the teacher is fixed, one look at each frame is enough.

    Maps are kept as float16 on the device; when the memory is full, those of further frames are
    computed anew each time.

    :param dataset: The frames.
    :param soft_labels: (1, 3, H, W), 0 to 1, and the (h, w) of the map -> (1, C, h, w),
        log-probabilities.
    :param frame_height: Short side at which the teacher gets the frames, pixels.
    :param device: Where the maps are made and kept.
    :param max_bytes: Memory for maps.
    :param maps: Maps of an earlier run of the same teacher on the same frames, by the frame's
        number; they are used and added to.
    """

    def __init__(
        self, dataset: SegmentationDataset,
        soft_labels: Callable[[Tensor, tuple[int, int]], Tensor], *, frame_height: int,
        device: torch.device, max_bytes: int, maps: dict[int, Tensor] | None = None,
    ) -> None:
        self.dataset = dataset
        self.soft_labels = soft_labels
        self.frame_height = frame_height
        self.device = device
        self.maps = {} if maps is None else maps
        self.free_bytes = max_bytes - sum(map(_num_bytes, self.maps.values()))

    @torch.no_grad()
    def crops(self, windows: Sequence[Window], size: tuple[int, int]) -> Tensor:
        """
        Return the soft labels of crops.

        :param windows: Where the crops lie in their frames.
        :param size: (h, w) of the result.
        :return: (len(windows), C, h, w) float32, log-probabilities.
        """
        return torch.cat([cut_map(self.look_up(window.index), window, size) for window in windows])

    def look_up(self, index: int) -> Tensor:
        """
        Return the map of a frame, made if it is not there.

        :param index: Number of the frame.
        :return: (1, C, h, w) float16, log-probabilities.
        """
        if index in self.maps:
            return self.maps[index]
        made = self._look(index)
        if _num_bytes(made) <= self.free_bytes:
            self.free_bytes -= _num_bytes(made)
            self.maps[index] = made
        return made

    @torch.no_grad()
    def class_shares(self) -> Tensor:
        """
        Return the mean probability of each class over frames, at most 64 evenly spaced ones.

        :return: (C,) float32, above 0; the sum is 1.
        """
        count = len(self.dataset)
        chosen = range(0, count, -(-count // _MOST_SHARE_FRAMES))
        means = [self.look_up(index).float().exp().mean((0, 2, 3)) for index in chosen]
        shares = torch.stack(means).mean(0).clamp_min(_SMALLEST_SHARE)
        return shares / shares.sum()

    def _look(self, index: int) -> Tensor:
        frame = self.dataset.image(index)
        scale = self.frame_height / min(frame.shape[:2])
        height, width = (
            max(1, round(side * scale / _SIZE_MULTIPLE)) * _SIZE_MULTIPLE
            for side in frame.shape[:2])
        frame = cv2.resize(
            frame, (width, height),
            interpolation=cv2.INTER_AREA if scale < 1 / 1.5 else cv2.INTER_LINEAR)
        image = torch.from_numpy(frame).to(self.device).permute(2, 0, 1)[None].float() / 255
        image = image.contiguous(memory_format=torch.channels_last)
        return self.soft_labels(image, (height // _STRIDE, width // _STRIDE)).half()


class SoftLabelMemory:
    """Keep the maps of one teacher, for the next run that learns from it."""

    def __init__(self) -> None:
        self._key = ''
        self._maps: SharedMaps = ({}, {})

    def maps(self, key: str) -> SharedMaps:
        """
        Return the maps of a teacher; those of another teacher are forgotten.

        :param key: What the maps depend on: teacher, frames, size, temperature.
        :return: Maps by frame, of the source and of the target; to be added to.
        """
        if key != self._key:
            self._key, self._maps = key, ({}, {})
        return self._maps


def _num_bytes(tensor: Tensor) -> int:
    return tensor.element_size() * tensor.nelement()


def cut_map(log_probability: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """
    Cut a window out of a frame's soft label, bilinearly, and renormalise it.

    :param log_probability: (1, C, H, W), of the whole frame at any resolution.
    :param window: The part to cut.
    :param size: (h, w) of the result.
    :return: (1, C, h, w) float32, log-probabilities.
    """
    height, width = window.frame_size
    share_x, share_y = window.width / width, window.height / height
    center_x = (2 * window.left + window.width) / width - 1
    center_y = (2 * window.top + window.height) / height - 1
    affine = log_probability.new_tensor([[
        [-share_x if window.is_mirrored else share_x, 0, center_x],
        [0, share_y, center_y]]], dtype=torch.float32)
    channels = log_probability.shape[1]
    grid = functional.affine_grid(affine, [1, channels, *size], align_corners=False)
    cut = functional.grid_sample(
        log_probability.float(), grid, mode='bilinear', padding_mode='border',
        align_corners=False)
    return cut.log_softmax(1)
