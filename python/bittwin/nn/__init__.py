# SPDX-License-Identifier: Apache-2.0
"""Quantisation-aware training in torch, on the same kernels as everything else in bittwin."""

from __future__ import annotations

try:
    from torch import nn as _torch_nn  # a folder named torch on the path is not torch
except ImportError as error:
    raise ImportError(
        "bittwin.nn needs torch, which is an extra: pip install 'bittwin[torch]'"
    ) from error

from bittwin.nn.config import QATConfig
from bittwin.nn.export import to_network
from bittwin.nn.layers import Conv2d, ConvTranspose2d, Linear
from bittwin.nn.noise import NoiseHook
from bittwin.nn.prepare import prepare_qat
from bittwin.nn.prepare_report import FoldedNorm, LeftModule, PrepareReport, SwappedLayer

del _torch_nn

__all__ = [
    "Conv2d",
    "ConvTranspose2d",
    "FoldedNorm",
    "LeftModule",
    "Linear",
    "NoiseHook",
    "PrepareReport",
    "QATConfig",
    "SwappedLayer",
    "prepare_qat",
    "to_network",
]
