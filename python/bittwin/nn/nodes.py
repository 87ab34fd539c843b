# SPDX-License-Identifier: Apache-2.0
"""What a recorded model is made of: who computed which tensor from which others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bittwin.network import Layer
from bittwin.nn.base import QuantizedModule
from bittwin.nn.digital.base import DigitalModule
from bittwin.nn.digital.cells import RecurrentCell


@dataclass(frozen=True, eq=False)
class Node:
    """A tensor of the model. Two nodes are equal only if they are the same.

    Attributes:
        name: of the step that made it.
        shape: with the frame axis first.
    """

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Input(Node):
    """The model's input."""


@dataclass(frozen=True, eq=False)
class LayerCall(Node):
    """A bittwin array layer ran."""

    module: QuantizedModule
    x: Node
    y: torch.Tensor
    """A copy of its output."""


@dataclass(frozen=True, eq=False)
class DigitalCall(Node):
    """A digital operator ran."""

    module: DigitalModule
    inputs: tuple[Node, ...]
    y: torch.Tensor
    """A copy of its output."""


@dataclass(frozen=True, eq=False)
class CellCall(Node):
    """A recurrent cell ran over frames in time order, from its initial state."""

    cell: RecurrentCell
    x: Node
    y: torch.Tensor
    """A copy of h, [frames, hidden]."""


@dataclass(frozen=True, eq=False)
class MapCall(Node):
    """A function mapped every number by itself."""

    function: str
    apply: Callable[[torch.Tensor], torch.Tensor]
    x: Node


@dataclass(frozen=True, eq=False)
class MoveCall(Node):
    """Numbers of a frame were moved or left out, none was changed."""

    layer: Callable[[str], Layer]
    """The network layer, by its name."""
    x: Node
    largest: bool = False
    """The largest ones were chosen: what reads them must keep the order of numbers."""


@dataclass(frozen=True, eq=False)
class CatCall(Node):
    """Tensors were joined along an axis."""

    axis: int
    inputs: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class PairCall(Node):
    """Two tensors were added or multiplied, in real numbers."""

    function: str
    inputs: tuple[Node, ...]


Source = LayerCall | DigitalCall | CellCall
"""Nodes that compute codes of their own."""


def sources(node: Node) -> list[LayerCall | DigitalCall | CellCall]:
    """All nodes with codes of their own that a node depends on, first ones first."""
    found: dict[Node, None] = {}
    waiting: list[tuple[Node, bool]] = [(node, False)]
    while waiting:  # deep models are deeper than Python's stack
        now, done = waiting.pop()
        if done:
            found[now] = None
        elif now not in found:
            waiting.append((now, True))
            waiting += [(before, False) for before in reversed(consumed(now))]
    return [n for n in found if isinstance(n, LayerCall | DigitalCall | CellCall)]


def consumed(node: Node) -> tuple[Node, ...]:
    """The nodes that a node was made from."""
    if isinstance(node, DigitalCall | CatCall | PairCall):
        return node.inputs
    if isinstance(node, LayerCall | CellCall | MapCall | MoveCall):
        return (node.x,)
    return ()


def leaves(node: Node) -> list[Node]:
    """The nodes with codes of their own behind functions, moves and joins."""
    if isinstance(node, MapCall | MoveCall):
        return leaves(node.x)
    if isinstance(node, CatCall):
        return list(dict.fromkeys(leaf for x in node.inputs for leaf in leaves(x)))
    return [node]


def maps_between(node: Node) -> list[MapCall]:
    """The functions between a node and its leaves, first ones first."""
    if isinstance(node, MapCall):
        return [*maps_between(node.x), node]
    if isinstance(node, MoveCall):
        return maps_between(node.x)
    if isinstance(node, CatCall):
        return [step for x in node.inputs for step in maps_between(x)]
    return []
