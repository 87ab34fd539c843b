# SPDX-License-Identifier: Apache-2.0
"""What every operator's writer works with: nodes, constants and names of the file in the making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import Network
from bittwin.network.base import Layer
from bittwin.onnx._library import library
from bittwin.onnx.builder import Shape

#: As in the files of the vendor's examples.
IR_VERSION: Final = 8
OPSET: Final = 16
_FLOAT: Final = 1


@dataclass
class Writer:
    """A graph in the making. A tensor that a layer computes has the layer's name."""

    network: Network
    frames: int
    over_time: bool
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    shapes: dict[str, Shape | None] = field(default_factory=dict)
    """One frame's shape by layer and input."""

    def __post_init__(self) -> None:
        network = self.network
        self.names = {layer.name for layer in network.layers}
        for name in network.input_shapes:
            if name in self.names:
                raise NetworkError(
                    f"layer {name!r}: found the name of a network input, wanted another"
                )
            self.names.add(name)
        self.shapes = dict(network.input_shapes)
        known = {k: v for k, v in network.input_shapes.items() if v is not None}
        if len(known) == len(network.input_shapes):
            self.shapes |= network.shapes(known)

    def fresh(self, name: str) -> str:
        """A tensor name that nothing has yet."""
        found, count = name, 2
        while found in self.names:
            found, count = f"{name}_{count}", count + 1
        self.names.add(found)
        return found

    def sources(self, layer: Layer) -> tuple[str, ...]:
        """The tensors that a layer consumes."""
        return self.network.inputs[layer.name]

    def source_shape(self, layer: Layer) -> Shape | None:
        """One frame's shape of the first of them."""
        return self.shapes.get(self.sources(layer)[0])

    def tensor(self, array: NDArray[Any], name: str = "") -> Any:
        """Numbers as float32, which must hold them: so do the vendor's files."""
        single = np.asarray(array).astype(np.float32)
        if not np.array_equal(single.astype(np.float64), np.asarray(array).astype(np.float64)):
            raise NetworkError(f"{name}: found numbers that float32 does not hold")
        return library("onnx.numpy_helper").from_array(np.array(single, order="C"), name)

    def constant(self, layer: Layer, what: str, array: NDArray[Any]) -> str:
        """Add an initializer; return its name."""
        name = self.fresh(f"{layer.name}.{what}")
        self.constants.append(self.tensor(array, name))
        return name

    def positions(self, layer: Layer, what: str, numbers: Sequence[int]) -> str:
        """Add an initializer of int64 positions."""
        name = self.fresh(f"{layer.name}.{what}")
        array = np.array(numbers, np.int64)
        self.constants.append(library("onnx.numpy_helper").from_array(array, name))
        return name

    def node(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a node; attributes that are None are left out."""
        given = {k: v for k, v in (attributes or {}).items() if v is not None}
        made = library("onnx.helper").make_node(op, list(inputs), list(outputs), name=name, **given)
        self.nodes.append(made)

    def simple(self, op: str, layer: Layer, *constants: str, **attributes: Any) -> None:
        """One node for one layer."""
        inputs = (*self.sources(layer), *constants)
        self.node(op, layer.name, inputs, [layer.name], attributes)

    def sizes(self, shape: Shape) -> list[int]:
        """One frame's shape as the file declares it."""
        if self.over_time and len(shape) == 3 and shape[2] == 1:
            return [1, *shape[:2], self.frames]
        return [1, *shape]

    def model(self) -> Any:
        """The finished ModelProto."""
        helper = library("onnx.helper")

        def info(name: str) -> Any:
            shape = self.shapes.get(name)
            declared = None if shape is None else self.sizes(shape)
            return helper.make_tensor_value_info(name, _FLOAT, declared)

        graph = helper.make_graph(
            self.nodes,
            self.network.name,
            [info(name) for name in self.network.input_shapes],
            [info(name) for name in self.network.outputs],
            initializer=self.constants,
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="bittwin"
        )
