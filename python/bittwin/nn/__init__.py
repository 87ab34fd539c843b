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
from bittwin.nn.digital.config import DigitalConfig
from bittwin.nn.digital.modules import GELU, InvSqrt, PReLU, Sigmoid, Sqrt, Tanh
from bittwin.nn.digital.modules_norm import BatchNorm2d, ClnBn2d, Mean
from bittwin.nn.digital.modules_pair import Add, Cat, Divide, Hypot, MatMul, Mul
from bittwin.nn.digital.tables import ActivationTable
from bittwin.nn.export import to_network
from bittwin.nn.gru import Gru2ArrayCell, GRUCell, GruNewCell
from bittwin.nn.layers import Conv2d, ConvTranspose2d, Linear
from bittwin.nn.lstm import LSTMCell
from bittwin.nn.noise import NoiseHook
from bittwin.nn.prepare import prepare_qat
from bittwin.nn.prepare_report import FoldedNorm, LeftModule, PrepareReport, SwappedLayer
from bittwin.nn.sequences import GRU, LSTM, Gru2Array, GruNew

del _torch_nn

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "ActivationTable",
    "Add",
    "BatchNorm2d",
    "Cat",
    "ClnBn2d",
    "Conv2d",
    "ConvTranspose2d",
    "DigitalConfig",
    "Divide",
    "FoldedNorm",
    "GRUCell",
    "Gru2Array",
    "Gru2ArrayCell",
    "GruNew",
    "GruNewCell",
    "Hypot",
    "InvSqrt",
    "LSTMCell",
    "LeftModule",
    "Linear",
    "MatMul",
    "Mean",
    "Mul",
    "NoiseHook",
    "PReLU",
    "PrepareReport",
    "QATConfig",
    "Sigmoid",
    "Sqrt",
    "SwappedLayer",
    "Tanh",
    "prepare_qat",
    "to_network",
]
