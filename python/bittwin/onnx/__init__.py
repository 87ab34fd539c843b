# SPDX-License-Identifier: Apache-2.0
"""ONNX files: the vendor's dialect in and out, and standard quantised ONNX in (extra ``onnx``)."""

from __future__ import annotations

from bittwin.onnx._library import OnnxWarning
from bittwin.onnx.load import from_frames, load_onnx, to_frames
from bittwin.onnx.optimize_config import (
    LayerOptions,
    parse_optimize_config,
    read_optimize_config,
    write_optimize_config,
)
from bittwin.onnx.plan import apply_optimize
from bittwin.onnx.save import save_onnx

__all__ = [
    "LayerOptions",
    "OnnxWarning",
    "apply_optimize",
    "from_frames",
    "load_onnx",
    "parse_optimize_config",
    "read_optimize_config",
    "save_onnx",
    "to_frames",
    "write_optimize_config",
]
