# SPDX-License-Identifier: Apache-2.0
"""The inverse of `apply_optimize`: a network without its optimise config, and the config that restores it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from bittwin.errors import NetworkError
from bittwin.network import ArrayLayer, Layer, Linear, Network, Rescale
from bittwin.network.convolutions import ConvTranspose2d
from bittwin.network.recurrent import RecurrentLayer, Tdnn
from bittwin.network.sparse import SparseLinear
from bittwin.onnx.optimize_config import LayerOptions
from bittwin.onnx.plan import SHIFTED, matrices, regained, whole_gain
from bittwin.optimize import Optimization, restore_layer


def _shift(network: Network, layer: Layer) -> Rescale | None:
    """The input shift in front of an array layer, if there is one."""
    sources = network.inputs[layer.name]
    if sources != (layer.name + SHIFTED,) or not isinstance(layer, ArrayLayer | RecurrentLayer):
        return None
    front = next(other for other in network.layers if other.name == sources[0])
    if not isinstance(front, Rescale):
        return None
    low = -255 if layer.x_signed else 0
    wanted = Rescale(front.name, log2_factor=front.log2_factor, low=low, high=255)
    return front if front == wanted and front.log2_factor > 0 else None


def without_plan(network: Network) -> Network:
    """The network as the ONNX file holds it: no input shifts, no sparse modes."""
    shifts = {layer.name: s for layer in network.layers if (s := _shift(network, layer))}
    gone = {s.name: network.inputs[s.name][0] for s in shifts.values()}
    layers = []
    for layer in network.layers:
        if layer.name in gone:
            continue
        plain = layer
        if isinstance(layer, SparseLinear):
            shared = {f.name: getattr(layer, f.name) for f in fields(Linear)}
            plain = Linear(**shared)
        try:
            if layer.name in shifts:
                plain = _restored(plain, shifts[layer.name].log2_factor)
        except (TypeError, ValueError) as error:
            raise NetworkError(f"layer {layer.name!r}: input shift: {error}") from None
        layers.append(plain)
    inputs = {
        layer.name: [gone.get(source, source) for source in network.inputs[layer.name]]
        for layer in layers
    }
    return Network(
        layers,
        network.name,
        inputs=inputs,
        outputs=network.outputs,
        input_shapes=network.input_shapes,
    )


def _restored(layer: Layer, a: int) -> Layer:
    """A layer whose input is not shifted any more."""
    if isinstance(layer, ArrayLayer):
        gain = whole_gain(layer.requant)
        _, bias, _ = restore_layer(
            np.zeros((layer.out_channels, 1), np.int8), layer.bias, gain, Optimization(a)
        )
        return replace(layer, bias=bias, requant=regained(layer.requant, gain >> a))
    assert isinstance(layer, RecurrentLayer)
    cell = layer.cell
    changed: dict[str, Any] = {}
    for w_name, b_name, rule_name, has_x in matrices(layer):
        if not has_x:
            continue
        weight = getattr(cell, w_name)
        covered = weight.shape[1] if isinstance(layer, Tdnn) else cell.inputs
        order = np.arange(weight.shape[1])
        if getattr(cell, "row_order", "xh") == "hx" and weight.shape[1] != cell.inputs:
            order = np.roll(order, cell.inputs)
        w, bias, gain = restore_layer(
            np.ascontiguousarray(weight[:, order]),
            getattr(cell, b_name),
            whole_gain(getattr(cell, rule_name)),
            Optimization(a),
            shifted_inputs=covered,
        )
        back = np.empty_like(w)
        back[:, order] = w
        changed[w_name] = back.astype(weight.dtype)
        changed[b_name] = bias
        changed[rule_name] = regained(getattr(cell, rule_name), gain)
    return replace(layer, cell=replace(cell, **changed))


def config_of(network: Network, options: Mapping[str, LayerOptions]) -> dict[str, LayerOptions]:
    """The optimise config of a network, on top of given entries."""
    config = {}
    for layer in network.layers:
        if not isinstance(layer, ArrayLayer | RecurrentLayer):
            continue
        shift = _shift(network, layer)
        exponent = 0 if shift is None else shift.log2_factor
        sparse = layer.mode if isinstance(layer, SparseLinear) else "SIM"
        config[layer.name] = replace(
            options.get(layer.name, LayerOptions(layer.name)),
            name=layer.name,
            input_shift=int(exponent > 0),
            input_num=exponent,
            signed_input=_inputs(layer) if layer.x_signed else 0,
            sparse_mode=sparse,
            tdnn_mode=layer.kind.startswith("stream_"),
            magnify=0,
            front_scale=0,
        )
    unknown = [name for name in options if name not in config]
    if unknown:
        raise NetworkError(f"options: found {unknown[0]!r}, which is no layer on the array")
    return config


def _inputs(layer: ArrayLayer | RecurrentLayer) -> int:
    """Inputs of a layer, channels of a convolution."""
    if isinstance(layer, RecurrentLayer):
        return int(layer.cell.inputs)
    if isinstance(layer, ConvTranspose2d):
        return int(layer.weight.shape[0])
    groups: int = getattr(layer, "groups", 1)
    return int(layer.weight.shape[1]) * groups
