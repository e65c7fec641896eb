# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From frames to the labels that the node's parameters ask for; knows nothing of ROS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Sequence

from bkd_core.errors import InputError
from bkd_core.inference import OutOfMemory, Segmentation, Segmenter
from bkd_core.inference.segmenter import resize_frame
from bkd_core.labels import IGNORE_INDEX
import numpy as np

WARM_UP_SIZE = (480, 640)


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """
    What becomes of a frame.

    :param region: Left, top, right and bottom of the part that is labelled, as shares of width
        and height; the rest gets 255.
    :param at_network_size: Whether frames, and so labels, are brought to the network's size.
    """

    region: tuple[float, float, float, float]
    at_network_size: bool

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Labelling:
        """
        Read a node's parameters.

        :param values: Values of `parameters.SEGMENTATION`.
        :raises InputError: If the region is none.
        """
        return cls(
            region=region_of_interest(values['region_of_interest']),
            at_network_size=values['output_size'] == 'network')

    def resized(self, frame: np.ndarray, segmenter: Segmenter) -> np.ndarray:
        """
        Return a frame at the size of its labels.

        :param frame: (H, W, 3) uint8 RGB.
        :param segmenter: The network.
        """
        return resize_frame(frame, segmenter.spec) if self.at_network_size else frame

    def label(
        self, segmenter: Segmenter, frames: Sequence[np.ndarray], *, with_confidence: bool,
        threshold: float,
    ) -> list[Segmentation]:
        """
        Label frames in one go.

        :param segmenter: The network.
        :param frames: Each (H, W, 3) uint8 RGB.
        :param with_confidence: Whether somebody wants the confidence.
        :param threshold: Pixels whose label is less probable get 255; 0 to 1.
        :return: For each frame, labels and confidence of its size.
        """
        parts = [self._part(*frame.shape[:2]) for frame in frames]
        results = segmenter.segment_batch(
            [frame[part] for frame, part in zip(frames, parts)],
            with_confidence=with_confidence or threshold > 0)
        return [
            _whole(_certain(result, threshold), frame.shape[:2], part)
            for result, frame, part in zip(results, frames, parts)]

    def _part(self, height: int, width: int) -> tuple[slice, slice]:
        left, top, right, bottom = self.region
        # At least one pixel, whatever the shares are.
        x, y = (min(round(share * size), size - 1) for share, size in
                ((left, width), (top, height)))
        return np.s_[y:max(y + 1, round(bottom * height)), x:max(x + 1, round(right * width))]


def _certain(result: Segmentation, threshold: float) -> Segmentation:
    """Give the uncertain pixels 255, in place."""
    if threshold > 0:
        result.labels[result.confidence < threshold * 255] = IGNORE_INDEX
    return result


def _whole(
    result: Segmentation, size: tuple[int, int], part: tuple[slice, slice],
) -> Segmentation:
    """Return the result at the whole frame's size: 255 and no confidence outside of the part."""
    if result.labels.shape == size:
        return result
    labels = np.full(size, IGNORE_INDEX, np.uint8)
    labels[part] = result.labels
    confidence = None
    if result.confidence is not None:
        confidence = np.zeros(size, np.uint8)
        confidence[part] = result.confidence
    return replace(result, labels=labels, confidence=confidence)


def region_of_interest(shares: list[float]) -> tuple[float, float, float, float]:
    """
    Check the region that is labelled.

    :param shares: Left, top, right, bottom, 0 to 1.
    :raises InputError: If it is no such region.
    """
    if len(shares) == 4:
        left, top, right, bottom = shares
        if 0 <= left < right <= 1 and 0 <= top < bottom <= 1:
            return left, top, right, bottom
    raise InputError(
        f"parameter 'region_of_interest': got {list(shares)}; expected left, top, right and "
        'bottom as shares from 0 to 1, left below right and top below bottom')


def load_segmenter(values: dict[str, Any], *, before: Segmenter | None = None) -> Segmenter:
    """
    Load the model that a node's parameters ask for.

    :param values: Values of `parameters.SEGMENTATION`.
    :param before: The network whose place it takes: it gets warm for the same frames.
    :raises InputError: If it cannot be loaded, or the device has no room for one frame.
    """
    segmenter = Segmenter.load(
        values['model'], runtime=values['runtime'], num_threads=values['num_threads'],
        input_height=values['input_height'] or None, device=values['device'])
    # The first inference is the slow one, and shows here, not at each frame, what is wrong.
    batches = before.recent_batches if before else []
    if all(count > 1 for *_, count in batches):
        batches.append((*(batches[-1][:2] if batches else WARM_UP_SIZE), 1))
    for *size, count in batches:
        try:
            segmenter.warm_up(*size, count)
        except OutOfMemory as error:
            if count == 1:
                raise InputError(f"model '{segmenter.directory}': {error}") from error
    return segmenter
