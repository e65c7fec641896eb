# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Let torchvision (and timm, which imports it) load beside a torch build of another kind."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMA = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
_library: torch.library.Library | None = None  # the schemas live as long as this object


def ensure_torchvision_imports() -> None:
    """
    Declare the two operators that torchvision's import needs where its extension can't load.

    torchvision's compiled extension only loads beside the torch build that it was made for: a
    CPU torch beside a CUDA torchvision fails at import because `torchvision::nms` has no
    schema. We use neither operator, so their declaration is enough. Where the extension loads,
    nothing is changed.

    :raises ImportError: If torchvision is not installed.
    """
    global _library
    if _library is not None or _extension_loads():
        return
    _library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        _library.define(name + _SCHEMA)


def _extension_loads() -> bool:
    found = importlib.util.find_spec('torchvision')
    if found is None or found.origin is None:
        raise ImportError("torchvision is not installed: pip install 'bkd_ros[train]'")
    folder = Path(found.origin).parent
    for library in sorted(folder.glob('_C*.so')) + sorted(folder.glob('_C*.pyd')):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
        return True
    return False
