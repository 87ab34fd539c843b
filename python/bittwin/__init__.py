# SPDX-License-Identifier: Apache-2.0
"""bittwin: the bit-exact twin of an integer NPU.

The chip's arithmetic, once, in C++ kernels under a numpy API; golden-model checks of hardware dumps on top.
A *code* is an integer on a wire, a *value* a real number; every rounding is named; nothing in the integer
path has a tolerance. Start with `linear`, `readout` and `verify`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bittwin import chips, cmodel, digital, requant, tables
from bittwin.activation import clip, lookup, relu
from bittwin.bounds import AccumulatorBound, accumulator_bound
from bittwin.conv import (
    conv2d,
    conv2d_accumulate,
    conv_transpose2d,
    conv_transpose2d_accumulate,
)
from bittwin.errors import BittwinError, DumpError, NetworkError
from bittwin.functional import accumulate, linear, requantize
from bittwin.kernel_info import active_kernel, kernels
from bittwin.packed import PackedWeight, pack_weight
from bittwin.requant import Requant, half_even, half_even_f32, readout
from bittwin.split import split_conv2d, split_conv_transpose2d, split_linear
from bittwin.threads import get_num_threads, set_num_threads
from bittwin.values import dequantize, quantize, quantize_bias

if TYPE_CHECKING:
    from bittwin.golden import (
        Dump,
        Verification,
        compare_traces,
        read_dump,
        write_dump,
        write_trace,
    )
    from bittwin.golden.check.verify import verify as verify
    from bittwin.mapping import check_mapping
    from bittwin.network import Network, load_network
    from bittwin.onnx import load_onnx, save_onnx

__version__ = "0.1.0"

# Loaded at first use, so that `import bittwin` stays cheap.
_LAZY_MODULES = (
    "compat",
    "golden",
    "mapping",
    "network",
    "nn",
    "onnx",
    "optimize",
    "recurrent",
    "simulation",
    "testing",
)
_LAZY = {
    "Dump": "bittwin.golden",
    "Verification": "bittwin.golden",
    "read_dump": "bittwin.golden",
    "verify": "bittwin.golden",
    "write_dump": "bittwin.golden",
    "Network": "bittwin.network",
    "load_network": "bittwin.network",
    "load_onnx": "bittwin.onnx",
    "save_onnx": "bittwin.onnx",
    "check_mapping": "bittwin.mapping",
    "compare_traces": "bittwin.golden",
    "write_trace": "bittwin.golden",
}

__all__ = [
    "AccumulatorBound",
    "BittwinError",
    "Dump",
    "DumpError",
    "Network",
    "NetworkError",
    "PackedWeight",
    "Requant",
    "Verification",
    "__version__",
    "accumulate",
    "accumulator_bound",
    "active_kernel",
    "check_mapping",
    "chips",
    "clip",
    "cmodel",
    "compare_traces",
    "conv2d",
    "conv2d_accumulate",
    "conv_transpose2d",
    "conv_transpose2d_accumulate",
    "dequantize",
    "digital",
    "get_num_threads",
    "half_even",
    "half_even_f32",
    "kernels",
    "linear",
    "load_network",
    "load_onnx",
    "lookup",
    "pack_weight",
    "quantize",
    "quantize_bias",
    "read_dump",
    "readout",
    "relu",
    "requant",
    "requantize",
    "save_onnx",
    "set_num_threads",
    "split_conv2d",
    "split_conv_transpose2d",
    "split_linear",
    "tables",
    "verify",
    "write_dump",
    "write_trace",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    if name in _LAZY_MODULES:
        return import_module(f"bittwin.{name}")
    raise AttributeError(f"module 'bittwin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_LAZY_MODULES})
