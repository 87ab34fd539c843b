# SPDX-License-Identifier: Apache-2.0
"""Square roots by integers: sqrt, 1/sqrt and hypot (docs/spec/digital_training.md, "Roots").

``I = floor(sqrt(n * 2^shift_bits))`` is exact. Gradients come in two kinds: ``tool`` has the training tool's
infinities and missing masks, ``finite`` the derivative at the quantised value, at code 1 for code 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bittwin.nn.digital.quantizers import Limits, Unrounded, clip, over, quantize

SHIFT_BITS = (0, 4, 8, 12, 16)


def integer_sqrt(n: Tensor) -> Tensor:
    """``floor(sqrt(n))`` of whole numbers below 2^52, exact; NaN stays NaN.

    Args:
        n: float64, not negative.

    >>> import torch
    >>> from bittwin.nn.digital.roots import integer_sqrt
    >>> integer_sqrt(torch.tensor([0.0, 24, 25, 2.0**32 - 1], dtype=torch.float64)).tolist()
    [0.0, 4.0, 5.0, 65535.0]
    """
    root = torch.floor(torch.sqrt(n))
    # Not every build of torch rounds its square roots correctly.
    root = root - (root * root > n).to(root.dtype)
    return root + ((root + 1) * (root + 1) <= n).to(root.dtype)


class _ShiftedRoot(torch.autograd.Function):
    """``I`` of codes; backward as sqrt, at code 1 for code 0."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, shift_bits: int) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.shift_bits = shift_bits
        return integer_sqrt(codes.double() * 2.0**shift_bits).to(codes.dtype)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        slope = 0.5 * 2.0 ** (ctx.shift_bits / 2) / torch.sqrt(codes.clamp_min(1))
        return gy * slope, None


class _RawRoot(torch.autograd.Function):
    """The tool's square root: any value forward, backward 0.5 / sqrt(raw x), without a mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return gy * (0.5 / torch.sqrt(x)), None


class _InfiniteAtZero(torch.autograd.Function):
    """Identity; backward +inf at code 0, whatever the gradient."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        return codes.clone()

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        (codes,) = ctx.saved_tensors
        return torch.where(codes == 0, math.inf, gy)


class _Hypot(torch.autograd.Function):
    """``I`` of ``a^2 + b^2``; backward ``a / sqrt(a^2 + b^2)``, 0 at (0, 0)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, shift_bits: int) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.shift_bits = shift_bits
        n = a.double() ** 2 + b.double() ** 2
        return integer_sqrt(n * 2.0**shift_bits).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b = ctx.saved_tensors
        length = torch.sqrt(a * a + b * b)
        share = gy * 2.0 ** (ctx.shift_bits / 2) / torch.where(length == 0, 1, length)
        return share * a, share * b, None


def shifted_root(codes: Tensor, shift_bits: int) -> Tensor:
    """``floor(sqrt(codes * 2^shift_bits))``, exact, codes not negative; finite gradients."""
    y: Tensor = _ShiftedRoot.apply(codes, shift_bits)  # type: ignore[no-untyped-call]
    return y


def reciprocal(root: Tensor) -> Tensor:
    """``fl(1 / root)``, and 0 for 0, where the gradient is 0 too."""
    positive = root > 0
    inverse = 1 / torch.where(positive, root, 1)
    return torch.where(positive | root.isnan(), inverse, 0)


def sqrt(
    x: Tensor,
    codes_per_unit: float,
    limits: Limits,
    shift_bits: int,
    *,
    limit: float | None = None,
) -> Unrounded:
    """``I / 2^(shift_bits / 2) / s`` of unsigned codes, s the root of codes_per_unit; finite gradients."""
    root = shifted_root(quantize(x, codes_per_unit, limits), shift_bits)
    v = over(over(root, 2.0 ** (shift_bits / 2)), math.sqrt(codes_per_unit))
    return Unrounded(clip(v, limit))


def raw_root_gradient(x: Tensor, y: Tensor) -> Tensor:
    """Y, with the tool's gradient of a square root: 0.5 / sqrt(x) of the raw x, no masks."""
    result: Tensor = _RawRoot.apply(x, y.detach())  # type: ignore[no-untyped-call]
    return result


def inv_sqrt(
    x: Tensor,
    codes_per_unit: float,
    limits: Limits,
    shift_bits: int,
    *,
    limit: float | None = None,
    tool_gradient: bool = False,
) -> Unrounded:
    """``fl(1 / I) * fl(sqrt(codes_per_unit * 2^shift_bits))``, and 0 where I is 0.

    `tool_gradient`: +inf at code 0, instead of 0.
    """
    codes = quantize(x, codes_per_unit, limits)
    if tool_gradient:
        codes = _InfiniteAtZero.apply(codes)  # type: ignore[no-untyped-call]
    inverse = reciprocal(shifted_root(codes, shift_bits))
    return Unrounded(clip(inverse * math.sqrt(codes_per_unit * 2.0**shift_bits), limit))


def hypot(
    a: Tensor,
    b: Tensor,
    codes_per_unit: float,
    limits: Limits,
    shift_bits: int,
    *,
    limit: float | None = None,
) -> Unrounded:
    """``I / 2^(shift_bits / 2) / codes_per_unit`` of ``a^2 + b^2``; both inputs have one scale."""
    left = quantize(a, codes_per_unit, limits)
    right = quantize(b, codes_per_unit, limits)
    root: Tensor = _Hypot.apply(left, right, shift_bits)  # type: ignore[no-untyped-call]
    return Unrounded(clip(over(over(root, 2.0 ** (shift_bits / 2)), codes_per_unit), limit))
