# SPDX-License-Identifier: Apache-2.0
"""`Network`, the hub: a graph of integer layers that runs exactly, explains itself, and is saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from bittwin.bounds import AccumulatorBound
from bittwin.errors import NetworkError
from bittwin.network.base import Layer
from bittwin.network.graph import Shape, wire
from bittwin.network.program import Programs
from bittwin.network.stream import Stream
from bittwin.network.trace import Trace

Call = Callable[[Layer, list[NDArray[Any]]], NDArray[Any]]


class Network:
    """Integer layers in a row, or a graph of them.

    Args:
        layers: at least one, with distinct names; a layer consumes codes of layers before it only.
        name: of the network.
        input_shape: shape of one frame, without the frame axis; checked against every layer when given.
        inputs: what a layer consumes, by layer name: names of earlier layers or of network inputs. A layer
            that is not named here consumes the layer before it, the first one the network's input.
        outputs: names of the layers whose codes `run` returns; the last one when None.
        input_shapes: the network's inputs by name, each with the shape of one frame or None; instead of
            input_shape, which stands for one input with the name ``input``.

    Raises:
        NetworkError: no layers, a name twice, a name that is not there, a layer or an input that nothing
            uses, shapes that do not go together.

    >>> import numpy as np, bittwin
    >>> from bittwin.network import Add, Linear, Network, Relu
    >>> fc = Linear("fc", np.array([[64, -64]], np.int8), None, bittwin.readout(256))
    >>> net = Network([fc, Relu("relu")])
    >>> net.run(np.array([[100, 20], [20, 100]], np.uint8))
    array([[20],
           [ 0]], dtype=int8)
    >>> net.run(np.array([[20, 100]], np.uint8), trace=True)["fc"]
    array([[-20]], dtype=int8)
    >>> skip = Network([fc, Relu("relu"), Add("sum")], inputs={"sum": ["fc", "relu"]})
    >>> skip.run(np.array([[100, 20], [20, 100]], np.uint8))
    array([[ 40],
           [-20]], dtype=int8)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        name: str = "net",
        input_shape: Sequence[int] | None = None,
        *,
        inputs: Mapping[str, Sequence[str]] | None = None,
        outputs: Sequence[str] | None = None,
        input_shapes: Mapping[str, Sequence[int] | None] | None = None,
    ) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers)
        self.name = name
        if not self.layers:
            raise NetworkError("layers: found none, wanted at least one")
        seen: set[str] = set()
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise NetworkError(f"layers: found {type(layer).__name__}, wanted a Layer")
            if layer.name in seen:
                raise NetworkError(
                    f"layers: found the name {layer.name!r} twice, wanted distinct names"
                )
            seen.add(layer.name)
        self._wiring = wire(self.layers, input_shape, inputs, outputs, input_shapes)
        self._done_after = self._wiring.done_after()
        self._programs = Programs(self.layers) if self._wiring.is_chain else None
        if all(shape is not None for shape in self.input_shapes.values()):
            self.shapes(self.input_shapes)  # type: ignore[arg-type]

    @property
    def input_shapes(self) -> dict[str, Shape | None]:
        """The network's inputs by name, with the shape of one frame where it is known."""
        return dict(self._wiring.input_shapes)

    @property
    def input_shape(self) -> Shape | None:
        """Shape of one frame of the only input; None where it is unknown or there are several inputs."""
        shapes = tuple(self._wiring.input_shapes.values())
        return shapes[0] if len(shapes) == 1 else None

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """What every layer consumes: names of layers and of network inputs."""
        inputs = list(self._wiring.input_shapes)
        return {
            layer.name: tuple(self.layers[s].name if s >= 0 else inputs[-1 - s] for s in own)
            for layer, own in zip(self.layers, self._wiring.sources, strict=True)
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the layers whose codes `run` returns."""
        return tuple(self.layers[i].name for i in self._wiring.outputs)

    @property
    def is_chain(self) -> bool:
        """Each layer consumes the one before it, and the last one's codes are the output."""
        return self._wiring.is_chain

    def shapes(
        self, input_shape: Sequence[int] | Mapping[str, Sequence[int]]
    ) -> dict[str, tuple[int, ...]]:
        """Output shape of every layer for one frame of `input_shape`; by input name for several inputs."""
        given = self._by_input("input_shape", input_shape)
        shapes: dict[int, Shape] = {-1 - j: tuple(shape) for j, shape in enumerate(given)}
        for i, (layer, own) in enumerate(zip(self.layers, self._wiring.sources, strict=True)):
            shapes[i] = layer.output_shape_many(*(shapes[s] for s in own))
        return {layer.name: shapes[i] for i, layer in enumerate(self.layers)}

    @overload
    def run(self, x: Any, *, trace: Literal[False] = False) -> Any: ...
    @overload
    def run(self, x: Any, *, trace: Literal[True]) -> Trace: ...

    def run(self, x: Any, *, trace: bool = False) -> Any:
        """Compute codes, exactly; stateful layers start with nothing to remember.

        Args:
            x: [frames, ...] integer input codes; a mapping from input name to codes for several inputs.
            trace: return every layer's codes, not only the output's.

        Returns:
            The output layer's codes, a dict from name to codes where several outputs are named, or a `Trace`
            with the codes of every layer.

        Raises:
            NetworkError: what a layer refuses, with the layer's name; inputs that are not the network's.
        """
        if self._programs is not None and not trace:
            y = self._programs.run(x)
            if y is not None:
                return y
        return self.run_with(lambda layer, xs: layer.run_many(*xs), x, trace=trace)

    def run_with(self, call: Call, x: Any, *, trace: bool = False) -> Any:
        """`run`, with ``call(layer, inputs)`` in place of the layer's own `Layer.run_many`."""
        given = self._by_input("x", x)
        frames = {y.shape[0] for y in given if isinstance(y, np.ndarray) and y.ndim}
        if len(frames) > 1:
            raise NetworkError(
                f"x: found inputs of {sorted(frames)} frames, wanted as many of each"
            )
        codes: dict[int, Any] = {-1 - j: y for j, y in enumerate(given)}
        for i, (layer, own) in enumerate(zip(self.layers, self._wiring.sources, strict=True)):
            try:
                codes[i] = call(layer, [codes[s] for s in own])
            except (TypeError, ValueError) as error:
                raise NetworkError(f"layer {layer.name!r}: {error}") from error
            if not trace:  # what nothing needs any more makes room
                for s in self._done_after[i]:
                    del codes[s]
        if trace:
            named = {layer.name: codes[i] for i, layer in enumerate(self.layers)}
            return Trace(x, named, self.outputs)
        results = {self.layers[i].name: codes[i] for i in self._wiring.outputs}
        return results if len(results) > 1 else next(iter(results.values()))

    def _by_input(self, what: str, given: Any) -> list[Any]:
        """What was given for the network's inputs, in their order."""
        names = list(self._wiring.input_shapes)
        if not isinstance(given, Mapping):
            if len(names) == 1:
                return [given]
            raise NetworkError(f"{what}: found one, wanted a mapping with {', '.join(names)}")
        if set(given) != set(names):
            found = ", ".join(map(str, given)) or "none"
            raise NetworkError(f"{what}: found the inputs {found}, wanted {', '.join(names)}")
        return [given[name] for name in names]

    def stream(self) -> Stream:
        """The network as a `Stream`: frame by frame, with the same codes as `run` over all frames."""
        return Stream(self)

    def part(self, *outputs: str, name: str | None = None) -> Network:
        """The layers that the named ones need, as a network of its own with the inputs that they need.

        A file may hold several networks that a program on the chip's processor chains: each of them is the
        part that ends in its outputs.

        Args:
            outputs: names of layers; they become the part's outputs.
            name: of the part; this network's when None.

        Raises:
            NetworkError: no name, or one that no layer has.

        >>> from bittwin.network import Network, Relu
        >>> two = Network(
        ...     [Relu("ra"), Relu("rb")],
        ...     inputs={"ra": ["a"], "rb": ["b"]},
        ...     outputs=["ra", "rb"],
        ...     input_shapes={"a": (4,), "b": (3,)},
        ... )
        >>> two.part("rb")
        Network('net', ['rb'])
        >>> two.part("rb").input_shapes
        {'b': (3,)}
        """
        inputs = self.inputs
        unknown = [output for output in outputs if output not in inputs]
        if unknown or not outputs:
            found = repr(unknown[0]) if unknown else "no name"
            raise NetworkError(f"outputs: found {found}, wanted names of layers")
        needed = set(outputs)
        for layer in reversed(self.layers):
            if layer.name in needed:
                needed.update(inputs[layer.name])
        return Network(
            [layer for layer in self.layers if layer.name in needed],
            self.name if name is None else name,
            inputs={layer: own for layer, own in inputs.items() if layer in needed},
            outputs=outputs,
            input_shapes={k: v for k, v in self.input_shapes.items() if k in needed},
        )

    def bounds(self) -> dict[str, AccumulatorBound]:
        """The proven accumulator range of every layer that has an accumulator."""
        return {layer.name: b for layer in self.layers if (b := layer.bound()) is not None}

    def summary(self) -> str:
        """A table of the layers: kind, weights and rule, output shape, accumulator range.

        A graph's table also says what each layer consumes.
        """
        known = {k: v for k, v in self.input_shapes.items() if v is not None}
        shapes = self.shapes(known) if len(known) == len(self.input_shapes) else {}
        rows = [("layer", "kind", "what", "output", "accumulator", "of INT32", "from")]
        for layer in self.layers:
            bound = layer.bound()
            rows.append(
                (
                    layer.name,
                    layer.kind,
                    layer.describe(),
                    "x".join(map(str, shapes.get(layer.name, ()))) or "-",
                    "-" if bound is None else f"{bound.low}..{bound.high}",
                    "-" if bound is None else f"{100 * bound.share:.2g} %",
                    ", ".join(self.inputs[layer.name]),
                )
            )
        if self.is_chain:
            rows = [row[:-1] for row in rows]  # type: ignore[misc]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        head = f"{self.name}: {len(self.layers)} layers"
        sizes = {k: "x".join(map(str, v)) for k, v in known.items()}
        if len(self.input_shapes) > 1:
            head += ", inputs " + ", ".join(f"{k} {sizes.get(k, '-')}" for k in self.input_shapes)
        elif known:
            head += f", input {next(iter(sizes.values()))}"
        if not self.is_chain:
            head += f", output {', '.join(self.outputs)}"
        return "\n".join([head, *(line.rstrip() for line in lines)])

    __str__ = summary

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {[layer.name for layer in self.layers]})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Network):
            return NotImplemented
        mine = (self.name, self._wiring, self.layers)
        return mine == (other.name, other._wiring, other.layers)

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: str | Path) -> None:
        """Write the network as a versioned .npz file (no pickle), whole or not at all.

        A chain is written as version 1, which older releases read; a graph as version 2.

        Args:
            path: the file; an existing one is replaced.
        """
        from bittwin.network.files import save_network

        save_network(self, path)
