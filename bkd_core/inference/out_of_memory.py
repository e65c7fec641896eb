# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one exception for a forward pass that does not fit, whatever runtime says so and how."""

from __future__ import annotations

import numpy as np

# ONNX Runtime and OpenVINO have no exception of their own for it: their arenas, the C++ allocator,
# CUDA and cuDNN.
_TEXTS = (
    'failed to allocate', 'bad allocation', 'bad_alloc', 'out of memory', '_alloc_failed')


def says_out_of_memory(error: Exception) -> bool:
    """
    Return whether an error of a runtime means that memory does not suffice.

    :param error: Whatever it raised.
    """
    return any(text in str(error).lower() for text in _TEXTS)


class OutOfMemory(MemoryError):
    """
    The device has no room for a forward pass; fewer or smaller frames at once may fit.

    :param images: (B, h, w, 3); what the network was to see.
    :param error: What the runtime raised.
    """

    def __init__(self, images: np.ndarray, error: Exception) -> None:
        count, height, width = images.shape[:3]
        super().__init__(
            f'out of memory with {count} x {width}x{height} pixels at once: '
            f'{str(error).strip().splitlines()[0]}. Set input_height or max_batch lower, or free '
            'memory of the device')
