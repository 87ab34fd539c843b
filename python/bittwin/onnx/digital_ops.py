# SPDX-License-Identifier: Apache-2.0
"""Importers of the digital operators: element by element, tables, pooling, normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import network as n
from bittwin.digital import fold_batch_norm
from bittwin.errors import NetworkError
from bittwin.onnx.arrays import sides
from bittwin.onnx.builder import MAX_CODES, Builder, Value
from bittwin.onnx.document import Node
from bittwin.onnx.tensors import narrowest


def relu(b: Builder, node: Node) -> None:
    """``Relu(x)``."""
    x = b.value(node, 0)
    b.add(node, n.Relu(b.name(node)), [x], unsigned=True)


def scale(b: Builder, node: Node) -> None:
    """``Scale(x; scale)`` where it belongs to no array operator."""
    x = b.value(node, 0)
    factor = node.number("scale")
    layer = n.Scale(b.name(node), int(factor) if factor == int(factor) else factor)
    b.add(node, layer, [x], unsigned=x.unsigned and factor >= 0)


def scalar(b: Builder, node: Node) -> None:
    """``Scalar(x; scale, shift_bit, op_types)``."""
    x = b.value(node, 0)
    number, op = node.integer("scale"), node.text("op_types", "mul")
    layer = n.Scalar(b.name(node), number, node.integer("shift_bit", 0), op or "")
    b.add(node, layer, [x], unsigned=x.unsigned and number >= 0)


def float_scale(b: Builder, node: Node) -> None:
    """``FloatScale(x; scale, clip_bits)``."""
    layer = n.FloatScale(b.name(node), node.number("scale"), node.integer("clip_bits", 7))
    b.add(node, layer, [b.value(node, 0)])


def clear_low_bits(b: Builder, node: Node) -> None:
    """``ClearLowBits(x; bits)``."""
    x = b.value(node, 0)
    b.add(node, n.ClearLowBits(b.name(node), node.integer("bits")), [x], unsigned=x.unsigned)


def act_lut(b: Builder, node: Node) -> None:
    """``ActLut(x; table_params, act_type)``; act_type names the slot and changes no code."""
    slot = node.text("act_type", "sigmoid")
    if slot not in ("sigmoid", "tanh"):
        raise NetworkError(f"attribute 'act_type': found {slot!r}, wanted sigmoid or tanh")
    tables = node.tensors("table_params")
    if len(tables) != 1:
        raise NetworkError(f"attribute 'table_params': found {len(tables)} tables, wanted one")
    table = b.table(tables[0], "attribute 'table_params'")
    unsigned = bool(table.size) and int(table.min()) >= 0
    b.add(node, n.Lookup(b.name(node), table), [b.value(node, 0)], unsigned=unsigned)


def add(b: Builder, node: Node) -> None:
    """``Add(a, b; shift_bit)``."""
    _pair(b, node, n.Add)


def mul(b: Builder, node: Node) -> None:
    """``Mul(a, b; shift_bit)``."""
    _pair(b, node, n.Mul)


def _pair(b: Builder, node: Node, kind: type[n.Add] | type[n.Mul]) -> None:
    if len(node.inputs) != 2:
        raise NetworkError(f"found {len(node.inputs)} inputs, wanted 2")
    shift = node.integer("shift_bit", 0)
    fixed = [i for i in (0, 1) if b.is_constant(node, i)]
    if len(fixed) == 2:
        raise NetworkError("found two constants, wanted at least one computed operand")
    if not fixed:
        two = [b.value(node, 0), b.value(node, 1)]
        b.add(node, kind(b.name(node), shift), two, unsigned=all(v.unsigned for v in two))
        return
    x = b.value(node, 1 - fixed[0])
    constant = _operand(b, node, fixed[0], x)
    unsigned = x.unsigned and bool((constant >= 0).all())
    b.add(node, kind(b.name(node), shift, constant=constant), [x], unsigned=unsigned)


def _operand(b: Builder, node: Node, i: int, x: Value) -> NDArray[Any]:
    """A constant operand: one number, or one frame's shape without the leading 1."""
    codes = b.codes(node, i)
    rank = None if x.shape is None else len(x.shape)
    if codes.size > 1 and codes.ndim > 1 and codes.shape[0] == 1 and codes.ndim != rank:
        codes = codes[0]
    return narrowest(codes, ("int8", "uint8", "int16"))


def average_pool(b: Builder, node: Node) -> None:
    """``AveragePool(x; kernel_shape, strides, pads, scale_in, scale_out)``."""
    counted = bool(node.integer("count_include_pad", 1))  # measured: padding counts
    layer = n.AveragePool(b.name(node), **window(b, node), **_scales(node), count_padding=counted)
    x = b.value(node, 0)
    b.add(node, layer, [x], unsigned=x.unsigned)


def max_pool(b: Builder, node: Node) -> None:
    """``MaxPool(x; kernel_shape, strides, pads)``."""
    x = b.value(node, 0)
    b.add(node, n.MaxPool(b.name(node), **window(b, node)), [x], unsigned=x.unsigned)


def window(b: Builder, node: Node) -> dict[str, Any]:
    """Kernel, stride and padding of a pool."""
    kernel = node.numbers("kernel_shape") or []
    if len(kernel) != 2:
        raise NetworkError(f"attribute 'kernel_shape': found {kernel}, wanted (height, width)")
    strides = node.numbers("strides") or [1, 1]
    if len(strides) != 2:
        raise NetworkError(f"attribute 'strides': found {strides}, wanted (height, width)")
    if any(d != 1 for d in node.numbers("dilations") or [1]) or node.integer("ceil_mode", 0):
        raise NetworkError("attributes 'dilations', 'ceil_mode': wanted 1 and 0")
    size, stride = (kernel[0], kernel[1]), (strides[0], strides[1])
    source = b.value(node, 0)
    padding = sides(node, size, stride, (1, 1), source)
    if source.shape is not None and len(source.shape) == 3:
        c, h, w = source.shape
        padded = c, h + padding[0] + padding[2], w + padding[1] + padding[3]
        if math.prod(padded) > MAX_CODES:
            raise NetworkError(
                f"attribute 'pads': found {padded} codes with them, wanted at most {MAX_CODES}"
            )
    if b.over_time and (kernel[1] != 1 or strides[1] != 1 or padding[1] or padding[3]):
        raise NetworkError(
            f"found windows of {size}, strides {stride}, pads {padding} in a network that runs over time: "
            "wanted a width of 1"
        )
    return {"kernel": size, "stride": stride, "padding": padding}


def _scales(node: Node) -> dict[str, Any]:
    return {
        "scale_in": node.number("scale_in", 1.0),
        "scale_out": node.number("scale_out", 1.0),
    }


def global_average_pool(b: Builder, node: Node) -> None:
    """``GlobalAveragePool(x; scale_in, scale_out)``."""
    x = _whole_picture(b, node)
    b.add(node, n.GlobalAveragePool(b.name(node), **_scales(node)), [x], unsigned=x.unsigned)


def global_max_pool(b: Builder, node: Node) -> None:
    """``GlobalMaxPool(x)``."""
    x = _whole_picture(b, node)
    b.add(node, n.GlobalMaxPool(b.name(node)), [x], unsigned=x.unsigned)


def _whole_picture(b: Builder, node: Node) -> Value:
    if b.over_time:
        raise NetworkError("found a pool over all frames in a network that runs over time")
    return b.value(node, 0)


def reduce_mean(b: Builder, node: Node) -> None:
    """``ReduceMean(x; axes, keepdims)``, the axes as attribute or input."""
    x = b.value(node, 0)
    given = node.numbers("axes")
    if given is None and b.is_constant(node, 1):
        given = [int(v) for v in b.codes(node, 1).reshape(-1)]
    if not given or node.integer("noop_with_empty_axes", 0):
        raise NetworkError(
            "attribute 'axes': found none, wanted at least one (axis 0 counts frames)"
        )
    axes = tuple(b.axis(a, x, "attribute 'axes'") for a in given)
    layer = n.ReduceMean(b.name(node), axes, keepdims=bool(node.integer("keepdims", 1)))
    b.add(node, layer, [x], unsigned=x.unsigned)


def softmax(b: Builder, node: Node) -> None:
    """``Softmax(x; axis, scale_in, scale_out)``."""
    _along(b, node, n.Softmax)


def sum_norm(b: Builder, node: Node) -> None:
    """``SumNorm(x; axis, scale_in, scale_out)``."""
    _along(b, node, n.SumNorm)


def _along(b: Builder, node: Node, kind: type[n.Softmax] | type[n.SumNorm]) -> None:
    x = b.value(node, 0)
    axis = b.axis(node.integer("axis", 1), x, "attribute 'axis'")
    b.add(node, kind(b.name(node), **_scales(node), axis=axis), [x], unsigned=True)


def _reals(b: Builder, node: Node, i: int) -> NDArray[np.float32]:
    array = b.constant(node, i)
    if array is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.reshape(-1).astype(np.float32)
    if array is None or not np.isfinite(array).all():
        raise NetworkError(f"input {i}: found none or no finite numbers, wanted finite ones")
    return array


def group_norm(b: Builder, node: Node) -> None:
    """``GroupNorm(x, alpha, beta; num_groups, num_channels, scale_out)``."""
    alpha, beta = _reals(b, node, 1), _reals(b, node, 2)
    channels = node.integer("num_channels", alpha.size)
    if channels != alpha.size:
        raise NetworkError(f"attribute 'num_channels': found {channels}, alpha has {alpha.size}")
    groups, out = node.integer("num_groups", 1), node.number("scale_out", 1.0)
    extra: dict[str, Any] = {}
    if "epsilon" in node.attributes:
        extra["epsilon"] = node.number("epsilon")
    layer = n.GroupNorm(b.name(node), alpha, beta, num_groups=groups, scale_out=out, **extra)
    b.add(node, layer, [_whole_picture(b, node)])


def batch_norm(b: Builder, node: Node) -> None:
    """``BatchNormalization(x, scale, bias, mean, var; epsilon, scale_in, scale_out)``."""
    if node.integer("training_mode", 0):
        raise NetworkError("attribute 'training_mode': found 1, wanted 0")
    node.number("momentum", 0.9)  # of training alone
    scale, bias, mean, var = (_reals(b, node, i) for i in range(1, 5))
    gamma, beta = fold_batch_norm(scale, bias, mean, var, node.number("epsilon", 1e-5))
    layer = n.BatchNorm(b.name(node), gamma, beta, **_scales(node))
    b.add(node, layer, [b.value(node, 0)])
