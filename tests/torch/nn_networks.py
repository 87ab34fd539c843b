# SPDX-License-Identifier: Apache-2.0
"""A bittwin.nn layer as the integer layer of `bittwin.network`, built by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nn_cases import Layer
from numpy.typing import NDArray

from bittwin.network import layers as integer_layers
from bittwin.nn import Conv2d, Linear

KINDS = {"linear": "Linear", "conv2d": "Conv2d", "conv_transpose2d": "ConvTranspose2d"}


def network_layer(layer: Layer, x: torch.Tensor) -> tuple[Any, NDArray[Any]]:
    """The integer layer, and the codes that it takes for x."""
    prepared = layer.prepared()
    spec = prepared.spec
    settings: dict[str, Any] = {"x_bits": spec.x_bits, "x_signed": spec.x_signed}
    if spec.op != "linear":
        settings |= {"stride": spec.stride, "padding": spec.padding, "dilation": spec.dilation}
        more = "groups" if spec.op == "conv2d" else "output_padding"
        settings[more] = getattr(spec, more)
    if isinstance(layer, Linear):
        images = x.reshape(-1, layer.in_features)
    else:
        images = x if x.dim() == 4 else x.unsqueeze(0)
    if isinstance(layer, Conv2d):
        sides = layer._reversed_padding_repeated_twice
        if layer.padding_mode != "zeros":
            images = torch.nn.functional.pad(images, sides, mode=layer.padding_mode)
        elif spec.shift_codes:  # an integer layer pads with code 0: pad the values instead
            images = torch.nn.functional.pad(images, sides)
            settings["padding"] = (0, 0, 0, 0)
    codes = layer.quantize_input(images).numpy()
    if codes.dtype == np.int16 and not spec.x_signed:
        codes = codes.astype(np.uint16)
    name = KINDS[spec.op]
    if spec.split:
        name = f"Split{name}"
        settings["bias_digital"] = prepared.bias_digital
    kind = getattr(integer_layers, name)
    return kind("layer", prepared.weight, prepared.bias, spec.requant, **settings), codes
