# SPDX-License-Identifier: Apache-2.0
"""An optimise config's effect on a network: what changes codes is applied, what may not be is refused.

Weight shifts and repeated rows cancel exactly, so they are checked against the array's limits and otherwise
left out. An input shift saturates at 255: it becomes a `Rescale` in front of the layer, whose gain and bias
grow with it (docs/spec/recurrent.md, second part).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice
from bittwin.errors import NetworkError
from bittwin.network import (
    ArrayLayer,
    Conv2d,
    ConvTranspose2d,
    Layer,
    Linear,
    Network,
    Rescale,
    SplitRounds,
)
from bittwin.network.recurrent import Gru, Gru2Array, GruNew, Lstm, RecurrentLayer, Tdnn
from bittwin.network.sparse import SparseLinear
from bittwin.onnx._library import OnnxWarning
from bittwin.onnx.optimize_config import LayerOptions
from bittwin.optimize import Limits, Optimization, exponent, optimize_layer, signed_rows
from bittwin.requant import Requant, readout

FRONT_SCALES: Final = ("refuse", "front gain only")
#: Suffix of the layer that shifts an array layer's input.
SHIFTED: Final = ".input"
_NO_CELL_LIMIT: Final = Limits(
    weight=(1 << 15) - 1, bias=1 << 30, rows=1 << 30, highest_gain=1 << 15
)
L = TypeVar("L", bound=Layer)
Matrix = tuple[str, str, str, bool]


def apply_optimize(
    network: Network,
    options: Mapping[str, LayerOptions],
    *,
    names: Mapping[str, str] | None = None,
    minus_one: str = "shifted",
    flags: str = "exponent is num",
    front_scale: str = "refuse",
) -> Network:
    """A network as an optimise config builds it.

    Args:
        network: what `load_onnx` made of the file without a config.
        options: what `read_optimize_config` returned. A name that is no layer is warned about.
        names: layer names by the names of their nodes, where they differ.
        minus_one: what signed_input -1 means, see `bittwin.optimize.signed_rows`.
        flags: see `bittwin.optimize.exponent`.
        front_scale: what to do with a front_scale: ``refuse``, or divide the gain of the layer in front and
            compensate nothing (``front gain only``); what compensates it is unknown.

    Raises:
        NetworkError: a layer that takes no such options, limits of the array that the result breaks.
    """
    choice("front_scale", front_scale, FRONT_SCALES)
    layers = {layer.name: layer for layer in network.layers}
    shifts: dict[str, Rescale] = {}
    fronts: dict[str, int] = {}
    missing = []
    for node, entry in options.items():
        name = (names or {}).get(node, node)
        layer = layers.get(name)
        if layer is None:
            missing.append(node)
            continue
        try:
            layers[name], shift = _optimized(layer, entry, minus_one, flags)
            if shift is not None:
                shifts[name] = shift
            if entry.front_scale:
                if front_scale == "refuse":
                    raise NetworkError(
                        f"front_scale: found {entry.front_scale}; what compensates it is unknown "
                        f"(front_scale={FRONT_SCALES[1]!r} compensates nothing)"
                    )
                front = _front(network, layers, name)
                fronts[front] = max(fronts.get(front, 0), entry.front_scale)
        except (TypeError, ValueError) as error:
            raise NetworkError(f"optimise config, layer {node!r}: {error}") from None
    for name, amount in fronts.items():
        try:
            layers[name] = _with_gain(layers[name], amount)
        except ValueError as error:
            raise NetworkError(f"optimise config: front_scale of {name!r}: {error}") from None
    if missing:
        warnings.warn(
            f"optimise config: found {', '.join(map(repr, missing))}, which the network does not have",
            OnnxWarning,
            stacklevel=2,
        )
    return _rebuilt(network, layers, shifts)


def _optimized(
    layer: Layer, entry: LayerOptions, minus_one: str, flags: str
) -> tuple[Layer, Rescale | None]:
    if not isinstance(layer, ArrayLayer | RecurrentLayer) or isinstance(layer, SplitRounds):
        raise NetworkError(f"found a {layer.kind} layer, wanted one that runs on the array")
    signed_rows(entry.signed_input, _inputs(layer), minus_one=minus_one)
    signed = entry.signed_input != 0
    a = exponent(entry.input_shift, entry.input_num, flags=flags)
    moved = replace(layer, x_signed=signed)
    if isinstance(moved, RecurrentLayer):
        if entry.sparse_mode != "SIM" or entry.magnify:
            raise NetworkError("found sp_mode or magnify, which a recurrent layer does not take")
        moved = _optimized_cell(moved, entry, a, flags)
    else:
        moved = _optimized_array(moved, entry, a, flags)
    if not a:
        return moved, None
    shift = Rescale(layer.name + SHIFTED, log2_factor=a, low=-255 if signed else 0, high=255)
    return moved, shift


def _inputs(layer: ArrayLayer | RecurrentLayer) -> int:
    """How many inputs signed_input may count: channels of a convolution, x and state of a cell."""
    if isinstance(layer, RecurrentLayer):
        return max(int(getattr(layer.cell, m[0]).shape[1]) for m in matrices(layer))
    if isinstance(layer, ConvTranspose2d):
        return int(layer.weight.shape[0])
    return int(layer.weight.shape[1]) * (layer.groups if isinstance(layer, Conv2d) else 1)


def _weight_shift(entry: LayerOptions, i: int, flags: str) -> int:
    own = entry.weight_opti[i : i + 1] or entry.weight_opti[:1]
    return exponent(own[0][0], own[0][1], flags=flags) if own else 0


def _optimized_array(layer: ArrayLayer, entry: LayerOptions, a: int, flags: str) -> ArrayLayer:
    b = _weight_shift(entry, 0, flags)
    gain = whole_gain(layer.requant)
    if a or b or entry.multiple or entry.magnify:
        whole = Optimization(a, b, entry.multiple, entry.magnify)
        columns = np.ascontiguousarray(layer.columns())
        optimize_layer(columns, layer.bias, gain, whole)  # refuses what the array cannot hold
    b = b if entry.magnify else 0  # needed then, for the gain to stay in the register
    bias = None if layer.bias is None else layer.bias << (a + b)
    weight = layer.weight if not b else layer.weight.astype(np.int16) << np.int16(b)
    rule = regained(layer.requant, gain << (a + b) >> entry.magnify)
    if entry.sparse_mode != "SIM":
        if type(layer) is not Linear:
            raise NetworkError(f"sp_mode: found {entry.sparse_mode}, which only Gemm takes here")
        return SparseLinear(
            layer.name, weight, bias, rule, x_signed=layer.x_signed, mode=entry.sparse_mode
        )
    return replace(layer, weight=weight, bias=bias, requant=rule)


def matrices(layer: RecurrentLayer) -> list[Matrix]:
    """Weight, bias and rule of every product, and whether the input x is in it."""
    if isinstance(layer, Lstm | Gru):
        return [
            ("weight_gates", "bias_gates", "requant_gates", True),
            ("weight_candidate", "bias_candidate", "requant_candidate", True),
        ]
    if isinstance(layer, GruNew):
        return [
            ("weight_gates", "bias_gates", "requant_gates", True),
            ("weight_hidden", "bias_hidden", "requant_hidden", False),
            ("weight_input", "bias_input", "requant_input", True),
        ]
    if isinstance(layer, Gru2Array):
        return [
            ("weight_input", "bias_input", "requant_input", True),
            ("weight_hidden", "bias_hidden", "requant_hidden", False),
        ]
    assert isinstance(layer, Tdnn)
    return [("weight", "bias", "requant", True)]


def _optimized_cell(
    layer: RecurrentLayer, entry: LayerOptions, a: int, flags: str
) -> RecurrentLayer:
    cell = layer.cell
    changed: dict[str, Any] = {}
    for i, (w_name, b_name, rule_name, has_x) in enumerate(matrices(layer)):
        weight, bias = getattr(cell, w_name), getattr(cell, b_name)
        rule: Requant = getattr(cell, rule_name)
        gain, shift = whole_gain(rule), a if has_x else 0
        covered = weight.shape[1] if isinstance(layer, Tdnn) else cell.inputs
        b = _weight_shift(entry, i, flags)
        if shift or b or entry.multiple:
            # Whether the state is shifted too is unknown: cells are checked as if it were.
            optimize_layer(weight, bias, gain, Optimization(shift, b, entry.multiple))
        if not shift:
            continue
        h_first = getattr(cell, "row_order", "xh") == "hx" and weight.shape[1] != cell.inputs
        order = np.arange(weight.shape[1])
        if h_first:
            order = np.roll(order, cell.inputs)  # x first
        ordered = np.ascontiguousarray(weight[:, order])
        w, new_bias, _ = optimize_layer(
            ordered, bias, gain, Optimization(shift), shifted_inputs=covered, limits=_NO_CELL_LIMIT
        )
        back = np.empty_like(w)
        back[:, order] = w
        changed[w_name] = back if np.abs(back).max(initial=0) > 127 else back.astype(weight.dtype)
        changed[b_name] = new_bias
        changed[rule_name] = regained(rule, gain << shift)
    return replace(layer, cell=replace(cell, **changed)) if changed else layer


def whole_gain(rule: Requant) -> int:
    """The gain of a readout."""
    if rule.rule not in ("readout", "readout_wrap16") or not isinstance(rule.gain, int):
        raise NetworkError(f"requant: found {rule}, wanted the array's readout")
    return rule.gain


def regained(rule: Requant, gain: int) -> Requant:
    """A readout with another gain."""
    overflow = "wrap16" if rule.rule == "readout_wrap16" else "saturate"
    return readout(gain, bits=rule.bits, overflow=overflow, store=rule.store)


def _with_gain(layer: Layer, down: int) -> Layer:
    """A layer whose gain is divided by 2^down."""
    assert isinstance(layer, ArrayLayer)
    return replace(layer, requant=regained(layer.requant, whole_gain(layer.requant) >> down))


def _front(network: Network, layers: Mapping[str, Layer], name: str) -> str:
    """The array layer in front of a layer, through layers that have no gain."""
    while True:
        sources = network.inputs[name]
        if len(sources) != 1 or sources[0] not in layers:
            raise NetworkError("front_scale: found no single array layer in front of this one")
        name = sources[0]
        if isinstance(layers[name], ArrayLayer):
            return name
        if isinstance(layers[name], RecurrentLayer):
            raise NetworkError("front_scale: found a recurrent layer in front of this one")


def _rebuilt(
    network: Network, layers: Mapping[str, Layer], shifts: Mapping[str, Rescale]
) -> Network:
    inputs = {name: list(own) for name, own in network.inputs.items()}
    row: list[Layer] = []
    for name, layer in layers.items():
        shift = shifts.get(name)
        if shift is not None:
            row.append(shift)
            inputs[shift.name], inputs[name] = inputs[name], [shift.name]
        row.append(layer)
    return Network(
        row, network.name, inputs=inputs, outputs=network.outputs, input_shapes=network.input_shapes
    )


def typed(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The same numbers in another dtype, or an error where it does not hold them."""
    changed: NDArray[Any] = array.astype(dtype)
    if not np.array_equal(changed, array):
        raise NetworkError(f"found numbers that {dtype} does not hold")
    return changed
