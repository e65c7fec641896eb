# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file of a model directory takes and gives, whichever library runs it."""

from __future__ import annotations

from pathlib import Path

from bkd_core import model_directory
from bkd_core.errors import InputError


def check_interface(
    path: Path, num_classes: int, *, inputs: list[tuple[str, str, list[int | None]]],
    outputs: dict[str, list[int | None]],
) -> None:
    """
    Compare a graph's inputs and outputs with what `bkd_core.export` writes.

    :param path: The file, for the message.
    :param num_classes: How many classes it must have.
    :param inputs: Name, type and shape of each input; None where a side is open.
    :param outputs: Shape of each output, by its name.
    :raises InputError: If it is another graph or of another model.
    """
    found = [(name, kind, len(shape)) for name, kind, shape in inputs]
    if (found != [('image', 'uint8', 4)] or inputs[0][2][0] is not None
            or len(outputs.get('logits', ())) != 4):
        raise InputError(
            f"{path}: expected one input 'image', uint8 (batch, h, w, 3) with a free batch, and "
            f"an output 'logits' (batch, C, y, x); got inputs {inputs} and outputs {outputs}. "
            'Export the model again')
    channels = outputs['logits'][1]
    if channels not in (None, num_classes):
        raise InputError(
            f'{path}: its logits have {channels} classes, but the label space in '
            f'{model_directory.MODEL_YAML} has {num_classes}. They are of different models')
