# SPDX-License-Identifier: Apache-2.0
"""Straight-through gradients.

Every quantiser passes its gradient where the number *before* rounding lay within its range, ends included,
and stops it elsewhere. In range, with wd = weight codes / codes_per_unit_w and xd = (input codes - shift) /
codes_per_unit_x::

    gx = gy @ wd        gw = gy.T @ xd        gb = sum(gy)

Stopped: gx where x was limited, gw where the weight was, gb where the bias was, everything where y was. In a
split layer whose low code is limited, a limited low part takes its share out of gw and gb; gx is not
affected (docs/spec/gradients.md).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from bittwin.nn.bits import unpack
from bittwin.nn.forward import Saved
from bittwin.nn.spec import LayerSpec


class Gradients(NamedTuple):
    """Gradients of x, weight and bias; None where not asked for."""

    x: torch.Tensor | None
    weight: torch.Tensor | None
    bias: torch.Tensor | None


def gradients(
    spec: LayerSpec,
    weight_codes: torch.Tensor,
    weight_inside: torch.Tensor | None,
    bias_inside: torch.Tensor | None,
    saved: Saved,
    x_shape: torch.Size,
    gy: torch.Tensor,
    need: tuple[bool, bool, bool],
) -> Gradients:
    """Gradients of one layer; `need` says of x, weight, bias which are wanted."""
    if saved.y_inside is not None:
        gy = gy * unpack(saved.y_inside, gy.shape)
    low_gy = gy
    if saved.low_inside is not None:
        low_gy = gy * unpack(saved.low_inside, gy.shape)
    gx = gw = gb = None
    if need[0]:
        gx = _grad_x(spec, weight_codes.float() / spec.codes_per_unit_w, x_shape, gy)
        if saved.x_inside is not None:
            gx = gx * unpack(saved.x_inside, x_shape)
    if need[1]:
        gw = _grad_weight(spec, saved.codes, weight_codes.shape, gy, low_gy)
        if spec.shift_codes and bias_inside is not None:
            gw = gw + _limited_compensation(spec, weight_codes.shape, low_gy, bias_inside)
        if weight_inside is not None:
            gw = gw * weight_inside
    if need[2]:
        gb = _sum_over_images(low_gy)
        if bias_inside is not None:
            gb = gb * bias_inside
    return Gradients(gx, gw, gb)


def _sum_over_images(gy: torch.Tensor) -> torch.Tensor:
    return gy.sum(dim=[d for d in range(gy.dim()) if d != 1])


def _limited_compensation(
    spec: LayerSpec, weight_shape: torch.Size, gy: torch.Tensor, bias_inside: torch.Tensor
) -> torch.Tensor:
    """Where the bias is limited it takes no shift out any more: the weight sees the bare codes."""
    share = _sum_over_images(gy) * ~bias_inside * (spec.shift_codes / spec.codes_per_unit_x)
    axes = [1] * len(weight_shape)
    axes[1 if spec.op == "conv_transpose2d" else 0] = -1
    return share.reshape(axes)


def _cast(spec: LayerSpec, *tensors: torch.Tensor) -> list[torch.Tensor]:
    if spec.backward_dtype == "bfloat16":
        return [t.bfloat16() for t in tensors]
    return list(tensors)


def _grad_x(
    spec: LayerSpec, wd: torch.Tensor, x_shape: torch.Size, gy: torch.Tensor
) -> torch.Tensor:
    g, w = _cast(spec, gy, wd)
    if spec.op == "linear":
        return (g @ w).float()
    top, left, bottom, right = spec.padding
    full = (x_shape[0], x_shape[1], x_shape[2] + top + bottom, x_shape[3] + left + right)
    if spec.op == "conv2d":
        # Padding written out on four sides, then cropped: torch's own padding is the same on both.
        grad, _, _ = _conv_backward(spec, g, g.new_empty(full), w, (True, False))
        assert grad is not None
        return grad[:, :, top : top + x_shape[2], left : left + x_shape[3]].float()
    g = _uncrop(spec, g)
    grad, _, _ = _conv_backward(spec, g, g.new_empty(tuple(x_shape)), w, (True, False))
    assert grad is not None
    return grad.float()


def _grad_weight(
    spec: LayerSpec,
    codes: torch.Tensor,
    weight_shape: torch.Size,
    gy: torch.Tensor,
    low_gy: torch.Tensor,
) -> torch.Tensor:
    real = (codes.float() - spec.shift_codes) / spec.codes_per_unit_x
    if low_gy is gy:
        return _weight_product(spec, real, weight_shape, gy)
    sign, size = torch.sign(codes), codes.abs()
    low = (sign * (size & 255)).float() / spec.codes_per_unit_x
    # The shift's compensation sits in the array bias, so it belongs to the low round.
    low = low - spec.shift_codes / spec.codes_per_unit_x
    high = 256 * (sign * (size >> 8)).float() / spec.codes_per_unit_x
    return _weight_product(spec, low, weight_shape, low_gy) + _weight_product(
        spec, high, weight_shape, gy
    )


def _weight_product(
    spec: LayerSpec, real: torch.Tensor, weight_shape: torch.Size, gy: torch.Tensor
) -> torch.Tensor:
    g, x = _cast(spec, gy, real)
    if spec.op == "linear":
        return (g.t() @ x).float()
    if spec.op == "conv2d":
        top, left, bottom, right = spec.padding
        # A shifted layer pads with its shift, 0.0 but for a shift beyond the widest code.
        pad = (spec.pad_code - spec.shift_codes) / spec.codes_per_unit_x
        x = F.pad(x, (left, right, top, bottom), value=pad)
    else:
        g = _uncrop(spec, g)
    _, grad, _ = _conv_backward(spec, g, x, x.new_empty(tuple(weight_shape)), (False, True))
    assert grad is not None
    return grad.float()


def _uncrop(spec: LayerSpec, g: torch.Tensor) -> torch.Tensor:
    """Zeros where a transposed convolution's padding cropped its output."""
    top, left, bottom, right = spec.padding
    return F.pad(g, (left, right, top, bottom))


def _conv_backward(
    spec: LayerSpec,
    g: torch.Tensor,
    x: torch.Tensor,
    w: torch.Tensor,
    mask: tuple[bool, bool],
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    transposed = spec.op == "conv_transpose2d"
    if 0 in x.shape or 0 in w.shape or 0 in g.shape:  # torch refuses empty batches here
        zeros = [
            t.new_zeros(t.shape) if wanted else None for t, wanted in zip((x, w), mask, strict=True)
        ]
        return zeros[0], zeros[1], None
    grads: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None] = (
        torch.ops.aten.convolution_backward(
            g,
            x,
            w,
            None,
            list(spec.stride),
            [0, 0],
            list(spec.dilation),
            transposed,
            list(spec.output_padding) if transposed else [0, 0],
            spec.groups,
            [mask[0], mask[1], False],
        )
    )
    return grads
