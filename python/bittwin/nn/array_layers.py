# SPDX-License-Identifier: Apache-2.0
"""An array layer of `bittwin.nn` as the layer of `bittwin.network` with its codes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from bittwin.errors import NetworkError
from bittwin.network import (
    ArrayLayer,
    Conv2d,
    ConvTranspose2d,
    Linear,
    SplitConv2d,
    SplitConvTranspose2d,
    SplitLinear,
)
from bittwin.nn.bridge import Grid
from bittwin.nn.nodes import LayerCall
from bittwin.nn.prepared import prepare

_KINDS: Final[dict[tuple[str, bool], type[ArrayLayer]]] = {
    ("linear", False): Linear,
    ("linear", True): SplitLinear,
    ("conv2d", False): Conv2d,
    ("conv2d", True): SplitConv2d,
    ("conv_transpose2d", False): ConvTranspose2d,
    ("conv_transpose2d", True): SplitConvTranspose2d,
}


def array_layer(call: LayerCall) -> tuple[ArrayLayer, Grid]:
    """The layer and its output codes.

    Raises:
        NetworkError: an input without a frame axis.
    """
    layer, shape = call.module, call.x.shape
    spec = replace(layer.spec, name=call.name)
    axes, wanted = len(shape), "[N, ..., in]" if spec.op == "linear" else "[N, C, H, W]"
    if axes < 2 if spec.op == "linear" else axes != 4:
        raise NetworkError(f"layer {call.name!r}: found an input of shape {shape}, wanted {wanted}")
    # Not layer.prepared(): a layer on another device has none.
    bias = None if layer.bias is None else layer.bias.detach().cpu()
    prepared = prepare(spec, layer.weight.detach().cpu(), bias)
    settings: dict[str, Any] = {"x_bits": spec.x_bits, "x_signed": spec.x_signed}
    if spec.op != "linear":
        settings |= {"stride": spec.stride, "padding": spec.padding, "dilation": spec.dilation}
    if spec.op == "conv2d":
        # A pad value of 0 where there is no padding: what is written must not depend on it.
        pad_value = spec.pad_code if any(spec.padding) else 0
        settings |= {"groups": spec.groups, "pad_value": pad_value}
    if spec.op == "conv_transpose2d":
        settings["output_padding"] = spec.output_padding
    if spec.split:
        settings["bias_digital"] = prepared.bias_digital
    kind = _KINDS[spec.op, spec.split]
    rule = spec.requant
    grid = Grid(call.name, spec.codes_per_unit_y, rule.lo, rule.hi, rule.dtype.name)
    return kind(call.name, prepared.weight, prepared.bias, rule, **settings), grid
