# SPDX-License-Identifier: Apache-2.0
"""The vendor's operators by name, and what the standard ones mean in the vendor's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bittwin.onnx import arrays, digital_ops, movement, recurrent_ops
from bittwin.onnx.builder import Builder
from bittwin.onnx.document import Node

Importer = Callable[[Builder, Node], None]

VENDOR: Final[dict[str, Importer]] = {
    "Gemm": arrays.gemm,
    "MatMul": arrays.matmul,
    "Conv": arrays.conv,
    "ConvTranspose": arrays.conv_transpose,
    "Scale": digital_ops.scale,
    "Scalar": digital_ops.scalar,
    "FloatScale": digital_ops.float_scale,
    "ClearLowBits": digital_ops.clear_low_bits,
    "Relu": digital_ops.relu,
    "ActLut": digital_ops.act_lut,
    "Add": digital_ops.add,
    "Mul": digital_ops.mul,
    "AveragePool": digital_ops.average_pool,
    "MaxPool": digital_ops.max_pool,
    "GlobalAveragePool": digital_ops.global_average_pool,
    "GlobalMaxPool": digital_ops.global_max_pool,
    "ReduceMean": digital_ops.reduce_mean,
    "Softmax": digital_ops.softmax,
    "SumNorm": digital_ops.sum_norm,
    "GroupNorm": digital_ops.group_norm,
    "BatchNormalization": digital_ops.batch_norm,
    "Concat": movement.concat,
    "Slice": movement.cut,
    "Split": movement.split,
    "Permute": movement.permute,
    "Transpose": movement.transpose,
    "Reshape": movement.reshape,
    "Flatten": movement.flatten,
    "Identity": movement.identity,
    "Tdnn": recurrent_ops.tdnn,
    "Lstm": recurrent_ops.lstm,
    "Gru": recurrent_ops.gru,
    "Gru2Array": recurrent_ops.gru2array,
}

#: Operators that make a network run over time.
RECURRENT: Final = ("Tdnn", "Lstm", "Gru", "Gru2Array")
