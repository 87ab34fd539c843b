# SPDX-License-Identifier: Apache-2.0
"""`Network`, the hub: a list of integer layers that runs exactly, explains itself, and is saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from bittwin._files import write_atomic
from bittwin._npz import load_npz
from bittwin.bounds import AccumulatorBound
from bittwin.errors import NetworkError
from bittwin.network.layers import Layer, layer_from_config

FORMAT = "bittwin-network"
VERSION = 1
_HEADER = "bittwin.json"


class Trace(Mapping[str, NDArray[Any]]):
    """The codes of every layer of one run: a mapping from layer name to output codes, in order."""

    def __init__(self, x: NDArray[Any], codes: dict[str, NDArray[Any]]) -> None:
        self.input = x
        self._codes = codes

    @property
    def output(self) -> NDArray[Any]:
        """The last layer's codes."""
        return next(reversed(self._codes.values()))

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._codes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


class Network:
    """Integer layers in a row.

    Args:
        layers: at least one, with distinct names.
        name: of the network.
        input_shape: shape of one frame, without the frame axis; checked against every layer when given.

    Raises:
        NetworkError: no layers, a name twice, shapes that do not chain.

    >>> import numpy as np, bittwin
    >>> from bittwin.network import Linear, Network, Relu
    >>> fc = Linear("fc", np.array([[64, -64]], np.int8), None, bittwin.readout(256))
    >>> net = Network([fc, Relu("relu")])
    >>> net.run(np.array([[100, 20], [20, 100]], np.uint8))
    array([[20],
           [ 0]], dtype=int8)
    >>> net.run(np.array([[20, 100]], np.uint8), trace=True)["fc"]
    array([[-20]], dtype=int8)
    """

    def __init__(
        self, layers: Sequence[Layer], name: str = "net", input_shape: Sequence[int] | None = None
    ) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers)
        self.name = name
        self.input_shape = None if input_shape is None else tuple(int(n) for n in input_shape)
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
        if self.input_shape is not None:
            self.shapes(self.input_shape)

    def shapes(self, input_shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Output shape of every layer for one frame of `input_shape`."""
        shape = tuple(input_shape)
        result = {}
        for layer in self.layers:
            shape = layer.output_shape(shape)
            result[layer.name] = shape
        return result

    @overload
    def run(self, x: NDArray[Any], *, trace: Literal[False] = False) -> NDArray[Any]: ...
    @overload
    def run(self, x: NDArray[Any], *, trace: Literal[True]) -> Trace: ...

    def run(self, x: NDArray[Any], *, trace: bool = False) -> NDArray[Any] | Trace:
        """Compute codes, exactly.

        Args:
            x: [frames, ...] integer input codes.
            trace: return every layer's codes, not only the last one's.

        Returns:
            The last layer's codes, or a `Trace` with those of every layer.

        Raises:
            NetworkError: what a layer refuses, with the layer's name.
        """
        codes: dict[str, NDArray[Any]] = {}
        y = x
        for layer in self.layers:
            try:
                y = layer.run(y)
            except (TypeError, ValueError) as error:
                raise NetworkError(f"layer {layer.name!r}: {error}") from error
            if trace:
                codes[layer.name] = y
        return Trace(x, codes) if trace else y

    def bounds(self) -> dict[str, AccumulatorBound]:
        """The proven accumulator range of every layer that has an accumulator."""
        return {layer.name: b for layer in self.layers if (b := layer.bound()) is not None}

    def summary(self) -> str:
        """A table of the layers: kind, weights and rule, output shape, accumulator range."""
        shapes = {} if self.input_shape is None else self.shapes(self.input_shape)
        rows = [("layer", "kind", "what", "output", "accumulator", "of INT32")]
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
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        head = f"{self.name}: {len(self.layers)} layers"
        if self.input_shape is not None:
            head += f", input {'x'.join(map(str, self.input_shape))}"
        return "\n".join([head, *(line.rstrip() for line in lines)])

    __str__ = summary

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {[layer.name for layer in self.layers]})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Network):
            return NotImplemented
        mine = (self.name, self.input_shape, self.layers)
        return mine == (other.name, other.input_shape, other.layers)

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: str | Path) -> None:
        """Write the network as a versioned .npz file (no pickle), whole or not at all.

        Args:
            path: the file; an existing one is replaced.
        """
        header = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "layers": [layer.to_config() for layer in self.layers],
        }
        text = json.dumps(header, indent=1).encode()
        arrays: dict[str, Any] = {_HEADER: np.frombuffer(text, np.uint8)}
        for i, layer in enumerate(self.layers):
            arrays |= {f"{i}/{name}": array for name, array in layer.arrays().items()}
        write_atomic(Path(path), lambda stream: np.savez_compressed(stream, **arrays))


def load_network(path: str | Path) -> Network:
    """Read a network that `Network.save` wrote; the file is untrusted input.

    Args:
        path: the .npz file.

    Raises:
        NetworkError: no such format, a newer version, or anything impossible in it.
        OSError: the file cannot be opened.
    """
    arrays = load_npz(path)
    try:
        return _from_arrays(arrays)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> Network:
    raw = arrays.pop(_HEADER, None)
    if raw is None or raw.dtype != np.uint8:
        raise NetworkError(f"found no entry {_HEADER!r}, wanted a file written by Network.save")
    try:
        header = json.loads(raw.tobytes())
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"{_HEADER}: found no readable JSON ({error})") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise NetworkError(f"{_HEADER}: wanted format {FORMAT!r}")
    if header.get("version") != VERSION:
        raise NetworkError(
            f"version: found {header.get('version')!r}, this bittwin reads {VERSION}"
        )
    configs, name, shape = header.get("layers"), header.get("name"), header.get("input_shape")
    if not isinstance(configs, list) or not isinstance(name, str):
        raise NetworkError(f"{_HEADER}: wanted a list of layers and a name")
    if shape is not None and not (
        isinstance(shape, list) and all(type(n) is int and 0 <= n < 1 << 31 for n in shape)
    ):
        raise NetworkError(f"input_shape: found {shape!r}, wanted a list of sizes or null")
    layers = []
    for i, config in enumerate(configs):
        prefix = f"{i}/"
        own = {k.removeprefix(prefix): arrays.pop(k) for k in list(arrays) if k.startswith(prefix)}
        layers.append(layer_from_config(config, own))
    if arrays:
        raise NetworkError(f"found array {next(iter(arrays))!r}, which belongs to no layer")
    return Network(layers, name, shape)
