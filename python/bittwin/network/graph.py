# SPDX-License-Identifier: Apache-2.0
"""Which layer consumes what: names resolved once, so that running a network only follows numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from bittwin._check import one_of
from bittwin.errors import NetworkError
from bittwin.network.base import Layer

Shape: TypeAlias = "tuple[int, ...]"
#: The name of the input of a network that names none.
INPUT = "input"


@dataclass(frozen=True)
class Wiring:
    """The resolved graph. A source is the number of a layer, or -1 - j for the network's input j."""

    input_shapes: dict[str, Shape | None]
    sources: tuple[tuple[int, ...], ...]
    """Per layer."""
    outputs: tuple[int, ...]
    """Numbers of the layers whose codes the network returns."""

    @property
    def is_chain(self) -> bool:
        """Each layer consumes the one before it, and the last one's codes are the output."""
        row = tuple((i - 1,) for i in range(len(self.sources)))
        return self.sources == row and self.outputs == (len(row) - 1,)

    def done_after(self) -> list[tuple[int, ...]]:
        """Per layer: the sources that nothing needs once it has run."""
        last = {s: i for i, own in enumerate(self.sources) for s in own}
        kept = set(self.outputs)
        done: list[list[int]] = [[] for _ in self.sources]
        for s, i in last.items():
            if s not in kept:
                done[i].append(s)
        return [tuple(own) for own in done]


def wire(
    layers: Sequence[Layer],
    input_shape: Sequence[int] | None,
    inputs: Mapping[str, Sequence[str]] | None,
    outputs: Sequence[str] | None,
    input_shapes: Mapping[str, Sequence[int] | None] | None,
) -> Wiring:
    """Check the arguments of `Network` that say what goes where."""
    shapes = _shapes(input_shape, input_shapes)
    places = {layer.name: i for i, layer in enumerate(layers)}
    if inputs is not None or outputs is not None or input_shapes is not None:
        for name in shapes:
            if name in places:
                raise NetworkError(
                    f"layer {name!r}: found the name of a network input, wanted another"
                )
    given = _lists("inputs", {} if inputs is None else inputs)
    for name in given:
        if name not in places:
            raise NetworkError(f"inputs: found {name!r}, which is no layer")
    sources = tuple(
        _sources(i, layer, given.get(layer.name), places, list(shapes))
        for i, layer in enumerate(layers)
    )
    wiring = Wiring(shapes, sources, _outputs(outputs, places))
    _refuse_unused(layers, wiring)
    return wiring


def _shapes(
    input_shape: Sequence[int] | None, input_shapes: Mapping[str, Sequence[int] | None] | None
) -> dict[str, Shape | None]:
    if input_shapes is None:
        return {INPUT: None if input_shape is None else _shape(INPUT, input_shape)}
    if input_shape is not None:
        raise NetworkError("input_shape: found one beside input_shapes, wanted one of the two")
    if not isinstance(input_shapes, Mapping) or not input_shapes:
        raise NetworkError(f"input_shapes: found {input_shapes!r}, wanted at least one name")
    found = {}
    for name, shape in input_shapes.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            raise NetworkError(f"input_shapes: found the name {name!r}, wanted a printable string")
        found[name] = None if shape is None else _shape(name, shape)
    return found


def _shape(name: str, shape: Sequence[int]) -> Shape:
    sizes = tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise NetworkError(f"input_shape: found {sizes} for {name!r}, wanted no negative size")
    return sizes


def _lists(what: str, given: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(given, Mapping):
        raise NetworkError(
            f"{what}: found {type(given).__name__}, wanted layer names and their inputs"
        )
    return {name: _names(f"{what} of layer {name!r}", own) for name, own in given.items()}


def _names(what: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise NetworkError(f"{what}: found {given!r}, wanted a list of names")
    if not given or not all(isinstance(name, str) for name in given):
        raise NetworkError(f"{what}: found {list(given)!r}, wanted at least one name")
    return tuple(given)


def _sources(
    i: int,
    layer: Layer,
    given: tuple[str, ...] | None,
    places: Mapping[str, int],
    input_names: list[str],
) -> tuple[int, ...]:
    if given is None:
        if i == 0 and len(input_names) > 1:
            raise NetworkError(
                f"layer {layer.name!r}: found no inputs, wanted {one_of(input_names)} (there are several)"
            )
        found: tuple[int, ...] = (i - 1,)
    else:
        found = tuple(_source(i, layer, name, places, input_names) for name in given)
    wanted = layer.n_inputs
    if wanted is not None and len(found) != wanted:
        raise NetworkError(
            f"layer {layer.name!r} ({layer.kind}): found {len(found)} inputs, wanted {wanted}"
        )
    return found


def _source(
    i: int, layer: Layer, name: str, places: Mapping[str, int], input_names: list[str]
) -> int:
    if name in input_names:
        return -1 - input_names.index(name)
    place = places.get(name)
    if place is None:
        raise NetworkError(
            f"layer {layer.name!r}: found the input {name!r}, which is no layer and no network input "
            f"({', '.join(input_names)}; name further ones in input_shapes)"
        )
    if place >= i:
        raise NetworkError(
            f"layer {layer.name!r}: found the input {name!r}, wanted a layer that stands before it"
        )
    return place


def _outputs(outputs: Sequence[str] | None, places: Mapping[str, int]) -> tuple[int, ...]:
    if outputs is None:
        return (len(places) - 1,)
    names = _names("outputs", outputs)
    for name in names:
        if name not in places:
            raise NetworkError(f"outputs: found {name!r}, which is no layer")
    if len(set(names)) < len(names):
        raise NetworkError(f"outputs: found {list(names)}, wanted none twice")
    return tuple(places[name] for name in names)


def _refuse_unused(layers: Sequence[Layer], wiring: Wiring) -> None:
    used = {s for own in wiring.sources for s in own} | set(wiring.outputs)
    for i, layer in enumerate(layers):
        if i not in used:
            raise NetworkError(
                f"layer {layer.name!r}: its codes are used by no layer and are no output"
            )
    for j, name in enumerate(wiring.input_shapes):
        if -1 - j not in used:
            raise NetworkError(f"network input {name!r}: found no layer that uses it")
