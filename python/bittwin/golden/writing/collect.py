# SPDX-License-Identifier: Apache-2.0
"""Turns a network and its inputs into what a dump stores per layer; refuses what it cannot store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.reading.layout import GAINS
from bittwin.golden.reading.rows import from_tensor, input_range, weight_to_rows
from bittwin.golden.reading.text import CELL_CODES, Range
from bittwin.golden.writing.storable import check_name, digital_rows, split_bias

if TYPE_CHECKING:
    from bittwin.network import Network

#: Input codes, output codes before and after the activation of one array layer.
GoldenCodes = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]

#: A flatten layer or None, an array layer, and the activation layers after it.
Group = tuple[Any, Any, tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """One array layer, in the layouts of the files."""

    net: int
    index: int
    flatten: Any
    operator: Any
    activation: tuple[Any, ...]
    input_shape: tuple[int, ...]
    inputs: NDArray[np.int16]
    """`[frames, in]` rows."""
    outputs: NDArray[np.int16]
    """`[frames, out]` before the activation."""
    results: NDArray[np.int16]
    """`[frames, out]` after it, as layer_debug shows them."""
    weight_rows: NDArray[Any]
    bias_rows: NDArray[np.int64]
    bias_high: NDArray[np.int64]

    @property
    def name(self) -> str:
        """The layer's name, which names its folder too."""
        return str(self.operator.name)


def collect_layers(
    net: int, network: Network, inputs: NDArray[Any], codes: Mapping[str, GoldenCodes] | None
) -> list[StoredLayer]:
    """Run a network, or take given codes, and lay everything out as the files want it.

    Args:
        net: number of the net in the dump.
        network: array layers, each followed by any number of activation layers.
        inputs: `[frames, in]` or `[frames, C, H, W]` codes.
        codes: codes per array layer to be used instead of running the network.

    Raises:
        TypeError: inputs or codes that are no integer arrays.
        ValueError: something that the format cannot hold; names the layer.
    """
    if not isinstance(inputs, np.ndarray) or inputs.dtype.kind not in "iu":
        found = inputs.dtype if isinstance(inputs, np.ndarray) else type(inputs).__name__
        raise TypeError(f"inputs of net {net}: found {found}, wanted an array of integer codes")
    if inputs.ndim not in (2, 4):
        raise ValueError(
            f"inputs of net {net}: found shape {inputs.shape}, wanted [frames, in] or "
            "[frames, C, H, W]"
        )
    if not len(inputs):
        raise ValueError(f"inputs of net {net}: found 0 frames, wanted at least 1")
    if not network.is_chain:
        raise ValueError(f"network {network.name}: found a graph, a dump holds chains of layers")
    shapes = network.shapes(inputs.shape[1:])
    trace = None if codes is not None else network.run(inputs, trace=True)
    before_shape, before = inputs.shape[1:], inputs
    stored: list[StoredLayer] = []
    for flatten, operator, activation in _group(network):
        check_name(operator.name)
        last = activation[-1] if activation else operator
        if codes is not None:
            taken = _given(codes, operator.name)
            if not stored and not np.array_equal(taken[0], inputs):
                raise ValueError(
                    f"codes of layer {operator.name}: its input codes are not `inputs`"
                )
        else:
            assert trace is not None
            taken = (before, trace[operator.name], trace[last.name])
        frames = len(inputs)
        group = flatten, operator, activation
        layer = _store(net, len(stored) + 1, group, before_shape, shapes, frames, taken)
        stored.append(layer)
        before_shape, before = shapes[last.name], taken[2]
    return stored


def _group(network: Network) -> list[Group]:
    """Split a network into array layers, each with what stands before and after it."""
    from bittwin.network import ACTIVATION_KINDS, ARRAY_KINDS, Flatten

    groups: list[tuple[Any, Any, list[Any]]] = []
    flatten: Any = None
    for layer in network.layers:
        if layer.kind in ARRAY_KINDS:
            groups.append((flatten, layer, []))
            flatten = None
        elif flatten is not None:
            break
        elif isinstance(layer, Flatten):
            flatten = layer
        elif layer.kind not in ACTIVATION_KINDS:
            raise ValueError(
                f"layer {layer.name}: a dump has no place for a {layer.kind} layer; it holds "
                "array layers, the activations after them and flatten before them"
            )
        elif not groups:
            raise ValueError(f"layer {layer.name}: found no array layer before this activation")
        else:
            groups[-1][2].append(layer)
    if flatten is not None:
        raise ValueError(f"layer {flatten.name}: wanted an array layer right after this flatten")
    if not groups:
        raise ValueError(f"network {network.name}: found no array layer")
    return [(before, operator, tuple(activation)) for before, operator, activation in groups]


def _given(codes: Mapping[str, GoldenCodes], name: str) -> GoldenCodes:
    try:
        taken = codes[name]
    except KeyError:
        raise ValueError(f"codes: found none for layer {name}") from None
    if len(taken) != 3 or any(not isinstance(part, np.ndarray) for part in taken):
        raise TypeError(
            f"codes of layer {name}: wanted three arrays: input, output before and after the "
            "activation"
        )
    return taken


def _store(
    net: int,
    index: int,
    group: Group,
    input_shape: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
    frames: int,
    taken: GoldenCodes,
) -> StoredLayer:
    flatten, operator, activation = group
    requant = operator.requant
    if requant.channels != 1 or not isinstance(requant.gain, int) or requant.gain not in GAINS:
        raise ValueError(
            f"layer {operator.name}: found requantiser {requant}, wanted one with a single gain, a "
            f"power of two {GAINS[0]}..{GAINS[-1]}, which is all that layers.txt holds"
        )
    if operator.weight.ndim == 2 and flatten is None and len(input_shape) != 1:
        raise ValueError(
            f"layer {operator.name}: found an input of shape {input_shape}, wanted a vector; put a "
            "flatten layer before it"
        )
    result = np.zeros((1, 1), requant.dtype)
    for layer in activation:
        result = layer.run(result)
    output_shape = shapes[operator.name]
    what = f"layer {operator.name}"
    inputs = _rows(taken[0], frames, input_shape, Range(*input_range(operator)), f"{what}: input")
    outputs = _rows(
        taken[1], frames, output_shape, Range(requant.lo, requant.hi),
        f"{what}: output before the activation",
    )  # fmt: skip
    info = np.iinfo(result.dtype)
    results = _rows(
        taken[2], frames, output_shape, Range(int(info.min), int(info.max)),
        f"{what}: output after the activation",
    )  # fmt: skip
    if result.dtype == np.uint8:
        # layer_debug shows every byte as int8.
        results = results.astype(np.uint8).view(np.int8).astype(np.int16)
    columns = operator.out_channels
    return StoredLayer(
        net,
        index,
        flatten,
        operator,
        activation,
        input_shape,
        inputs,
        outputs,
        results,
        weight_to_rows(operator.weight, operator.kind, None if flatten is None else input_shape),
        split_bias(operator.bias, columns, f"{what}: bias"),
        digital_rows(operator, columns),
    )


def _rows(
    codes: NDArray[Any], frames: int, shape: tuple[int, ...], allowed: Range, what: str
) -> NDArray[np.int16]:
    """Check codes and lay them out as rows."""
    if codes.dtype.kind not in "iu":
        raise TypeError(f"{what} codes: found dtype {codes.dtype}, wanted integers")
    if codes.shape != (frames, *shape):
        raise ValueError(f"{what} codes: found shape {codes.shape}, wanted {(frames, *shape)}")
    low, high = max(allowed.low, CELL_CODES.low), min(allowed.high, CELL_CODES.high)
    if codes.size and (codes.min() < low or codes.max() > high):
        raise ValueError(
            f"{what} codes: found {int(codes.min())}..{int(codes.max())}, wanted {low}..{high}"
        )
    return from_tensor(codes).astype(np.int16)
