# SPDX-License-Identifier: Apache-2.0
"""How much of the register file a network needs: an estimate.

Images move through the chip a column of time (the width) at a time, so a convolution holds as many columns
of its input as its kernel reaches over, and one column of its output. What a later layer still needs, and
what recurrent layers remember, stays beside it. Where the mapper puts things is its own affair.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bittwin.errors import NetworkError
from bittwin.golden.trace.stages import Stage, stages

if TYPE_CHECKING:
    from bittwin.network import Network

Shape = tuple[int, ...]
#: Layers that only name the same codes in another way.
_ALIASES = ("flatten", "reshape")
#: Layers that read a whole image at once.
_WHOLE = ("flatten", "global_average_pool", "global_max_pool", "reduce_mean")


def register_bytes(network: Network) -> dict[str, int]:
    """Bytes per stage, by the name of its first layer; empty where the input's shape is not known."""
    given = {name: shape for name, shape in network.input_shapes.items() if shape is not None}
    if len(given) != len(network.input_shapes):
        return {}
    try:
        shapes: dict[str, Shape] = given | network.shapes(given)
    except NetworkError:
        return {}
    layers = {layer.name: layer for layer in network.layers}
    rounds = stages(network)
    roots = _roots(rounds)
    steps = [stage for stage in rounds if roots.get(stage.last, stage.last) == stage.last]
    last_use: dict[str, int] = {}
    for i, stage in enumerate(steps):
        for source in stage.sources:
            last_use[roots.get(source, source)] = i
    for name in network.outputs:
        last_use[roots.get(name, name)] = len(steps)
    made = dict.fromkeys(given, -1) | {stage.last: i for i, stage in enumerate(steps)}
    kept = sum(_state(layer, shapes, network) for layer in network.layers)
    found: dict[str, int] = {}
    for i, stage in enumerate(steps):
        own = [roots.get(source, source) for source in stage.sources]
        sizes = dict.fromkeys(own, 0)
        for source, seen in zip(own, stage.sources, strict=True):
            wide = _width(layers, stage, source)
            sizes[source] = max(sizes[source], wide * _read(layers, stage, shapes[seen]))
        waiting = sum(
            _column(shapes[name])
            for name, at in made.items()
            if at < i and last_use.get(name, -1) > i and name not in sizes
        )
        written = _column(shapes[stage.last]) * _bytes(layers[stage.last])
        found[stage.name] = sum(sizes.values()) + waiting + written + kept
    return found


def _roots(rounds: tuple[Stage, ...]) -> dict[str, str]:
    """Layers that are other names of codes -> the layer or input whose codes these are."""
    roots: dict[str, str] = {}
    for stage in rounds:
        if len(stage.layers) == 1 and stage.layers[0][1] in _ALIASES:
            (source,) = stage.sources
            roots[stage.last] = roots.get(source, source)
    return roots


def _column(shape: Shape) -> int:
    """Codes of one column of an image [C, H, W], or of anything else as a whole."""
    return math.prod(shape[:2]) if len(shape) == 3 else math.prod(shape)


def _read(layers: dict[str, Any], stage: Stage, shape: Shape) -> int:
    """Codes that a stage's first layer holds of an input."""
    first, operator = layers[stage.layers[0][0]], layers[stage.name]
    if len(shape) != 3 or first.kind in _WHOLE:
        return math.prod(shape)
    weight = getattr(operator, "weight", None)
    if weight is None or weight.ndim != 4:
        return _column(shape)
    reach: int = (weight.shape[3] - 1) * operator.dilation[1] + 1
    return _column(shape) * (reach if operator.stateful else min(reach, max(shape[2], 1)))


def _width(layers: dict[str, Any], stage: Stage, source: str) -> int:
    """Bytes of a code that a stage reads."""
    if source in layers:
        return _bytes(layers[source])
    reader = layers[stage.name]
    return 2 if getattr(getattr(reader, "cell", reader), "x_bits", 8) > 8 else 1


def _bytes(layer: Any) -> int:
    """Bytes of a code that a layer writes."""
    requant = getattr(layer, "requant", None)
    wide = requant.hi > 255 if requant is not None else getattr(layer, "bits", 8) == 16
    return 2 if wide else 1


def _state(layer: Any, shapes: dict[str, Shape], network: Network) -> int:
    """Codes that a recurrent layer remembers; a convolution's history is counted where it is read."""
    cell = getattr(layer, "cell", None)
    if cell is None:
        return 0
    arrays = layer.initial_state(shapes[network.inputs[layer.name][0]])
    return sum(int(a.size) for a in arrays if np.ndim(a))
