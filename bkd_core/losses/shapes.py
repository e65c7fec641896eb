# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The check that keeps a loss from broadcasting two maps that do not belong together."""

from __future__ import annotations

from torch import Tensor


def check_probability_maps(student: Tensor, teacher: Tensor) -> None:
    """
    Refuse two maps over classes that differ in shape.

    :param student: Expected (B, C, H, W).
    :param teacher: Expected the same.
    :raises ValueError: If they disagree, or are not maps over classes.
    """
    if student.dim() != 4 or student.shape != teacher.shape:
        raise ValueError(
            f'expected student and teacher maps of one shape (B, C, H, W); got '
            f'{tuple(student.shape)} and {tuple(teacher.shape)}')


def check_pixel_maps(classes: Tensor, pixels: Tensor) -> None:
    """
    Refuse a map over pixels that does not lie on the pixels of a map over classes.

    :param classes: Expected (B, C, H, W).
    :param pixels: Expected (B, H, W).
    :raises ValueError: If they disagree.
    """
    if classes.dim() != 4 or pixels.shape != classes.shape[:1] + classes.shape[2:]:
        raise ValueError(
            f'expected maps of shapes (B, C, H, W) and (B, H, W); got '
            f'{tuple(classes.shape)} and {tuple(pixels.shape)}')


def check_same_pixels(**maps: Tensor) -> None:
    """
    Refuse maps over pixels that differ in shape.

    :param maps: Each expected (B, H, W), by the name that the message shall use.
    :raises ValueError: If they disagree.
    """
    shapes = {name: tuple(values.shape) for name, values in maps.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 3 for shape in shapes.values()):
        raise ValueError(f'expected maps of one shape (B, H, W); got {shapes}')
