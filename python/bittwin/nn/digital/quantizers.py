# SPDX-License-Identifier: Apache-2.0
"""Rounding, saturation and quantisers of the digital operators, with their straight-through gradients.

Codes are whole numbers in float tensors here: the operators are float32 simulations of integers, exact for
codes of up to 12 bits, and run on any device. docs/spec/digital_training.md has the equations.

Gradients: rounding passes 1; a limit passes 1 where the *rounded* number lies inside, ends included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

Limits: TypeAlias = tuple[float, float]
ROUNDINGS = ("half_even", "half_up", "half_away")


class _RoundHalfEven(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        return gy


class _FloorPlusHalf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.floor(x + 0.5)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        return gy


class _RoundHalfAway(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.trunc(x + torch.copysign(x.new_full((), 0.5), x))

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        return gy


def round_half_even(x: Tensor) -> Tensor:
    """Nearest whole number, ties to even; gradient 1.

    >>> import torch
    >>> from bittwin.nn.digital.quantizers import round_half_even
    >>> round_half_even(torch.tensor([0.5, 1.5, -2.5])).tolist()
    [0.0, 2.0, -2.0]
    """
    y: Tensor = _RoundHalfEven.apply(x)  # type: ignore[no-untyped-call]
    return y


def round_half_up(x: Tensor) -> Tensor:
    """``floor(x + 1/2)``: nearest whole number, ties up, as the chip's shifts do; gradient 1.

    Exact where x + 1/2 is, that is for numbers below 2^22 with one or more fraction bits left.

    >>> import torch
    >>> from bittwin.nn.digital.quantizers import round_half_up
    >>> round_half_up(torch.tensor([0.5, 1.5, -2.5])).tolist()
    [1.0, 2.0, -2.0]
    """
    y: Tensor = _FloorPlusHalf.apply(x)  # type: ignore[no-untyped-call]
    return y


def round_half_away(x: Tensor) -> Tensor:
    """Nearest whole number, ties away from zero, as the chip's mean does; gradient 1.

    Exact where x +- 1/2 is.

    >>> import torch
    >>> from bittwin.nn.digital.quantizers import round_half_away
    >>> round_half_away(torch.tensor([0.5, 1.5, -2.5])).tolist()
    [1.0, 2.0, -3.0]
    """
    y: Tensor = _RoundHalfAway.apply(x)  # type: ignore[no-untyped-call]
    return y


def nearest(x: Tensor, rounding: str) -> Tensor:
    """Round by name, one of `ROUNDINGS`."""
    rules = {
        "half_even": round_half_even,
        "half_up": round_half_up,
        "half_away": round_half_away,
    }
    return rules[rounding](x)


def signed(bits: int) -> Limits:
    """Lowest and highest two's complement code of a width.

    >>> from bittwin.nn.digital.quantizers import signed, unsigned
    >>> signed(8), unsigned(8)
    ((-128.0, 127.0), (0.0, 255.0))
    """
    half = math.ldexp(1.0, bits - 1)
    return -half, half - 1


def unsigned(bits: int) -> Limits:
    """Lowest and highest unsigned code of a width."""
    return 0.0, math.ldexp(1.0, bits) - 1


def saturate(x: Tensor, limits: Limits) -> Tensor:
    """Limit to codes; gradient 1 inside, ends included, and 0 outside. NaN stays NaN."""
    return torch.clamp(x, *limits)


def clip(x: Tensor, limit: float | None) -> Tensor:
    """Limit real values to +-limit; None or 0: unchanged."""
    return torch.clamp(x, -limit, limit) if limit else x


def over(x: Tensor, divisor: float) -> Tensor:
    """``x / divisor``, one rounding; the divisor is rounded to x's precision first.

    A tensor as divisor: some devices multiply by the reciprocal of a plain number.
    """
    return x / x.new_full((), divisor)


def quantize(x: Tensor, codes_per_unit: float, limits: Limits) -> Tensor:
    """Codes of real values: ``saturate(half_even(x * codes_per_unit))``.

    >>> import torch
    >>> from bittwin.nn.digital.quantizers import quantize, signed
    >>> quantize(torch.tensor([0.5, 1.5, -200.0]), 1.0, signed(8)).tolist()
    [0.0, 2.0, -128.0]
    """
    return saturate(round_half_even(x * codes_per_unit), limits)


def dequantized(x: Tensor, codes_per_unit: float, limits: Limits) -> Tensor:
    """Real values of the codes of real values."""
    return over(quantize(x, codes_per_unit, limits), codes_per_unit)


@dataclass(frozen=True)
class Unrounded:
    """What an operator computed, before its output quantiser.

    Attributes:
        number: real values, or an accumulator.
        units: accumulator units per real unit; 0: `number` holds real values.
    """

    number: Tensor
    units: float = 0.0

    def real(self) -> Tensor:
        """Real values."""
        return over(self.number, self.units) if self.units else self.number

    def codes(self, codes_per_unit: float, limits: Limits, rounding: str = "half_even") -> Tensor:
        """Output codes: ``saturate(round(number * codes_per_unit))``.

        An accumulator is divided once, by ``units / codes_per_unit`` rounded to its precision.
        """
        if self.units:
            scaled = over(self.number, self.units / codes_per_unit)
        else:
            scaled = self.number * codes_per_unit
        return saturate(nearest(scaled, rounding), limits)
