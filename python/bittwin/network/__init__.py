# SPDX-License-Identifier: Apache-2.0
"""Networks of integer layers: run exactly, trace, bound, save and load."""

from __future__ import annotations

from bittwin.network.layers import (
    ACTIVATION_KINDS,
    ARRAY_KINDS,
    LAYER_KINDS,
    Activation,
    ArrayLayer,
    Clip,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Layer,
    Linear,
    Lookup,
    Relu,
    Rescale,
    SplitConv2d,
    SplitConvTranspose2d,
    SplitLinear,
    SplitRounds,
    layer_from_config,
)
from bittwin.network.network import Network, Trace, load_network

__all__ = [
    "ACTIVATION_KINDS",
    "ARRAY_KINDS",
    "LAYER_KINDS",
    "Activation",
    "ArrayLayer",
    "Clip",
    "Conv2d",
    "ConvTranspose2d",
    "Flatten",
    "Layer",
    "Linear",
    "Lookup",
    "Network",
    "Relu",
    "Rescale",
    "SplitConv2d",
    "SplitConvTranspose2d",
    "SplitLinear",
    "SplitRounds",
    "Trace",
    "layer_from_config",
    "load_network",
]
