# SPDX-License-Identifier: Apache-2.0
"""How bittwin's modules turn real values into input codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.nn.bridge import Reader
from bittwin.nn.digital import modules, modules_norm, modules_pair
from bittwin.nn.digital.quantizers import clip, quantize
from bittwin.nn.nodes import CellCall, DigitalCall, LayerCall

_BYTES = ("int8", "uint8")
_OPERANDS = ("int8", "uint8", "int16")


def array_reader(call: LayerCall) -> Reader:
    """An array layer's input."""
    spec, layer = call.module.spec, call.module

    def codes(values: torch.Tensor) -> NDArray[Any]:
        return layer.quantize_input(values.cpu()).numpy()

    return Reader(call.name, codes, spec.codes_per_unit_x, spec.x_limits, spec.shift_codes)


def cell_reader(call: CellCall) -> Reader:
    """A recurrent cell's input."""
    return Reader(call.name, call.cell.quantize_input, call.cell.codes_per_unit_x, (-255, 255))


def digital_reader(call: DigitalCall, place: int) -> Reader:
    """One of a digital operator's inputs."""
    module, operand = call.module, ("x", "other")[place]
    units, (low, high) = module.operand_scale(operand)

    def codes(values: torch.Tensor) -> NDArray[Any]:
        return module.quantize_input(values.cpu(), operand).numpy()

    reader = Reader(call.name, codes, units, (int(low), int(high)))
    if isinstance(module, modules_norm.Mean):
        return reader.wants(*_BYTES)
    if isinstance(module, modules_pair.Add | modules_pair.Mul):
        return reader.wants(*_OPERANDS)
    single = isinstance(module, modules.Sigmoid | modules.Tanh | modules.GELU | modules.PReLU)
    if (single or isinstance(module, modules.Sqrt | modules.InvSqrt)) and reader.limits[1] <= 255:
        return reader.wants(*_BYTES)
    return reader


def cat_reader(call: DigitalCall) -> Reader:
    """A Cat's output quantiser, which sees one side at a time."""
    module = call.module
    assert isinstance(module, modules_pair.Cat)
    units, limits = module.codes_per_unit["y"], module.limits("y")

    def codes(values: torch.Tensor) -> NDArray[Any]:
        found = quantize(clip(values, module.limit), units, limits)
        return found.numpy().astype(np.int32)

    return Reader(call.name, codes, units, (int(limits[0]), int(limits[1])))


def pad_code(reader: Reader) -> int:
    """The code of 0.0."""
    return int(reader.quantize(torch.zeros(1))[0])
