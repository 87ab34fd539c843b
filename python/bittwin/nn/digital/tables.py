# SPDX-License-Identifier: Apache-2.0
"""Activation tables and shifts on codes, with straight-through gradients: what recurrent cells are made of.

Codes are whole numbers in float32 tensors. Tables are `bittwin.tables`', read as docs/spec/recurrent.md says.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bittwin import tables
from bittwin._check import choice
from bittwin.nn.digital.quantizers import Limits, saturate

KINDS = ("sigmoid", "tanh")
#: Fraction bits of table entries and of states.
Q_OUT = 7
_HALF = 512  # arguments -512..511 have a place of their own


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        index = codes.long().clamp(-_HALF, _HALF - 1) + _HALF
        ctx.save_for_backward(slopes[index])
        y: Tensor = values[index]
        return y

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None, None]:
        gx: Tensor = gy * ctx.saved_tensors[0]
        return gx, None, None


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, bits: int, ties_up: bool) -> Tensor:
        ctx.factor = math.ldexp(1.0, bits)
        # Exact: the numbers are far below 2^24 and the factor is a power of two.
        exact: Tensor = codes * ctx.factor
        if bits >= 0:
            return exact
        return torch.floor(exact + 0.5) if ties_up else torch.ceil(exact - 0.5) + 0.0  # no -0

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None, None]:
        gx: Tensor = gy * ctx.factor
        return gx, None, None


def shift(
    codes: Tensor, bits: int, limits: Limits | None = None, *, rounding: str = "half_up"
) -> Tensor:
    """``saturate(SHIFT(codes, bits))``: negative bits divide, rounding half up or half down.

    The gradient is 2^bits inside the limits.

    >>> import torch
    >>> from bittwin.nn.digital.tables import shift
    >>> shift(torch.tensor([63.0, 64, -64, -65]), -7).tolist()
    [0.0, 1.0, 0.0, -1.0]
    >>> shift(torch.tensor([63.0, 64, -64, -65]), -7, rounding="half_down").tolist()
    [0.0, 0.0, -1.0, -1.0]
    """
    ties_up = choice("rounding", rounding, ("half_up", "half_down")) == "half_up"
    y: Tensor = _Shift.apply(codes, bits, ties_up)  # type: ignore[no-untyped-call]
    return y if limits is None else saturate(y, limits)


class ActivationTable(torch.nn.Module):
    """A sigmoid or tanh table that is read at codes or at sums of codes.

    A 1024-entry table is read at twice its argument, up to its ends; a 256-entry table at the argument
    saturated to int8. The gradient is the derivative of the function itself, and 0 where the argument was
    limited.

    Args:
        kind: ``sigmoid`` or ``tanh``.
        q_in: fraction bits of the table's index.
        size: 256 or 1024.

    >>> import torch
    >>> from bittwin.nn.digital.tables import ActivationTable
    >>> table = ActivationTable("sigmoid", 5)
    >>> table(torch.tensor([0.0, 127.0])).tolist(), table.codes_per_unit
    ([64.0, 126.0], 32.0)
    """

    values: Tensor
    slopes: Tensor

    def __init__(self, kind: str, q_in: int, size: int = 256) -> None:
        super().__init__()
        self.kind = choice("kind", kind, KINDS)
        self.q_in = q_in
        make = tables.sigmoid if kind == "sigmoid" else tables.tanh
        self.entries = make(size, q_in=q_in, q_out=Q_OUT)
        step = size // 512 if size == 1024 else 1  # index per code
        argument = np.arange(-_HALF, _HALF)
        index = np.clip(step * argument, -size // 2, size // 2 - 1)
        real = argument / self.codes_per_unit
        value = 1 / (1 + np.exp(-real)) if kind == "sigmoid" else np.tanh(real)
        derivative = value * (1 - value) if kind == "sigmoid" else 1 - value * value
        slopes = (
            np.where(index == step * argument, derivative, 0) * 2.0**Q_OUT / self.codes_per_unit
        )
        for name, array in (("values", self.entries[index]), ("slopes", slopes)):
            tensor = torch.from_numpy(array.astype(np.float32))
            self.register_buffer(name, tensor, persistent=False)

    @property
    def codes_per_unit(self) -> float:
        """Argument codes per real unit of the function's argument."""
        return math.ldexp(1.0, self.q_in - (self.entries.size == 1024))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes of any shape to codes."""
        y: Tensor = _Lookup.apply(codes, self.values, self.slopes)  # type: ignore[no-untyped-call]
        return y

    def smooth(self, codes: Tensor) -> Tensor:
        """The function itself, without any rounding, on the same scales."""
        function = torch.sigmoid if self.kind == "sigmoid" else torch.tanh
        return function(codes / self.codes_per_unit) * 2.0**Q_OUT

    def extra_repr(self) -> str:
        """Kind, fraction bits and size."""
        return f"{self.kind}, q_in={self.q_in}, size={self.entries.size}"
