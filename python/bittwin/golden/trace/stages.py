# SPDX-License-Identifier: Apache-2.0
"""What gets a folder of its own in a trace: an array layer with what is folded into it, or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.reading.rows import from_tensor

if TYPE_CHECKING:
    from bittwin.network import Network


@dataclass(frozen=True)
class Stage:
    """One folder of a trace."""

    index: int
    """From 1, in the network's order."""
    name: str
    """Of the layer that gives the folder its name: the array layer, where there is one."""
    layers: tuple[tuple[str, str], ...]
    """Name and kind of the layers in it, in order."""
    sources: tuple[str, ...]
    """The layers, or inputs of the network, whose codes it reads."""

    @property
    def last(self) -> str:
        """The layer whose codes are the stage's output."""
        return self.layers[-1][0]

    @property
    def folder(self) -> str:
        """`<k>_<name>`, with every character that cannot stand in a folder's name replaced.

        >>> Stage(2, "/conv1/Conv", (("/conv1/Conv", "conv2d"),), ("input",)).folder
        '2__conv1_Conv'
        """
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in self.name)
        return f"{self.index}_{safe[:150].replace('..', '__')}"


def stages(network: Network) -> tuple[Stage, ...]:
    """Cut a network into the stages of its trace.

    As in a mapper's layer_debug, the activations right behind an array layer belong to it, and so does a
    flatten right before it: its rows are the image's. Every other layer is a stage of its own.
    """
    from bittwin.network import Activation, ArrayLayer, Flatten, Tdnn

    consumers: dict[str, list[str]] = {}
    for name, own in network.inputs.items():
        for source in own:
            consumers.setdefault(source, []).append(name)
    layers = {layer.name: layer for layer in network.layers}

    def only_consumer(name: str) -> Any:
        following = consumers.get(name, [])
        return layers[following[0]] if len(following) == 1 and name not in network.outputs else None

    folded: dict[str, str] = {}  # layer -> the array layer whose stage it belongs to
    for layer in network.layers:
        if not isinstance(layer, ArrayLayer | Tdnn):
            continue
        (source,) = network.inputs[layer.name]
        if isinstance(layers.get(source), Flatten) and only_consumer(source) is layer:
            folded[source] = layer.name
        behind = only_consumer(layer.name)
        while isinstance(behind, Activation):
            folded[behind.name] = layer.name
            behind = only_consumer(behind.name)
    found: list[Stage] = []
    for layer in network.layers:
        if layer.name in folded:
            continue
        parts = [x for x in network.layers if folded.get(x.name, x.name) == layer.name]
        listed = tuple((x.name, x.kind) for x in parts)
        sources = network.inputs[parts[0].name]
        found.append(Stage(len(found) + 1, layer.name, listed, sources))
    return tuple(found)


def source_codes(trace: Mapping[str, NDArray[Any]], given: Any, name: str) -> NDArray[Any]:
    """The codes that a stage reads from a layer or from the network's input of that name."""
    if name in trace:
        return trace[name]
    codes: NDArray[Any] = given[name] if isinstance(given, Mapping) else given
    return codes


def to_rows(codes: NDArray[Any]) -> NDArray[Any]:
    """`[frames, ...]` codes as rows: images `[W][H][C]` with the channel fastest, all else as it stands."""
    rows = from_tensor(codes)
    return rows.reshape(len(rows), int(np.prod(rows.shape[1:])))
