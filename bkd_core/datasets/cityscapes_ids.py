# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tables from the values of street data sets' label files to Cityscapes' classes."""

from __future__ import annotations

from typing import Iterable, Mapping

from bkd_core.datasets.paired_files import value_table
from bkd_core.labels import CITYSCAPES_RAW_TO_TRAIN, get_label_space, id_mapping, LabelSpace
import numpy as np

_NUM_RAW_IDS = 34


def class_values(
    classes: Mapping[int, str], label_space: LabelSpace, *, ignored: Iterable[int],
) -> np.ndarray:
    """
    Return what each value of a label file means, by the names of Cityscapes' classes.

    :param classes: Value -> name of one of the 19 classes.
    :param label_space: The space that is wanted, such as cityscapes16; a class without a
        counterpart in it has none.
    :param ignored: Other values that a file may hold; they mean 'no class'.
    :return: (65536,) int16, as `value_table` returns it.
    """
    cityscapes = get_label_space('cityscapes19')
    mapping = id_mapping(cityscapes, label_space)
    return value_table(
        {value: int(mapping[cityscapes.classes.index(name)]) for value, name in classes.items()},
        ignored)


def raw_id_values(label_space: LabelSpace, *, ignored: Iterable[int] = ()) -> np.ndarray:
    """
    Return the table for label files with Cityscapes' own ids, 0 to 33.

    :param label_space: The space that is wanted.
    :param ignored: Further values that mean 'no class'.
    """
    names = get_label_space('cityscapes19').classes
    classes = {raw: names[train] for raw, train in CITYSCAPES_RAW_TO_TRAIN.items()}
    void = [raw for raw in range(_NUM_RAW_IDS) if raw not in classes]
    return class_values(classes, label_space, ignored=[*void, *ignored])


def train_id_values(label_space: LabelSpace, *, ignored: Iterable[int] = (255,)) -> np.ndarray:
    """
    Return the table for label files with train ids, 0 to 18 and 255.

    :param label_space: The space that is wanted.
    :param ignored: Values that mean 'no class'.
    """
    names = get_label_space('cityscapes19').classes
    return class_values(dict(enumerate(names)), label_space, ignored=ignored)
