# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From a trained network to the files of other runtimes, and the check each must pass."""

from bkd_core.export.int8 import export_int8
from bkd_core.export.model import export_model, Exported, ExportTask, file_of
from bkd_core.export.onnx import export_onnx
from bkd_core.export.parity import check_parity, ExportError, measure_parity, Parity

__all__ = [
    'check_parity', 'export_int8', 'export_model', 'export_onnx', 'Exported', 'ExportError',
    'ExportTask', 'file_of', 'measure_parity', 'Parity']
