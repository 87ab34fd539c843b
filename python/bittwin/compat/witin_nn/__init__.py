# SPDX-License-Identifier: Apache-2.0
"""The vendor training tool's layers on bittwin's kernels: its names, its numbers, bit for bit.

A training script of the tool runs with one changed import and its checkpoints load. All of the tool's
peculiarities live here; `bittwin.nn` has none of them (docs/guide/from_witin_nn.md lists both).

>>> from bittwin.compat import witin_nn
>>> witin_nn.LayerConfigFactory.get_default_config().bias_row_N
8
"""

from __future__ import annotations

try:
    import torch.nn as _nn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "bittwin.compat.witin_nn: found no torch, wanted 2.4 or newer; pip install 'bittwin[torch]'"
    ) from error

from bittwin.compat.witin_nn.autoscale import AutoScale
from bittwin.compat.witin_nn.config import WitinGlobalConfig, WitinLayerConfig
from bittwin.compat.witin_nn.conv2d import WitinConv2d
from bittwin.compat.witin_nn.conv_transpose2d import WitinConvTranspose2d
from bittwin.compat.witin_nn.digital_norms import WitinBatchNorm2d, WitinClnBn2d, WitinMean
from bittwin.compat.witin_nn.digital_pairs import (
    WitinCat,
    WitinElementAdd,
    WitinElementDivide,
    WitinElementMul,
    WitinMatMul,
)
from bittwin.compat.witin_nn.digital_roots import WitinHypot, WitinInvSqrt, WitinSqrt
from bittwin.compat.witin_nn.digital_unary import WitinGELU, WitinPReLU, WitinSigmoid, WitinTanh
from bittwin.compat.witin_nn.enums import (
    HandleNegInType,
    HardwareType,
    NoiseModel,
    ParamType,
    TargetPlatform,
)
from bittwin.compat.witin_nn.factories import GlobalConfigFactory, LayerConfigFactory
from bittwin.compat.witin_nn.linear import WitinLinear

__all__ = [
    "AutoScale",
    "GlobalConfigFactory",
    "HandleNegInType",
    "HardwareType",
    "LayerConfigFactory",
    "NoiseModel",
    "ParamType",
    "TargetPlatform",
    "WitinBatchNorm2d",
    "WitinCat",
    "WitinClnBn2d",
    "WitinConv2d",
    "WitinConvTranspose2d",
    "WitinElementAdd",
    "WitinElementDivide",
    "WitinElementMul",
    "WitinGELU",
    "WitinGlobalConfig",
    "WitinHypot",
    "WitinInvSqrt",
    "WitinLayerConfig",
    "WitinLinear",
    "WitinMatMul",
    "WitinMean",
    "WitinPReLU",
    "WitinSigmoid",
    "WitinSqrt",
    "WitinTanh",
]
