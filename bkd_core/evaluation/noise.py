# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The noise matrix: for which classes a teacher takes each true class.

In the motivation figure of BKD (Wang & Li 2022) a teacher's errors stay mostly inside groups of
like classes, so that the runner-up of its soft label is often right where the winner is wrong.
"""

from __future__ import annotations

from typing import Sequence

from bkd_core.evaluation.confusion import ConfusionMatrix
from bkd_core.labels import LabelSpace
import cv2
import numpy as np

# The groups of that figure, with the names of other label spaces for the same things.
CONFUSABLE_GROUPS = (
    ('road', 'sidewalk', 'terrain', 'wall', 'fence'),
    ('pole', 'traffic light', 'traffic sign', 'sign'),
    ('person', 'rider', 'motorcycle', 'bicycle', 'pedestrian', 'bicyclist'),
    ('truck', 'car', 'bus', 'train'))

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CELL, _GAP = 44, 8
_PAPER, _INK, _ABSENT = (255, 255, 255), (20, 20, 24), (226, 226, 226)
_FULL = np.array((8, 48, 107))  # the colour of 1


def noise_matrix(confusion: ConfusionMatrix) -> np.ndarray:
    """
    Return the confusion matrix with every row divided by its sum.

    :param confusion: A teacher's predictions against the truth.
    :return: (C, C): share of the true class (row) that was taken for a class (column), 0 to 1;
        NaN in the row of a class that does not occur. A row sums to less than 1 where a
        prediction was 255.
    """
    counts = confusion.counts.astype(float)
    total = counts.sum(axis=1, keepdims=True)
    classes = counts[:, :confusion.num_classes]
    return np.divide(classes, total, out=np.full_like(classes, np.nan), where=total > 0)


def share_inside_groups(
    confusion: ConfusionMatrix, label_space: LabelSpace, *,
    groups: Sequence[Sequence[str]] = CONFUSABLE_GROUPS,
) -> float:
    """
    Return which share of the wrong pixels of grouped classes stayed inside their group.

    :param confusion: A teacher's predictions against the truth.
    :param label_space: Its classes.
    :param groups: Class names; those that the label space lacks are passed over.
    :return: 0 to 1; NaN if no pixel of a grouped class is wrong.
    """
    inside = wrong = 0
    for group in groups:
        ids = [label_space.classes.index(name) for name in group if name in label_space.classes]
        for index in ids:
            hits = confusion.counts[index, index]
            inside += confusion.counts[index, ids].sum() - hits
            wrong += confusion.counts[index].sum() - hits
    return float(inside / wrong) if wrong else float('nan')


def noise_picture(matrix: np.ndarray, label_space: LabelSpace) -> np.ndarray:
    """
    Draw a noise matrix: true classes down, predicted classes across, dark where it is 1.

    :param matrix: (C, C) from `noise_matrix`.
    :param label_space: Names of its classes.
    :return: (H, W, 3), uint8 RGB.
    """
    assert matrix.shape == (label_space.num_classes,) * 2, matrix.shape
    side = _CELL * len(matrix)
    margin = 2 * _GAP + max(_text_width(name) for name in label_space.classes)
    caption = 30
    picture = np.full((caption + margin + side + _GAP, margin + side + _GAP, 3), _PAPER, np.uint8)
    _write(picture, 'row: true class, column: taken for', (_GAP, 20))
    # A column's name is written like a row's, then turned; it reads from below.
    names = np.full((side, margin, 3), _PAPER, np.uint8)
    for index, name in enumerate(label_space.classes):
        middle = index * _CELL + _CELL // 2 + 5
        right = margin - _GAP - _text_width(name)
        _write(picture, name, (right, caption + margin + middle))
        _write(names, name, (_GAP, middle))
    picture[caption:caption + margin, margin:margin + side] = np.rot90(names)
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            _draw_cell(
                picture, value, margin + column * _CELL, caption + margin + row * _CELL)
    return picture


def _draw_cell(picture: np.ndarray, value: float, left: int, top: int) -> None:
    if np.isnan(value):
        color, ink, text = _ABSENT, _INK, '-'
    else:
        mixed = np.array(_PAPER) * (1 - value) + _FULL * value
        color = tuple(int(round(each)) for each in mixed)
        ink = _PAPER if value > .5 else _INK
        text = '1.0' if value >= .995 else f'{value:.2f}'[1:]
    cv2.rectangle(picture, (left, top, _CELL - 1, _CELL - 1), color, cv2.FILLED)
    if np.isnan(value) or value >= .005:  # a field of zeros would hide the rest
        origin = (left + (_CELL - _text_width(text)) // 2, top + _CELL // 2 + 5)
        _write(picture, text, origin, ink)


def _text_width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, .5, 1)[0][0]


def _write(picture: np.ndarray, text: str, origin: tuple[int, int], ink=_INK) -> None:
    cv2.putText(picture, text, origin, _FONT, .5, ink, 1, cv2.LINE_AA)
