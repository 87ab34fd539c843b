# SPDX-License-Identifier: Apache-2.0
"""An ONNX file as plain Python: nodes with checked attributes, constants, inputs and outputs.

Nothing is checked by the onnx package's own checker, which refuses the vendor's operators, and no shape is
inferred by it. What nobody asked for is not read: an attribute that no importer looks at is an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.onnx._library import library
from bittwin.onnx.tensors import array_of

#: Protobuf's own limit.
MAX_BYTES: Final = (1 << 31) - 1
MAX_NODES: Final = 100_000
_DOMAINS: Final = ("", "ai.onnx")
_FIELDS: Final = {
    1: "f",
    2: "i",
    3: "s",
    4: "t",
    6: "floats",
    7: "ints",
    8: "strings",
    9: "tensors",
}


@dataclass
class Node:
    """One node: what it is, what it reads and writes, and its attributes."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    folder: Path
    asked: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        """The node in a message."""
        op = self.op if self.op.isprintable() else repr(self.op)
        return f"node {self.name or (self.outputs or ('',))[0]!r} ({op})"

    def _get(self, name: str) -> Any:
        if name not in self.asked:
            self.asked.append(name)
        attribute = self.attributes.get(name)
        if attribute is None:
            return None
        kind = _FIELDS.get(attribute.type)
        if kind is None:
            raise NetworkError(f"{self.where}: attribute {name!r}: found an unsupported type")
        return getattr(attribute, kind)

    def _bad(self, name: str, found: Any, wanted: str) -> NetworkError:
        return NetworkError(f"{self.where}: attribute {name!r}: found {found!r}, wanted {wanted}")

    def number(self, name: str, default: float | None = None) -> float:
        """A finite real attribute; an integer will do."""
        value = self._get(name)
        if value is None:
            value = default
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise self._bad(name, value, "a finite number")
        return float(value)

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute; a float that holds one will do."""
        value = self.number(name, default)
        if value != int(value):
            raise self._bad(name, value, "an integer")
        return int(value)

    def numbers(self, name: str) -> list[int] | None:
        """A list of integers, or None where the attribute is absent."""
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, bytes | int | float) or not hasattr(value, "__len__"):
            raise self._bad(name, value, "a list of integers")
        items = list(value)
        if not all(isinstance(v, int | float) and math.isfinite(v) and v == int(v) for v in items):
            raise self._bad(name, "other things", "a list of integers")
        return [int(v) for v in items]

    def text(self, name: str, default: str | None = None) -> str | None:
        """A text attribute."""
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, bytes):
            raise self._bad(name, value, "text")
        return value.decode("utf-8", "replace")

    def is_text(self, name: str) -> bool:
        """Whether the attribute is there and is text."""
        return isinstance(self._get(name), bytes)

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where the attribute is absent."""
        value = self._get(name)
        items = [] if value is None else [value] if isinstance(value, bytes) else list(value)
        if not all(isinstance(v, bytes) for v in items):
            raise self._bad(name, "other things", "a list of texts")
        return [v.decode("utf-8", "replace") for v in items]

    def tensors(self, name: str) -> list[NDArray[Any]]:
        """The arrays of a TENSOR or TENSORS attribute; empty where it is absent."""
        value = self._get(name)
        if value is None:
            return []
        protos = [value] if hasattr(value, "data_type") else list(value)
        if not all(hasattr(p, "data_type") for p in protos):
            raise self._bad(name, "no tensor", "one or several tensors")
        return [
            array_of(p, f"{self.where}: attribute {name!r}[{i}]", self.folder)
            for i, p in enumerate(protos)
        ]

    def finish(self) -> None:
        """Refuse attributes that nobody has asked for."""
        for name in self.attributes:
            if name not in self.asked:
                known = ", ".join(sorted(self.asked)) or "none"
                raise NetworkError(
                    f"{self.where}: found the attribute {name!r}, which is not supported; supported: {known}"
                )


@dataclass
class Document:
    """A model file."""

    name: str
    opset: int
    nodes: list[Node]
    inputs: dict[str, list[int | None] | None]
    """Declared sizes by input name; None for a size, or a shape, that the file leaves open."""
    input_types: dict[str, int]
    outputs: list[str]
    notes: dict[str, str]
    """metadata_props."""
    protos: dict[str, list[Any]]
    folder: Path
    readers: dict[str, list[int]] = field(default_factory=dict)
    """Numbers of the nodes that read a tensor."""
    _arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.inputs):
                self.readers.setdefault(name, []).append(i)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The initializer of a name, or None. Duplicates have to hold the same numbers."""
        if name not in self.protos:
            return None
        if name not in self._arrays:
            where = f"initializer {name!r}"
            first, *others = (array_of(p, where, self.folder) for p in self.protos[name])
            for other in others:
                if other.shape != first.shape or not np.array_equal(other, first):
                    raise NetworkError(f"{where}: found twice with different numbers, wanted one")
            self._arrays[name] = first
        return self._arrays[name]


def read_document(path: Path) -> Document:
    """Parse a file.

    Raises:
        NetworkError: no ONNX file, or a part that nothing here can read.
        OSError: the file cannot be opened.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise NetworkError(f"found {size} bytes, wanted at most {MAX_BYTES}")
    onnx = library()
    model = onnx.ModelProto()
    error_type = library("google.protobuf.message").DecodeError
    try:
        model.ParseFromString(path.read_bytes())
    except (error_type, RuntimeError) as error:
        raise NetworkError(f"found no readable ONNX file ({error})") from None
    return document_of(model, path.parent)


def document_of(model: Any, folder: Path) -> Document:
    """Take a ModelProto apart."""
    graph = model.graph
    if not graph.node:
        raise NetworkError("found an ONNX file without nodes")
    if len(graph.node) > MAX_NODES:
        raise NetworkError(f"found {len(graph.node)} nodes, wanted at most {MAX_NODES}")
    if graph.sparse_initializer:
        raise NetworkError("found sparse initializers, which are not supported")
    protos: dict[str, list[Any]] = {}
    for tensor in graph.initializer:
        protos.setdefault(text_of(tensor.name), []).append(tensor)
    inputs: dict[str, list[int | None] | None] = {}
    types: dict[str, int] = {}
    for value in graph.input:
        name = text_of(value.name)
        if name not in protos:  # old files list their constants as inputs too
            inputs[name] = _sizes(value)
            types[name] = value.type.tensor_type.elem_type
    opset = max((o.version for o in model.opset_import if text_of(o.domain) in _DOMAINS), default=0)
    return Document(
        text_of(graph.name),
        opset,
        [_node(node, folder) for node in graph.node],
        inputs,
        types,
        [text_of(value.name) for value in graph.output],
        {text_of(entry.key): text_of(entry.value) for entry in model.metadata_props},
        protos,
        folder,
    )


def _sizes(value: Any) -> list[int | None] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim
    ]


def _node(proto: Any, folder: Path) -> Node:
    domain, op = text_of(proto.domain), text_of(proto.op_type)
    op = op if domain in _DOMAINS else f"{domain}::{op}"
    inputs, outputs = (tuple(map(text_of, names)) for names in (proto.input, proto.output))
    node = Node(text_of(proto.name), op, inputs, outputs, {}, folder)
    for attribute in proto.attribute:
        name = text_of(attribute.name)
        if name in node.attributes:
            raise NetworkError(f"{node.where}: found the attribute {name!r} twice")
        node.attributes[name] = attribute
    return node


def text_of(value: str | bytes) -> str:
    """A name; what is no UTF-8 comes as bytes and gets its escapes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
