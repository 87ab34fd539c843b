# SPDX-License-Identifier: Apache-2.0
"""Operators of two inputs: add, mul, divide, cat, matmul (docs/spec/digital_training.md, "Two inputs")."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bittwin.nn.digital.quantizers import (
    Limits,
    Unrounded,
    clip,
    dequantized,
    over,
    quantize,
    round_half_even,
    saturate,
    signed,
)

#: Real limit of a quotient, part of the tool's divider.
QUOTIENT_LIMIT = 8.0
#: What a divisor of code 0 becomes, in codes.
SMALLEST_DIVISOR = 1e-8


class Side(NamedTuple):
    """One input: its values, its scale and its width."""

    x: Tensor
    codes_per_unit: float
    bits: int

    @property
    def limits(self) -> Limits:
        """Two's complement codes."""
        return signed(self.bits)

    def codes(self) -> Tensor:
        """Its codes."""
        return quantize(self.x, self.codes_per_unit, self.limits)


def add(a: Side, b: Side) -> Unrounded:
    """Both inputs quantised at the *smaller* of the two scales, and added.

    Each side has at most 16 bits, whatever width it is given.
    """
    scale = min(a.codes_per_unit, b.codes_per_unit)
    parts = [quantize(s.x, scale, signed(min(s.bits, 16))) for s in (a, b)]
    return Unrounded(parts[0] + parts[1], scale)


def mul(a: Side, b: Side) -> Unrounded:
    """The product of the codes."""
    return Unrounded(a.codes() * b.codes(), a.codes_per_unit * b.codes_per_unit)


def divide(
    a: Side, b: Side, *, limit: float | None = None, finite_gradient: bool = False
) -> Unrounded:
    """``half_even(a codes / b codes)``, a *whole* number, in real units limited to +-8.

    A divisor of code 0 counts as 1e-8. `finite_gradient`: its gradient is taken at a divisor of one code.
    """
    numerator, codes = a.codes(), b.codes()
    divisor = torch.where(codes == 0, SMALLEST_DIVISOR, codes)
    quotient = numerator / divisor
    if finite_gradient:
        smooth = numerator / torch.where(codes == 0, 1, codes)
        quotient = _with_gradient_of(smooth, quotient)
    whole = round_half_even(quotient)
    real = over(whole, a.codes_per_unit) * b.codes_per_unit
    return Unrounded(clip(saturate(real, (-QUOTIENT_LIMIT, QUOTIENT_LIMIT)), limit))


class _Replace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        return gy, None


def _with_gradient_of(smooth: Tensor, value: Tensor) -> Tensor:
    y: Tensor = _Replace.apply(smooth, value.detach())  # type: ignore[no-untyped-call]
    return y


def cat(a: Side, b: Side, dim: int = 0, *, limit: float | None = None) -> Unrounded:
    """Both inputs quantised with the wider side's bits, joined along `dim`.

    The narrower side gets the extra bits as resolution: its scale grows and its range stays.
    """
    bits = max(a.bits, b.bits)
    parts = [
        dequantized(s.x, s.codes_per_unit * 2.0 ** (bits - s.bits), signed(bits)) for s in (a, b)
    ]
    return Unrounded(clip(torch.cat(parts, dim), limit))


def matmul(a: Side, b: Side) -> Unrounded:
    """``torch.matmul`` of the codes, exact, divided by the two scales one after the other."""
    left, right = a.codes(), b.codes()
    exact = torch.matmul(left.detach().double(), right.detach().double()).to(left.dtype)
    product = exact
    if left.requires_grad or right.requires_grad:  # the gradient is that of a float32 product
        product = _with_gradient_of(torch.matmul(left, right), exact)
    return Unrounded(over(over(product, a.codes_per_unit), b.codes_per_unit))
