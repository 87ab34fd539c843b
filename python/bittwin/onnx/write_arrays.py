# SPDX-License-Identifier: Apache-2.0
"""Writers of the layers that run on the array, the recurrent ones included."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import ArrayLayer, Layer
from bittwin.network.convolutions import Conv2d, ConvTranspose2d
from bittwin.network.recurrent import RecurrentLayer
from bittwin.network.streaming import StreamConv2d
from bittwin.onnx.writer import Writer
from bittwin.requant import Requant

_ACTIVATIONS = ["sigmoid", "tanh", "tanh"]


def gain_of(layer: Layer, rule: Requant) -> int:
    """The gain of a rule that the chip has."""
    known = rule.rule in ("readout", "readout_wrap16") and rule.bits == 8
    if not known or not isinstance(rule.gain, int) or rule.channels != 1:
        raise NetworkError(
            f"layer {layer.name!r}: found the rule {rule}, wanted an 8-bit readout: the chip has no other"
        )
    return rule.gain


def _eight_bits(layer: Layer, x_bits: int) -> None:
    if x_bits != 8:
        raise NetworkError(f"layer {layer.name!r}: found {x_bits}-bit inputs, the dialect has 8")


def _bias(array: NDArray[np.int32] | None, columns: int) -> NDArray[np.int32]:
    return np.zeros(columns, np.int32) if array is None else array


def _array(w: Writer, layer: ArrayLayer, op: str, weight: NDArray[Any], **attributes: Any) -> None:
    """The operator and the Scale that holds its gain."""
    _eight_bits(layer, layer.x_bits)
    gain = gain_of(layer, layer.requant)
    constants = [
        w.constant(layer, "weight", weight),
        w.constant(layer, "bias", _bias(layer.bias, layer.out_channels)),
    ]
    acc = w.fresh(f"{layer.name}.acc")
    w.node(op, layer.name, [*w.sources(layer), *constants], [acc], attributes)
    w.node("Scale", "", [acc], [layer.name], {"scale": 1.0 / gain})


def linear(w: Writer, layer: Any) -> None:
    """Gemm."""
    _array(w, layer, "Gemm", layer.weight.T)


def conv(w: Writer, layer: Conv2d) -> None:
    """Conv; a streaming one with its history as padding on the left."""
    if layer.pad_value:
        raise NetworkError(
            f"layer {layer.name!r}: found pad_value {layer.pad_value}, the chip pads with 0"
        )
    top, left, bottom, right = layer.padding
    if isinstance(layer, StreamConv2d):
        left = (layer.weight.shape[3] - 1) * layer.dilation[1]
    _array(
        w,
        layer,
        "Conv",
        layer.weight,
        kernel_shape=list(layer.weight.shape[2:]),
        pads=[top, left, bottom, right],
        strides=list(layer.stride),
        dilations=list(layer.dilation) if layer.dilation != (1, 1) else None,
        group=layer.groups if layer.groups != 1 else None,
    )


def conv_transpose(w: Writer, layer: ConvTranspose2d) -> None:
    """ConvTranspose."""
    _array(
        w,
        layer,
        "ConvTranspose",
        layer.weight,
        kernel_shape=list(layer.weight.shape[2:]),
        pads=list(layer.padding),
        strides=list(layer.stride),
        output_padding=[*layer.output_padding, *layer.output_padding],
        dilations=list(layer.dilation) if layer.dilation != (1, 1) else None,
    )


def _tables(w: Writer, *tables: NDArray[Any]) -> dict[str, Any]:
    """One TENSOR where all tables are as long, else a list of TENSORS, as real files have it."""
    types = _ACTIVATIONS[: len(tables)]
    if len({t.size for t in tables}) == 1:
        return {"activate_type": types, "activate_table": w.tensor(np.stack([*map(_wide, tables)]))}
    each = [w.tensor(_wide(t)[None]) for t in tables]
    return {"activate_type": types, "activate_table": each}


def _wide(table: NDArray[Any]) -> NDArray[np.int16]:
    return table.astype(np.int16)


def _cell(w: Writer, layer: RecurrentLayer, weights: list[str], **attributes: Any) -> None:
    cell = layer.cell
    _eight_bits(layer, cell.x_bits)
    biases = [name.replace("weight", "bias") for name in weights]
    names = [w.constant(layer, name, getattr(cell, name).T) for name in weights]
    for name, weight in zip(biases, weights, strict=True):
        columns = getattr(cell, weight).shape[0]
        names.append(w.constant(layer, name, _bias(getattr(cell, name), columns)))
    w.simple(
        {"gru_new": "Gru", "gru2array": "Gru2Array"}.get(layer.kind, layer.kind.capitalize()),
        layer,
        *names,
        shift_bits=list(cell.shift_bits),
        **attributes,
    )


def lstm(w: Writer, layer: Any) -> None:
    """Lstm."""
    c = layer.cell
    _cell(
        w,
        layer,
        ["weight_gates", "weight_candidate"],
        scale_ioft=gain_of(layer, c.requant_gates),
        scale_ct=gain_of(layer, c.requant_candidate),
        clean_ctht=c.clean_after,
        **_tables(w, c.sigmoid_table, c.tanh_table, c.state_table),
    )


def _gru_attributes(w: Writer, c: Any) -> dict[str, Any]:
    tables = _tables(w, c.sigmoid_table, c.tanh_table)
    return {"scale_ones": c.ones, "clean_ht": c.clean_after, **tables}


def gru(w: Writer, layer: Any) -> None:
    """Gru with five inputs."""
    c = layer.cell
    _cell(
        w,
        layer,
        ["weight_gates", "weight_candidate"],
        scale_zr=gain_of(layer, c.requant_gates),
        scale_ht=gain_of(layer, c.requant_candidate),
        **_gru_attributes(w, c),
    )


def gru_new(w: Writer, layer: Any) -> None:
    """Gru with seven inputs."""
    c = layer.cell
    _cell(
        w,
        layer,
        ["weight_gates", "weight_hidden", "weight_input"],
        scale_zr=gain_of(layer, c.requant_gates),
        scale_ht=gain_of(layer, c.requant_hidden),
        scale_in=gain_of(layer, c.requant_input),
        **_gru_attributes(w, c),
    )


def gru2array(w: Writer, layer: Any) -> None:
    """Gru2Array."""
    c = layer.cell
    _cell(
        w,
        layer,
        ["weight_input", "weight_hidden"],
        scale_input=gain_of(layer, c.requant_input),
        scale_hidden=gain_of(layer, c.requant_hidden),
        hidden_shift_bit=c.hidden_shift,
        input_offset=0,
        **_gru_attributes(w, c),
    )


def tdnn(w: Writer, layer: Any) -> None:
    """Tdnn."""
    c = layer.cell
    _eight_bits(layer, c.x_bits)
    w.simple(
        "Tdnn",
        layer,
        w.constant(layer, "weight", c.weight.T),
        time_offsets=w.tensor(np.array(c.offsets)),
        bias_params=w.tensor(_bias(c.bias, c.weight.shape[0])),
        scale_params=gain_of(layer, c.requant),
    )
