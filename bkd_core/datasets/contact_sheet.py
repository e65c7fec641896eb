# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A picture that shows a data set at a glance: frames, their labels, and both together."""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.visualization import colorize, legend, overlay, panel
import cv2
import numpy as np

_CELL_WIDTH = 480  # pixels
_COLUMNS = 3


def contact_sheet(
    dataset: SegmentationDataset, indices: Sequence[int], shares: np.ndarray | None,
) -> np.ndarray:
    """
    Draw frames, one a row with its labels and an overlay; three a row without labels.

    :param dataset: The frames.
    :param indices: Numbers of those that are shown, at least one.
    :param shares: (C,) share of each class, which the legend tells; None without labels.
    :return: (H, W, 3) uint8 RGB.
    """
    cells = []
    for index in indices:
        image = _scaled(dataset.image(index), cv2.INTER_AREA)
        cells.append((dataset.name(index), image))
        if dataset.has_labels:
            labels = _scaled(dataset.labels(index), cv2.INTER_NEAREST_EXACT)
            cells.append(('labels', colorize(labels, dataset.label_space)))
            cells.append(('overlay', overlay(image, labels, dataset.label_space)))
    sheet = panel(cells, columns=_COLUMNS)
    if shares is None:
        return sheet
    space = dataset.label_space
    named = replace(space, classes=tuple(
        f'{name} {share:.2%}' for name, share in zip(space.classes, shares)))
    table = legend(named, width=sheet.shape[1], has_unlabelled=True)
    return np.vstack([sheet, table[:, :sheet.shape[1]]])


def _scaled(picture: np.ndarray, interpolation: int) -> np.ndarray:
    height = max(1, round(picture.shape[0] * _CELL_WIDTH / picture.shape[1]))
    if interpolation == cv2.INTER_AREA and picture.shape[1] < _CELL_WIDTH:
        interpolation = cv2.INTER_LINEAR
    return cv2.resize(picture, (_CELL_WIDTH, height), interpolation=interpolation)
