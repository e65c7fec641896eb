# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A fixed teacher with all that sets it apart from the student: size, colours, classes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Callable

from bkd_core.errors import InputError, unknown_name
from bkd_core.labels import id_mapping, IGNORE_INDEX, LabelSpace
import numpy as np
import torch
from torch import nn, Tensor
from torch.nn import functional

ClassGroups = tuple[tuple[int, ...], ...]
# A probability of zero has no logarithm; below this it counts as this.
SMALLEST_PROBABILITY = 1e-7
# How far a sum of float16 probabilities may be off.
_SUM_TOLERANCE = 5e-3


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """
    What must be known about a teacher.

    :param name: For messages.
    :param label_space: What the channels of its output mean.
    :param input_height: Short side, in pixels, of the frames that it was trained on; None if it
        takes one size only.
    :param size_multiple: Its height and width are multiples of it.
    :param mean: Mean to subtract, by colour, in units of 0 to 255, in RGB order.
    :param std: Standard deviation to divide by, likewise.
    :param channel_order: 'rgb' or 'bgr', the order in which it takes the colours.
    :param output: 'logits' or 'probabilities'.
    :param mapping: Counterparts of its classes in the student's label space, beside those that
        are known; None for a class without one.
    """

    name: str
    label_space: LabelSpace
    input_height: int | None
    size_multiple: int = 1
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str = 'rgb'
    output: str = 'logits'
    mapping: dict[str, str | None] = field(default_factory=dict)


class Teacher(nn.Module):
    """
    Images of 0 to 1 at the student's scale in, the teacher's own logits out.

    The images are brought to the scale that the teacher was trained at, so that an object has
    the size that it knows; a teacher of one fixed size gets the crop stretched to it.

    :param network: Normalised images -> logits or probabilities; a module or an exported program.
    :param spec: What is known about it.
    :param label_space: The student's classes.
    :param input_height: Short side of the frames that the student sees, in pixels.
    :param fixed_size: (height, width), if the network takes no other.
    :raises InputError: If a class of the student has no counterpart.
    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], spec: TeacherSpec, *, label_space: LabelSpace,
        input_height: int, fixed_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.class_groups = class_groups(spec, label_space)
        self.fixed_size = fixed_size
        self.scale = 1.0 if fixed_size else spec.input_height / input_height  # `at` sets it, too
        order = slice(None, None, -1 if spec.channel_order == 'bgr' else 1)
        for name in ('mean', 'std'):
            value = torch.tensor(getattr(spec, name)[order]).view(1, 3, 1, 1) / 255
            self.register_buffer(name, value, persistent=False)
        self._is_output_kind_checked = False

    def forward(self, images: Tensor) -> Tensor:
        """
        Return logits in the teacher's label space, at its own resolution.

        :param images: (B, 3, H, W), RGB, 0 to 1.
        :return: (B, C, h, w), float32, finite.
        :raises InputError: If the output has another shape, isn't finite or isn't of its kind.
        """
        size = self.network_size(*images.shape[-2:])
        if size != tuple(images.shape[-2:]):
            images = functional.interpolate(
                images, size=size, mode='bilinear', antialias=True, align_corners=False)
        if self.spec.channel_order == 'bgr':
            images = images.flip(1)
        output = self.network((images - self.mean) / self.std)
        self._check(output, len(images))
        output = output.float()
        if self.spec.output == 'logits':
            return output
        return output.clamp_min(SMALLEST_PROBABILITY).log()

    @property
    def frame_height(self) -> int | None:
        """Return the short side at which it knows frames, pixels; None if its size is fixed."""
        return None if self.fixed_size else self.spec.input_height

    def at(self, input_height: int) -> Teacher:
        """
        Return the same teacher, of the same weights, for images of another scale.

        :param input_height: Short side of the frames that the images are, or are cut out of.
        """
        other = copy.copy(self)
        other.scale = 1.0 if self.fixed_size else self.spec.input_height / input_height
        return other

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """
        Return the (height, width) at which the teacher sees a crop.

        :param height: The crop's height at the student's scale.
        :param width: Its width.
        """
        if self.fixed_size is not None:
            return self.fixed_size
        multiple = self.spec.size_multiple
        return tuple(
            max(1, round(side * self.scale / multiple)) * multiple for side in (height, width))

    def _check(self, output: Tensor, batch: int) -> None:
        spec, classes = self.spec, self.spec.label_space.num_classes
        shape = tuple(getattr(output, 'shape', ()))
        if len(shape) != 4 or shape[:2] != (batch, classes) or 0 in shape:
            raise InputError(
                f"teacher '{spec.name}': expected an output of shape ({batch}, {classes}, h, w), "
                f"one channel a class of label space '{spec.label_space.name}'; got "
                f'{shape or type(output).__name__}')
        if not output.isfinite().all():
            count = int((~output.isfinite()).any(1).sum())
            raise InputError(
                f"teacher '{spec.name}': its output is NaN or infinite at {count} of "
                f'{output[:, 0].numel()} pixels. Check its weights, precision, mean and std')
        if not self._is_output_kind_checked:
            self._check_kind(output.float())
            self._is_output_kind_checked = True

    def _check_kind(self, output: Tensor) -> None:
        sums = output.sum(1)
        is_probability = bool((output >= 0).all() and (sums - 1).abs().max() < _SUM_TOLERANCE)
        if is_probability and self.spec.output == 'logits' and output.shape[1] > 1:
            raise InputError(
                f"teacher '{self.spec.name}': its output lies between 0 and 1 and sums to 1 at "
                "every pixel: these are probabilities, not logits. Write 'output: probabilities' "
                'to have their logarithm taken, or export the network without its softmax')
        if self.spec.output == 'probabilities' and not is_probability:
            raise InputError(
                f"teacher '{self.spec.name}': output: probabilities, but its output does not sum "
                f'to 1 (the sums lie between {float(sums.min()):.4g} and '
                f"{float(sums.max()):.4g}, the values from {float(output.min()):.4g}). Write "
                "'output: logits'")


def class_groups(spec: TeacherSpec, label_space: LabelSpace) -> ClassGroups | None:
    """
    Return which of the teacher's classes make up each class of the student.

    :param spec: The teacher.
    :param label_space: The student's classes.
    :return: Ids of the teacher's classes for each of the student's; None if they are the same.
    :raises InputError: If the mapping names an unknown class or a student's class stays empty.
    """
    space = spec.label_space
    if space.classes == label_space.classes and not spec.mapping:
        return None
    try:
        table = id_mapping(space, label_space)
    except InputError as error:
        if not spec.mapping:
            raise InputError(f"teacher '{spec.name}': {error}") from error
        table = np.full(256, IGNORE_INDEX, np.uint8)
    for name, counterpart in spec.mapping.items():
        for given, known in ((name, space), (counterpart, label_space)):
            if given is not None and given not in known.classes:
                raise unknown_name(
                    f"class (teacher '{spec.name}', mapping, label space '{known.name}')",
                    str(given), known.classes)
        table[space.classes.index(name)] = (
            IGNORE_INDEX if counterpart is None else label_space.classes.index(counterpart))
    ids = table[:space.num_classes]
    groups = tuple(
        tuple(np.flatnonzero(ids == index).tolist()) for index in range(label_space.num_classes))
    missing = [name for name, group in zip(label_space.classes, groups) if not group]
    if missing:
        raise InputError(
            f"'{spec.name}' was trained in the label space '{space.name}'; this run's "
            f"label_space is '{label_space.name}', whose classes {missing} have no counterpart "
            f'among {list(space.classes)}. An exported teacher can name some under "mapping"')
    return groups
