# SPDX-License-Identifier: Apache-2.0
"""All layers by the word that names them in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bittwin._check import one_of
from bittwin.errors import NetworkError
from bittwin.network.activations import Activation, Clip, Lookup, Relu, Rescale
from bittwin.network.arrays import ArrayLayer, Linear
from bittwin.network.base import Layer
from bittwin.network.convolutions import Conv2d, ConvTranspose2d
from bittwin.network.elementwise import Add, ClearLowBits, FloatScale, Mul, Scalar, Scale
from bittwin.network.movement import (
    Concat,
    Permute,
    PnSplit,
    Reshape,
    Slice,
    SplitPart,
    Transpose,
)
from bittwin.network.normalize import BatchNorm, GroupNorm, Softmax, SumNorm
from bittwin.network.onnx_quantize import DequantizeLinear, QuantizeLinear, RequantizeLinear
from bittwin.network.operation import ManyInputs, Operation
from bittwin.network.pooling import (
    AveragePool,
    GlobalAveragePool,
    GlobalMaxPool,
    MaxPool,
    MinPool,
    ReduceMean,
)
from bittwin.network.recurrent import Gru, Gru2Array, GruNew, Lstm, Tdnn
from bittwin.network.shapes import Flatten
from bittwin.network.simulated import (
    SIMULATED,
    Divide,
    FactorOffset,
    Hypot,
    InvSqrt,
    LayerNorm,
    MatMul,
    PRelu,
    Sqrt,
)
from bittwin.network.sparse import SparseLinear
from bittwin.network.splits import SplitConv2d, SplitConvTranspose2d, SplitLinear, SplitRounds
from bittwin.network.streaming import StreamConv2d, StreamConvTranspose2d

LAYER_KINDS: Final[dict[str, type[Layer]]] = {
    cls.kind: cls
    for cls in (
        Linear,
        Conv2d,
        ConvTranspose2d,
        SplitLinear,
        SplitConv2d,
        SplitConvTranspose2d,
        Relu,
        Clip,
        Lookup,
        Rescale,
        Flatten,
        Add,
        Mul,
        Scale,
        Scalar,
        FloatScale,
        ClearLowBits,
        AveragePool,
        MaxPool,
        MinPool,
        GlobalAveragePool,
        GlobalMaxPool,
        ReduceMean,
        BatchNorm,
        Softmax,
        SumNorm,
        GroupNorm,
        Concat,
        Slice,
        SplitPart,
        Permute,
        Transpose,
        Reshape,
        PnSplit,
        Tdnn,
        Lstm,
        Gru,
        GruNew,
        Gru2Array,
        StreamConv2d,
        StreamConvTranspose2d,
        SparseLinear,
        QuantizeLinear,
        RequantizeLinear,
        DequantizeLinear,
        *SIMULATED,
    )
}
#: One frame after another, without memory, all on the array: what a mapper's dump describes.
ARRAY_KINDS: Final = tuple(
    kind
    for kind, cls in LAYER_KINDS.items()
    if issubclass(cls, ArrayLayer) and not cls.stateful and not issubclass(cls, SparseLinear)
)
ACTIVATION_KINDS: Final = tuple(k for k, cls in LAYER_KINDS.items() if issubclass(cls, Activation))


def layer_from_config(config: Any, arrays: Mapping[str, Any]) -> Layer:
    """Build a layer from what a file says; `config` is JSON of unknown origin.

    Raises:
        NetworkError: no object, an unknown kind, an unknown or impossible setting, a bad array.
    """
    if not isinstance(config, dict):
        raise NetworkError(f"layer: found {type(config).__name__}, wanted an object")
    kind = config.get("kind")
    if not isinstance(kind, str) or kind not in LAYER_KINDS:
        raise NetworkError(
            f"layer {config.get('name')!r}: found kind {kind!r}, wanted {one_of(list(LAYER_KINDS))}"
        )
    return LAYER_KINDS[kind].from_config(config, arrays)


__all__ = [
    "ACTIVATION_KINDS",
    "ARRAY_KINDS",
    "LAYER_KINDS",
    "Activation",
    "Add",
    "ArrayLayer",
    "AveragePool",
    "BatchNorm",
    "ClearLowBits",
    "Clip",
    "Concat",
    "Conv2d",
    "ConvTranspose2d",
    "DequantizeLinear",
    "Divide",
    "FactorOffset",
    "Flatten",
    "FloatScale",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNorm",
    "Gru",
    "Gru2Array",
    "GruNew",
    "Hypot",
    "InvSqrt",
    "Layer",
    "LayerNorm",
    "Linear",
    "Lookup",
    "Lstm",
    "ManyInputs",
    "MatMul",
    "MaxPool",
    "MinPool",
    "Mul",
    "Operation",
    "PRelu",
    "Permute",
    "PnSplit",
    "QuantizeLinear",
    "ReduceMean",
    "Relu",
    "RequantizeLinear",
    "Rescale",
    "Reshape",
    "Scalar",
    "Scale",
    "Slice",
    "Softmax",
    "SparseLinear",
    "SplitConv2d",
    "SplitConvTranspose2d",
    "SplitLinear",
    "SplitPart",
    "SplitRounds",
    "Sqrt",
    "StreamConv2d",
    "StreamConvTranspose2d",
    "SumNorm",
    "Tdnn",
    "Transpose",
    "layer_from_config",
]
