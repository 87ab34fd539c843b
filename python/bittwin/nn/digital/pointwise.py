# SPDX-License-Identifier: Apache-2.0
"""Sigmoid, tanh, GELU and PReLU on quantised inputs (docs/spec/digital_training.md, "One input").

The functions are computed in float64 and rounded to float32 once, so that the codes do not depend on a
device's approximation of them. Gradients are torch's own of its own functions: the last bit of a gradient
matters to no code.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bittwin.nn.digital.quantizers import Limits, Unrounded, clip, dequantized

APPROXIMATIONS = ("none", "tanh")


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        # Two roundings, as measured: the exponential, then the quotient.
        ctx.save_for_backward(x)
        return 1 / (1 + torch.exp(-x.double()).to(x.dtype))

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        y = torch.sigmoid(ctx.saved_tensors[0])
        gx: Tensor = torch.ops.aten.sigmoid_backward(gy, y)
        return gx


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.tanh(x.double()).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        y = torch.tanh(ctx.saved_tensors[0])
        gx: Tensor = torch.ops.aten.tanh_backward(gy, y)
        return gx


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, approximate: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.approximate = approximate
        v = x.double()
        if approximate == "tanh":
            share = 1 + torch.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))
        else:
            share = torch.special.erfc(
                -v * math.sqrt(0.5)
            )  # 1 + erf loses the digits of small ones
        return (0.5 * v * share).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        gx: Tensor = torch.ops.aten.gelu_backward(gy, x, approximate=ctx.approximate)
        return gx, None


def sigmoid(x: Tensor, codes_per_unit: float, limits: Limits) -> Unrounded:
    """Sigmoid of the quantised x: ``fl32(1 / (1 + fl32(exp(-xd))))``."""
    y: Tensor = _Sigmoid.apply(dequantized(x, codes_per_unit, limits))  # type: ignore[no-untyped-call]
    return Unrounded(y)


def tanh(x: Tensor, codes_per_unit: float, limits: Limits) -> Unrounded:
    """Hyperbolic tangent of the quantised x, correctly rounded."""
    y: Tensor = _Tanh.apply(dequantized(x, codes_per_unit, limits))  # type: ignore[no-untyped-call]
    return Unrounded(y)


def gelu(
    x: Tensor,
    codes_per_unit: float,
    limits: Limits,
    *,
    approximate: str = "none",
    shift: float | None = None,
    limit: float | None = None,
) -> Unrounded:
    """GELU of the quantised x, correctly rounded; then plus `shift`, then limited to +-`limit`."""
    if approximate not in APPROXIMATIONS:
        raise RuntimeError(f"approximate: found {approximate!r}, wanted 'none' or 'tanh'")
    xd = dequantized(x, codes_per_unit, limits)
    y: Tensor = _Gelu.apply(xd, approximate)  # type: ignore[no-untyped-call]
    return Unrounded(clip(y + shift if shift else y, limit))


def prelu(
    x: Tensor,
    codes_per_unit: float,
    limits: Limits,
    weight: Tensor,
    codes_per_unit_w: float,
    weight_limits: Limits,
    *,
    limit: float | None = None,
) -> Unrounded:
    """The quantised x where it is above 0, else times the quantised weight; limited to +-`limit`.

    The weight has one entry, or one per entry of axis 1.
    """
    xd = dequantized(x, codes_per_unit, limits)
    wd = dequantized(weight, codes_per_unit_w, weight_limits)
    return Unrounded(clip(F.prelu(xd, wd), limit))
