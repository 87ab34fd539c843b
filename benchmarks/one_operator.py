# SPDX-License-Identifier: Apache-2.0
"""An ONNX file of one operator, encoded here: onnxruntime runs models but cannot make them.

The benchmarks would otherwise need the onnx package for a few hundred bytes. Field numbers are those of
onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Files of this version and operator set are read by every onnxruntime of the last years.
_IR, _OPSET = 8, 13
#: TensorProto.DataType
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}
#: AttributeProto.AttributeType
_INT, _INTS = 2, 7


def model(
    op: str,
    constants: Mapping[str, NDArray[Any]],
    inputs: Sequence[str],
    x: tuple[tuple[int, ...], str],
    y: tuple[tuple[int, ...], str],
    attributes: Mapping[str, int | Sequence[int]],
) -> bytes:
    """The bytes of a model with input ``x``, output ``y`` and one operator between.

    Args:
        op: its type, for example ``QLinearConv``.
        constants: initialisers by name.
        inputs: names of the operator's inputs in order, ``x`` and constants.
        x: shape and dtype of the input.
        y: shape and dtype of the output.
        attributes: the operator's.
    """
    node = [_text(1, name) for name in inputs] + [_text(2, "y"), _text(4, op)]
    node += [_block(5, _attribute(name, value)) for name, value in attributes.items()]
    graph = _block(1, b"".join(node)) + _text(2, "one_operator")
    graph += b"".join(_block(5, _tensor(name, array)) for name, array in constants.items())
    graph += _block(11, _value("x", *x)) + _block(12, _value("y", *y))
    return _number(1, _IR) + _block(7, graph) + _block(8, _text(1, "") + _number(2, _OPSET))


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    return _text(1, name) + b"".join(_number(8, i) for i in value) + _number(20, _INTS)


def _tensor(name: str, array: NDArray[Any]) -> bytes:
    raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    dims = b"".join(_number(1, n) for n in array.shape)
    return dims + _number(2, _TYPES[array.dtype.name]) + _text(8, name) + _block(9, raw)


def _value(name: str, shape: tuple[int, ...], dtype: str) -> bytes:
    dims = b"".join(_block(1, _number(1, n)) for n in shape)
    tensor = _number(1, _TYPES[dtype]) + _block(2, dims)
    return _text(1, name) + _block(2, _block(1, tensor))


def _varint(n: int) -> bytes:
    found = bytearray()
    while n > 127:
        found.append(n & 127 | 128)
        n >>= 7
    return bytes([*found, n])


def _number(field: int, n: int) -> bytes:
    return _varint(field << 3) + _varint(n)


def _block(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _block(field, text.encode())
