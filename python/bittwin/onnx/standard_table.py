# SPDX-License-Identifier: Apache-2.0
"""Standard quantised ONNX by operator, and what moves codes between its products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bittwin.errors import NetworkError
from bittwin.network import MaxPool, Relu, Reshape
from bittwin.onnx import movement, standard
from bittwin.onnx.builder import Builder
from bittwin.onnx.digital_ops import window
from bittwin.onnx.document import Node


def relu(b: Builder, node: Node) -> None:
    """``Relu(x)`` of int8 codes."""
    x = standard.codes_in(b, node, 0)
    b.add(node, Relu(b.name(node)), [x], dtype=x.dtype)


def max_pool(b: Builder, node: Node) -> None:
    """``MaxPool(x)`` of codes: padding never wins."""
    x = standard.codes_in(b, node, 0)
    if node.integer("storage_order", 0) or len([o for o in node.outputs if o]) > 1:
        raise NetworkError("found storage_order or indices, which are not supported")
    layer = MaxPool(b.name(node), **window(b, node), pad_code=None)
    b.add(node, layer, [x], dtype=x.dtype)


def _moved(importer: Callable[[Builder, Node], None]) -> Callable[[Builder, Node], None]:
    def checked(b: Builder, node: Node) -> None:
        standard.codes_in(b, node, 0)
        importer(b, node)

    return checked


def reshape(b: Builder, node: Node) -> None:
    """``Reshape(x, shape)``: the first entry counts frames."""
    sizes = movement.reshape_sizes(b, node)
    _reshaped(b, node, tuple(sizes[1:]))


def flatten(b: Builder, node: Node) -> None:
    """``Flatten(x; axis=1)``."""
    if node.integer("axis", 1) != 1:
        raise NetworkError(f"attribute 'axis': found {node.integer('axis')}, wanted 1")
    _reshaped(b, node, (-1,))


def _reshaped(b: Builder, node: Node, shape: tuple[int, ...]) -> None:
    x = standard.codes_in(b, node, 0)
    b.add(node, Reshape(b.name(node), shape), [x], dtype=x.dtype)


STANDARD: Final[dict[str, Callable[[Builder, Node], None]]] = {
    "QuantizeLinear": standard.quantize_linear,
    "DequantizeLinear": standard.dequantize_linear,
    "QLinearMatMul": standard.qlinear_matmul,
    "QLinearConv": standard.qlinear_conv,
    "MatMulInteger": standard.matmul_integer,
    "ConvInteger": standard.conv_integer,
    "Relu": relu,
    "MaxPool": max_pool,
    "Concat": _moved(movement.concat),
    "Slice": _moved(movement.cut),
    "Split": _moved(movement.split),
    "Transpose": _moved(movement.transpose),
    "Reshape": reshape,
    "Flatten": flatten,
    "Identity": movement.identity,
}
#: Any of these makes a file a standard one.
QUANTISED: Final = tuple(STANDARD)[:6]
