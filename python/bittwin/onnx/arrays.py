# SPDX-License-Identifier: Apache-2.0
"""Importers of the operators that run on the array: Gemm, MatMul, Conv, ConvTranspose."""

from __future__ import annotations

from typing import Any

import numpy as np

from bittwin.errors import NetworkError
from bittwin.network import Conv2d, ConvTranspose2d, Linear, StreamConv2d, StreamConvTranspose2d
from bittwin.onnx.builder import Builder, Value
from bittwin.onnx.document import Node
from bittwin.requant import readout

Sides = tuple[int, int, int, int]


def gemm(b: Builder, node: Node) -> None:
    """``Gemm(x, W[in, out], bias)`` and the Scale behind it."""
    for name in ("alpha", "beta"):
        if node.number(name, 1.0) != 1.0:
            raise NetworkError(f"attribute {name!r}: found {node.number(name)}, wanted 1")
    if node.integer("transA", 0):
        raise NetworkError("attribute 'transA': found 1, wanted 0")
    codes = b.codes(node, 1, 2)
    _linear(b, node, codes if node.integer("transB", 0) else codes.T, 2)


def matmul(b: Builder, node: Node) -> None:
    """``MatMul(x, W[in, out])`` with a constant W: a Gemm without bias."""
    if not b.is_constant(node, 1):
        raise NetworkError(
            "found two computed operands, wanted a constant second one: the array holds weights, and what "
            "the tool makes of such a product is unknown"
        )
    _linear(b, node, b.codes(node, 1, 2).T, None)


def _linear(b: Builder, node: Node, codes: Any, bias_input: int | None) -> None:
    weight = b.weight(codes)
    source = b.widen_input(b.value(node, 0), weight.shape[1])
    bias = None if bias_input is None else b.bias(node, bias_input, weight.shape[0])
    gain, scale = b.gain(node)
    layer = Linear(b.name(node), weight, bias, readout(gain), x_signed=not source.unsigned)
    b.add_array(node, layer, source, scale)


def conv(b: Builder, node: Node) -> None:
    """``Conv(x, W[O, I / groups, kh, kw], bias)``; over time a `StreamConv2d`."""
    weight = b.weight(b.codes(node, 1, 4))
    source = b.value(node, 0)
    kernel = kernel_of(node, weight.shape)
    stride, dilation = pair_of(node, "strides", (1, 1)), pair_of(node, "dilations", (1, 1))
    padding = sides(node, kernel, stride, dilation, source)
    groups = node.integer("group", 1)
    kind: type[Conv2d] = Conv2d
    if b.over_time:
        history = (kernel[1] - 1) * dilation[1]
        with_history = node.name in b.tdnn and padding[1] == 0
        if padding[3] or stride[1] != 1 or (padding[1] != history and not with_history):
            raise NetworkError(
                f"found pads {padding} (top, left, bottom, right) and strides {stride}: in a network that "
                f"runs over time wanted {history} columns on the left, none on the right and stride 1"
            )
        kind, padding = StreamConv2d, (padding[0], 0, padding[2], 0)
    gain, scale = b.gain(node)
    layer = kind(
        b.name(node),
        weight,
        b.bias(node, 2, weight.shape[0]),
        readout(gain),
        x_signed=not source.unsigned,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    b.add_array(node, layer, source, scale)


def conv_transpose(b: Builder, node: Node) -> None:
    """``ConvTranspose(x, W[I, O, kh, kw], bias)``; over time a `StreamConvTranspose2d`."""
    weight = b.weight(b.codes(node, 1, 4))
    source = b.value(node, 0)
    kernel = kernel_of(node, weight.shape)
    stride, dilation = pair_of(node, "strides", (1, 1)), pair_of(node, "dilations", (1, 1))
    padding = sides(node, kernel, stride, dilation, None)
    more = node.numbers("output_padding") or [0, 0]
    if len(more) not in (2, 4):
        raise NetworkError(f"attribute 'output_padding': found {more}, wanted 2 or 4 entries")
    extra = (more[0], more[1])  # of four, the first two are height and width
    if node.integer("group", 1) != 1:
        raise NetworkError(f"attribute 'group': found {node.integer('group')}, wanted 1")
    kind: type[ConvTranspose2d] = ConvTranspose2d
    if b.over_time:
        if padding[1] or padding[3] or stride[1] != 1 or extra[1]:
            raise NetworkError(
                f"found pads {padding} (top, left, bottom, right), strides {stride}, output_padding {extra}: "
                "in a network that runs over time wanted none over time, and stride 1"
            )
        kind = StreamConvTranspose2d
    gain, scale = b.gain(node)
    layer = kind(
        b.name(node),
        weight,
        b.bias(node, 2, weight.shape[1]),
        readout(gain),
        x_signed=not source.unsigned,
        stride=stride,
        padding=padding,
        output_padding=extra,
        dilation=dilation,
    )
    b.add_array(node, layer, source, scale)


def kernel_of(node: Node, shape: tuple[int, ...]) -> tuple[int, int]:
    """The kernel's (height, width), which kernel_shape may repeat."""
    kernel = node.numbers("kernel_shape") or list(shape[2:])
    if kernel != list(shape[2:]):
        raise NetworkError(f"attribute 'kernel_shape': found {kernel}, the weight has {shape[2:]}")
    return kernel[0], kernel[1]


def pair_of(node: Node, name: str, default: tuple[int, int]) -> tuple[int, int]:
    """An attribute (height, width)."""
    found = node.numbers(name) or list(default)
    if len(found) != 2:
        raise NetworkError(f"attribute {name!r}: found {found}, wanted (height, width)")
    return found[0], found[1]


def sides(
    node: Node,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    source: Value | None,
) -> Sides:
    """Padding as (top, left, bottom, right): from four entries, two (height, width), or SAME.

    SAME keeps ``ceil(size / stride)`` outputs; an odd column or row is added at the end, or at the start for
    SAME_LOWER. Args: source is the input, whose size SAME needs; None where there is no SAME.
    """
    word = node.text("auto_pad", "NOTSET")
    if node.is_text("pads"):
        word = node.text("pads")
    if word in ("NOTSET", ""):
        pads = node.numbers("pads") or [0, 0, 0, 0]
        if len(pads) == 2:
            pads = [*pads, *pads]
        if len(pads) != 4 or any(p < 0 for p in pads):
            raise NetworkError(
                f"attribute 'pads': found {pads}, wanted 2 or 4 entries, none below 0"
            )
        return pads[0], pads[1], pads[2], pads[3]
    if word == "VALID":
        return 0, 0, 0, 0
    if word not in ("SAME", "SAME_UPPER", "SAME_LOWER") or source is None:
        raise NetworkError(f"padding: found {word!r}, wanted numbers, VALID or SAME")
    if source.shape is None or len(source.shape) != 3:
        raise NetworkError(
            f"padding: found {word!r} and input shape {source.shape}, wanted a known one"
        )
    around = []
    for size, k, s, d in zip(source.shape[1:], kernel, stride, dilation, strict=True):
        if s < 1:
            raise NetworkError(f"attribute 'strides': found {stride}, wanted 1 or more")
        whole = max((int(np.ceil(size / s)) - 1) * s + (k - 1) * d + 1 - size, 0)
        small, large = whole // 2, whole - whole // 2
        around.append((large, small) if word == "SAME_LOWER" else (small, large))
    (top, bottom), (left, right) = around
    return top, left, bottom, right
