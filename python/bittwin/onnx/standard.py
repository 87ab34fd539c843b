# SPDX-License-Identifier: Apache-2.0
"""Importers of standard quantised ONNX, opset 13 and later; the numbers are onnxruntime's.

A quantised product becomes two layers: an array layer that keeps its int32 accumulators, and the float32 step
between accumulators and codes. Zero points go into weight and bias, and into the code that padding holds.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import (
    Conv2d,
    DequantizeLinear,
    Layer,
    Linear,
    QuantizeLinear,
    RequantizeLinear,
)
from bittwin.network.onnx_quantize import accumulator
from bittwin.onnx.arrays import kernel_of, pair_of, sides
from bittwin.onnx.builder import Builder, Value
from bittwin.onnx.document import Node
from bittwin.onnx.tensors import integers

MIN_OPSET: Final = 13
#: ONNX data types of network inputs.
INPUT_TYPES: Final = {1: "float32", 2: "uint8", 3: "int8"}
_BYTES: Final = ("uint8", "int8")


def codes_in(b: Builder, node: Node, i: int, dtypes: tuple[str, ...] = _BYTES) -> Value:
    """Computed input i, of one of some dtypes."""
    x = b.value(node, i)
    if x.dtype not in dtypes:
        raise NetworkError(f"input {i}: found {x.dtype}, wanted {' or '.join(dtypes)}")
    return x


def _scale(b: Builder, node: Node, i: int) -> NDArray[np.float32]:
    array = b.constant(node, i)
    if array is None or array.dtype != np.float32 or array.ndim > 1 or not array.size:
        raise NetworkError(f"input {i}: wanted a float32 scale, one number or one per channel")
    return array.reshape(-1)


def _point(b: Builder, node: Node, i: int, dtype: str | None) -> tuple[NDArray[np.int32], str]:
    """A zero point and the dtype of the codes it belongs to, which must be `dtype` where that is known."""
    array = b.constant(node, i)
    if array is None:
        return np.zeros(1, np.int32), dtype or "uint8"
    if array.dtype.name not in (*_BYTES, "int32") or array.ndim > 1 or not array.size:
        raise NetworkError(
            f"input {i}: found a zero point {array.dtype} {array.shape}, wanted uint8 or int8, one number "
            "or one per channel"
        )
    if dtype is not None and array.dtype.name != dtype:
        raise NetworkError(f"input {i}: found a {array.dtype} zero point of {dtype} codes")
    return array.reshape(-1).astype(np.int32), array.dtype.name


def _one(point: NDArray[np.int32], what: str) -> int:
    if point.size != 1:
        raise NetworkError(f"{what}: found {point.size} zero points, wanted one")
    return int(point[0])


def _weight(b: Builder, node: Node, i: int, zero: int | None, out_axis: int) -> NDArray[Any]:
    """Weight codes minus their zero points."""
    array = b.constant(node, i)
    if array is None or array.dtype.name not in _BYTES:
        found = "none" if array is None else array.dtype.name
        raise NetworkError(f"input {i}: found {found}, wanted a constant weight, uint8 or int8")
    codes = integers(array, f"input {i}", -128, 255)
    points = np.zeros(1, np.int32) if zero is None else _point(b, node, zero, array.dtype.name)[0]
    if points.size not in (1, array.shape[out_axis] if array.ndim > out_axis else 1):
        raise NetworkError(f"input {zero}: found {points.size} zero points, wanted one per output")
    along = [points.size if a == out_axis else 1 for a in range(array.ndim)]
    return b.weight(codes - points.reshape(along))


def _with_zero(weight: NDArray[Any], bias: Any, zero: int) -> NDArray[np.int32] | None:
    """``bias - zero * sum(weight)`` per output of a weight [out, ...]."""
    moved = np.zeros(weight.shape[0], np.int64) if bias is None else bias.astype(np.int64)
    moved = moved - zero * weight.astype(np.int64).reshape(weight.shape[0], -1).sum(axis=1)
    if np.abs(moved).max(initial=0) > np.iinfo(np.int32).max:
        raise NetworkError("bias: found a bias with its zero point outside INT32")
    return moved.astype(np.int32) if moved.any() or bias is not None else None


def _matrix(b: Builder, node: Node, i: int, zero: int | None) -> NDArray[Any]:
    array = b.constant(node, i)
    if array is None or array.ndim != 2:
        found = "none" if array is None else array.shape
        raise NetworkError(f"input {i}: found shape {found}, wanted a constant [in, out]")
    return np.ascontiguousarray(_weight(b, node, i, zero, 1).T)


def _product(
    b: Builder,
    node: Node,
    x: Value,
    weight: NDArray[Any],
    bias: Any,
    zero: int,
    name: str,
    **geometry: Any,
) -> Layer:
    folded = _with_zero(weight, bias, zero)
    signed = x.dtype == "int8"
    if weight.ndim == 2:
        return Linear(name, weight, folded, accumulator(), x_signed=signed)
    return Conv2d(name, weight, folded, accumulator(), x_signed=signed, pad_value=zero, **geometry)


def matmul_integer(b: Builder, node: Node) -> None:
    """``MatMulInteger(A, B[in, out], a_zero_point, b_zero_point)``."""
    x = codes_in(b, node, 0)
    weight = _matrix(b, node, 1, 3)
    zero = _one(_point(b, node, 2, x.dtype)[0], "input 2")
    layer = _product(b, node, x, weight, None, zero, b.name(node))
    b.add(node, layer, [x], dtype="int32")


def qlinear_matmul(b: Builder, node: Node) -> None:
    """``QLinearMatMul(a, a_scale, a_zero, B, b_scale, b_zero, y_scale, y_zero)``."""
    x = codes_in(b, node, 0)
    weight = _matrix(b, node, 3, 5)
    zero = _one(_point(b, node, 2, x.dtype)[0], "input 2")
    name = b.name(node)
    layer = _product(b, node, x, weight, None, zero, f"{name}.acc")
    _requantized(b, node, layer, x, name, _scale(b, node, 1), _scale(b, node, 4), 6)


def conv_integer(b: Builder, node: Node) -> None:
    """``ConvInteger(x, w, x_zero_point, w_zero_point)``."""
    x = codes_in(b, node, 0)
    weight = _weight(b, node, 1, 3, 0)
    zero = _one(_point(b, node, 2, x.dtype)[0], "input 2")
    layer = _product(b, node, x, weight, None, zero, b.name(node), **_geometry(node, weight, x))
    b.add(node, layer, [x], dtype="int32")


def qlinear_conv(b: Builder, node: Node) -> None:
    """``QLinearConv(x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, B)``."""
    x = codes_in(b, node, 0)
    weight = _weight(b, node, 3, 5, 0)
    zero = _one(_point(b, node, 2, x.dtype)[0], "input 2")
    bias = b.constant(node, 8)
    if bias is not None and (bias.dtype != np.int32 or bias.shape != weight.shape[:1]):
        raise NetworkError(
            f"input 8: found {bias.dtype} {bias.shape}, wanted int32, one per output"
        )
    name = b.name(node)
    layer = _product(b, node, x, weight, bias, zero, f"{name}.acc", **_geometry(node, weight, x))
    _requantized(b, node, layer, x, name, _scale(b, node, 1), _scale(b, node, 4), 6)


def _geometry(node: Node, weight: NDArray[Any], x: Value) -> dict[str, Any]:
    if weight.ndim != 4:
        raise NetworkError(f"weight: found shape {weight.shape}, wanted [O, I / groups, kh, kw]")
    kernel = kernel_of(node, weight.shape)
    stride, dilation = pair_of(node, "strides", (1, 1)), pair_of(node, "dilations", (1, 1))
    return {
        "stride": stride,
        "dilation": dilation,
        "padding": sides(node, kernel, stride, dilation, x),
        "groups": node.integer("group", 1),
    }


def _requantized(
    b: Builder,
    node: Node,
    layer: Layer,
    x: Value,
    name: str,
    x_scale: NDArray[np.float32],
    w_scale: NDArray[np.float32],
    y: int,
) -> None:
    """The accumulator layer, and the step ``fl(fl(x_scale * w_scale) / y_scale)`` to codes."""
    y_scale = _scale(b, node, y)
    if x_scale.size != 1 or y_scale.size != 1:
        raise NetworkError("scales: found several of x or y, wanted one each")
    zero, dtype = _point(b, node, y + 1, None)
    if dtype not in _BYTES:
        raise NetworkError(f"input {y + 1}: found {dtype} codes, wanted uint8 or int8")
    with np.errstate(all="ignore"):
        scale = np.asarray(x_scale * w_scale / y_scale, np.float32)
    acc = b.add(_unbound(node), layer, [x], dtype="int32")
    step = RequantizeLinear(name, scale, zero, dtype, 1)
    b.add(node, step, [_last_axis(b, acc, step)], dtype=dtype)


def _unbound(node: Node) -> Node:
    return Node("", node.op, (), (), {}, node.folder)


def _last_axis(b: Builder, acc: Value, step: RequantizeLinear) -> Value:
    """A per-channel step of a matrix product needs the channels on axis 1."""
    per_column = step.scale.size > 1 and isinstance(b.layers[-1], Linear)
    if per_column and (acc.shape is None or len(acc.shape) != 1):
        raise NetworkError(f"per-channel scales: found frames {acc.shape}, wanted [frames, in]")
    return acc


def quantize_linear(b: Builder, node: Node) -> None:
    """``QuantizeLinear(x, y_scale, y_zero_point)``."""
    x = codes_in(b, node, 0, ("float32",))
    _whole_blocks(node)
    zero, dtype = _point(b, node, 2, None)
    if dtype not in _BYTES or node.integer("output_dtype", 0) not in (0, 2, 3):
        raise NetworkError(f"input 2: found {dtype} codes, wanted uint8 or int8")
    layer = QuantizeLinear(b.name(node), _scale(b, node, 1), zero, dtype, _axis(b, node, x, 1))
    b.add(node, layer, [x], dtype=dtype)


def dequantize_linear(b: Builder, node: Node) -> None:
    """``DequantizeLinear(x, x_scale, x_zero_point)``."""
    if b.is_constant(node, 0):
        raise NetworkError(
            f"input 0: found the constant {node.inputs[0]!r}, wanted codes that a layer computes: "
            "products of values between DequantizeLinear and QuantizeLinear (QDQ) are not supported; "
            "supported: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger"
        )
    x = codes_in(b, node, 0, (*_BYTES, "int32"))
    _whole_blocks(node)
    zero, _ = _point(b, node, 2, x.dtype)
    layer = DequantizeLinear(b.name(node), _scale(b, node, 1), zero, x.dtype, _axis(b, node, x, 1))
    b.add(node, layer, [x], dtype="float32")


def _axis(b: Builder, node: Node, x: Value, scale: int) -> int:
    axis = node.integer("axis", 1)
    return b.axis(axis, x, "attribute 'axis'") if _scale(b, node, scale).size > 1 else 1


def _whole_blocks(node: Node) -> None:
    if node.integer("block_size", 0) or not node.integer("saturate", 1):
        raise NetworkError("attributes 'block_size', 'saturate': wanted 0 and 1")
