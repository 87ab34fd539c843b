# SPDX-License-Identifier: Apache-2.0
"""Recorded nodes as the layers of a network, and who consumes what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import Concat, Layer, Network, Rescale
from bittwin.nn.array_layers import array_layer
from bittwin.nn.bridge import (
    Grid,
    Reader,
    apply_maps,
    between,
    code_dtype,
    exact_reader,
    first_input,
    output_dtype,
    titles,
)
from bittwin.nn.digital import modules_norm, modules_pair
from bittwin.nn.digital.export import to_layer
from bittwin.nn.exact_pairs import pair_layer
from bittwin.nn.nodes import (
    CatCall,
    CellCall,
    DigitalCall,
    Input,
    LayerCall,
    MapCall,
    MoveCall,
    Node,
    PairCall,
    leaves,
    maps_between,
    sources,
)
from bittwin.nn.readers import array_reader, cat_reader, cell_reader, digital_reader, pad_code

#: Name of the network's input in `Network.inputs`; the next one where a layer has it.
_INPUT_NAMES = ("input", "network_input", "network_input_2")


@dataclass(frozen=True)
class Wire:
    """A layer and the codes that it writes."""

    layer: str | None
    """None: the network's input."""
    grid: Grid


class Builder:
    """Turns nodes into layers; every method gives the name of the layer that writes what was asked for."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.inputs: dict[str, tuple[str | None, ...]] = {}
        self.wires: dict[Node, Wire] = {}
        self.first: Reader | None = None
        self.units = 1.0
        self._read: dict[tuple[Any, ...], str | None] = {}
        self._values: dict[Node, torch.Tensor] = {}

    def network(self, output: Node, name: str, input_shape: tuple[int, ...]) -> Network:
        """The network whose output codes are those of a node."""
        last = self.output(output)
        if last is None:
            raise NetworkError("model: found no bittwin layer in it, wanted at least one")
        chain = all(
            self.inputs[layer.name] == (None if i == 0 else self.layers[i - 1].name,)
            for i, layer in enumerate(self.layers)
        )
        if chain:
            return Network(self.layers, name, input_shape)
        free = next(n for n in _INPUT_NAMES if n not in self.inputs)
        inputs = {k: [free if v is None else v for v in own] for k, own in self.inputs.items()}
        return Network(
            self.layers, name, inputs=inputs, outputs=[last], input_shapes={free: input_shape}
        )

    # -- layers -------------------------------------------------------------------------------

    def add(self, layer: Layer, *inputs: str | None) -> str:
        """Append a layer; a name that is taken gets a number: a module that ran twice has it twice."""
        name, count = layer.name, 1
        while name in self.inputs:
            count += 1
            name = f"{layer.name}_{count}"
        self.layers.append(layer if name == layer.name else replace(layer, name=name))
        self.inputs[name] = inputs
        return name

    def _row(self, layers: list[Layer], source: str | None) -> str | None:
        for layer in layers:
            source = self.add(layer, source)
        return source

    # -- reading ------------------------------------------------------------------------------

    def read(self, node: Node, reader: Reader) -> str | None:
        """The layer that writes the codes which `reader` makes of a node's values; None: the input."""
        key = (node, *reader.key)
        if key not in self._read:
            self._read[key] = self._read_new(node, reader)
        return self._read[key]

    def _read_new(self, node: Node, reader: Reader) -> str | None:
        if isinstance(node, Input):
            return self._first_input(reader)
        if isinstance(node, MapCall):
            return self.read(node.x, reader.after(node))
        if isinstance(node, MoveCall) and not (node.largest and self._disorders(node, reader)):
            return self.add(node.layer(node.name), self.read(node.x, reader))
        if isinstance(node, CatCall):
            one = self._of_one_dtype(node, reader)
            return self.add(Concat(node.name, node.axis), *(self.read(x, one) for x in node.inputs))
        wire = self.wire(node)
        return self._row(between(wire.grid, reader), wire.layer)

    def _first_input(self, reader: Reader) -> str | None:
        plain = replace(reader, maps=())
        if self.first is None:
            self.first = plain
        if self.first.key[:3] != plain.key[:3]:
            one, two = self.first, plain
            raise NetworkError(
                f"model: its input is read by {one.name!r} at {one.units:g} codes per unit, {one.limits[0]}.."
                f"{one.limits[1]}, and by {two.name!r} at {two.units:g}, {two.limits[0]}..{two.limits[1]}: "
                "wanted one scale and width; fix them, or put one module before the branch"
            )
        return self._row(first_input(reader.maps, plain, pad_code(plain)), None)

    def _disorders(self, node: MoveCall, reader: Reader) -> bool:
        """Whether what reads a maximum would have chosen another one."""
        if any(isinstance(n, Input) for n in leaves(node.x)):
            return any(m.function != "relu" for m in reader.maps)
        return not reader.keeps_order(self.values(node.x))

    def _of_one_dtype(self, node: CatCall, reader: Reader) -> Reader:
        """The reader, with codes of one dtype from all parts."""
        found = {self._dtype(x, reader) for x in node.inputs}
        return reader if len(found) == 1 else reader.wants(code_dtype(*reader.limits))

    def _dtype(self, node: Node, reader: Reader) -> str | None:
        """Dtype of what `read` will give; None: what the user gives."""
        if isinstance(node, Input):
            return None
        if isinstance(node, MapCall):
            return self._dtype(node.x, reader.after(node))
        if isinstance(node, MoveCall) and not (node.largest and self._disorders(node, reader)):
            return self._dtype(node.x, reader)
        if isinstance(node, CatCall):
            found = {self._dtype(x, reader) for x in node.inputs}
            return found.pop() if len(found) == 1 else code_dtype(*reader.limits)
        grid = self.wire(node).grid
        return output_dtype(grid, between(grid, reader))

    # -- writing ------------------------------------------------------------------------------

    def wire(self, node: Node) -> Wire:
        """The layer that computes a node's own codes."""
        if node not in self.wires:
            # Deep models: sources first, so that no call goes deep.
            for source in sources(node):
                if source not in self.wires:
                    self.wires[source] = self._compute(source)
            if node not in self.wires:
                self.wires[node] = self._compute(node)
        return self.wires[node]

    def _compute(self, node: Node) -> Wire:
        if isinstance(node, LayerCall):
            layer, grid = array_layer(node)
            return Wire(self.add(layer, self.read(node.x, array_reader(node))), grid)
        if isinstance(node, CellCall):
            own = to_layer(node.cell, node.name)
            grid = Grid(node.name, 128.0, -128, 127, "int8")
            return Wire(self.add(own, self.read(node.x, cell_reader(node))), grid)
        if isinstance(node, DigitalCall):
            return self._digital(node)
        if isinstance(node, PairCall):
            return self._pair(node)
        assert isinstance(node, MoveCall)  # a maximum that has to be chosen before what follows it
        reader = self.exact(node.x, f"the maximum {node.name!r}")
        name = self.add(node.layer(node.name), self.read(node.x, reader))
        return Wire(
            name, _grid(node.name, reader.units, reader.limits, self._dtype(node.x, reader))
        )

    def _digital(self, node: DigitalCall) -> Wire:
        module = node.module
        scales = module.codes_per_unit
        operand = "y" if "y" in scales else "x"
        low, high = (int(n) for n in module.limits(operand))
        if isinstance(module, modules_pair.Cat):
            return self._cat(node, (low, high))
        names = [self.read(x, digital_reader(node, i)) for i, x in enumerate(node.inputs)]
        ndim = len(node.inputs[0].shape)
        layer = to_layer(module, node.name, ndim=ndim, aligned=True)
        name = self.add(layer, *names)
        if isinstance(module, modules_pair.Add | modules_pair.Mul) and high != 127:
            name = self.add(Rescale(f"{node.name}.limit", 0, 0, low, high), name)
        dtype = code_dtype(low, high)
        if dtype == "int16" and low == 0 and not isinstance(module, modules_norm.Mean):
            dtype = "uint16"  # what `bittwin.quantize` makes of unsigned codes above 8 bits
        return Wire(name, Grid(node.name, scales[operand], low, high, dtype))

    def _cat(self, node: DigitalCall, limits: tuple[int, int]) -> Wire:
        """Each side at its own scale, then at the output's, then joined."""
        module = node.module
        assert isinstance(module, modules_pair.Cat)
        units, dtype = module.codes_per_unit["y"], code_dtype(*limits)
        names = []
        for i, x in enumerate(node.inputs):
            reader = digital_reader(node, i)
            name, grid = self.read(x, reader), self._dtype(x, reader)
            side = _grid(node.name, reader.units, reader.limits, grid)
            names.append(self._row(between(side, cat_reader(node).wants(dtype)), name))
        ndim = len(node.shape)
        axis = module.dim % ndim
        if axis == 0:
            raise NetworkError(
                f"layer {node.name!r}: dim: found {module.dim}, wanted 1 or more: axis 0 counts frames"
            )
        return Wire(
            self.add(Concat(node.name, axis), *names), _grid(node.name, units, limits, dtype)
        )

    def _pair(self, node: PairCall) -> Wire:
        """A sum or product of real numbers: exact, in 16 bits, where the scales are powers of two."""
        readers = [self.exact(x, f"{node.function} {node.name!r}") for x in node.inputs]
        if node.function == "add":
            finer = max(r.units for r in readers)
            readers = [self.exact(x, f"add {node.name!r}", finer) for x in node.inputs]
        layer, grid = pair_layer(node, readers)
        wanted = [r.wants("int8", "uint8", "int16") for r in readers]
        names = [self.read(x, r) for x, r in zip(node.inputs, wanted, strict=True)]
        return Wire(self.add(layer, *names), grid)

    # -- exact values -------------------------------------------------------------------------

    def exact(self, node: Node, what: str, units: float | None = None) -> Reader:
        """A reader that loses nothing of a node's values."""
        own = leaves(node)
        if any(isinstance(n, Input) for n in own):
            raise NetworkError(
                f"model: found that {what} reads the model's input, which is no code; put a bittwin module "
                "between, or use bittwin.nn.Add, Mul or Cat"
            )
        if units is None:
            units = max(self.wire(n).grid.units for n in own)
        maps = maps_between(node)
        names = " and ".join(repr(n.name) for n in own)
        refusal = (
            f"layer {what}: found {titles(maps) or 'a step of scale'} after {names}, whose results are no "
            f"codes at {units:g} codes per unit; use the module of bittwin.nn for the function"
        )
        return exact_reader(what, self.values(node), units, maps, refusal)

    def output(self, node: Node) -> str | None:
        """The layer that writes the network's output codes."""
        own = leaves(node)
        if any(isinstance(n, Input) for n in own):
            raise NetworkError(
                "model: found no bittwin layer before its output, wanted at least one"
            )
        units = max(self.wire(n).grid.units for n in own)
        maps = maps_between(node)
        names = " and ".join(repr(n.name) for n in own)
        refusal = (
            f"model: found {titles(maps) or 'scales that differ'} after the last layer {names}, whose "
            f"results are no codes at its {units:g} codes per unit; apply it to the network's output instead"
        )
        reader = exact_reader(
            maps[-1].name if maps else "output", self.values(node), units, maps, refusal
        )
        self.units = units
        return self.read(node, reader)

    def values(self, node: Node) -> torch.Tensor:
        """Every real value that a node may have."""
        if node not in self._values:
            self._values[node] = self._find_values(node)
        return self._values[node]

    def _find_values(self, node: Node) -> torch.Tensor:
        if isinstance(node, MapCall):
            return _distinct(apply_maps([node], self.values(node.x)))
        if isinstance(node, MoveCall):
            return self.values(node.x)
        if isinstance(node, CatCall):
            return _distinct(torch.cat([self.values(x) for x in node.inputs]))
        return self.wire(node).grid.values()


def _distinct(values: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.unique(values.numpy()))


def _grid(name: str, units: float, limits: tuple[int, int], dtype: str | None) -> Grid:
    return Grid(name, units, *limits, code_dtype(*limits) if dtype is None else dtype)


def real_values(codes: NDArray[Any], units: float) -> NDArray[np.float32]:
    """What codes stand for, as a training module writes it."""
    values: NDArray[np.float32] = codes.astype(np.float32) / np.float32(units)
    return values
