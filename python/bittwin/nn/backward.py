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

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from bittwin import _core
from bittwin.nn.bits import Saved, code_values, keep_where, memory_format
from bittwin.nn.prepared import Prepared
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
    gy: torch.Tensor,
    need: tuple[bool, bool, bool],
) -> Gradients:
    """Gradients of one layer; `need` says of x, weight, bias which are wanted."""
    layout = memory_format(saved.codes)
    if saved.y_inside is not None:
        gy = keep_where(gy, saved.y_inside, layout)
    low_gy = gy
    if saved.low_inside is not None:
        low_gy = keep_where(gy, saved.low_inside, layout)
    gx, gw = _products(spec, weight_codes, saved.codes, gy, low_gy, need[0], need[1])
    gb = _sum_over_images(low_gy) if need[2] else None
    if gx is not None and saved.x_inside is not None:
        gx = keep_where(gx, saved.x_inside, layout, in_place=True)
    if gw is not None:
        if spec.shift_codes and bias_inside is not None:
            gw = gw + _limited_compensation(spec, weight_codes.shape, low_gy, bias_inside)
        if weight_inside is not None:
            gw = keep_where(gw, weight_inside, torch.contiguous_format, in_place=True)
    if gb is not None and bias_inside is not None:
        gb = gb * bias_inside
    return Gradients(gx, gw, gb)


#: Products up to which calls of torch would cost more than `_small_gradients` altogether.
SMALL = 4096


def layer_gradients(
    prepared: Prepared, saved: Sequence[Any], gy: torch.Tensor, need: Sequence[bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Gradients of x, weight and bias on the CPU.

    Args:
        prepared: the layer's integers.
        saved: the fields of its forward's `Saved`.
        gy: float32, y's shape.
        need: which of x, weight and bias are wanted; more may follow.
    """
    gy = gy.resolve_neg()  # the kernels read memory
    if prepared.is_plain and saved[0].shape[0] * prepared.weight.size <= SMALL:
        return _small_gradients(prepared, saved, gy, need)
    return gradients(
        prepared.spec,
        prepared.weight_codes,
        prepared.weight_inside,
        prepared.bias_inside,
        Saved(*saved),
        gy,
        (need[0], need[1], need[2]),
    )


def _small_gradients(
    prepared: Prepared, saved: Sequence[Any], gy: torch.Tensor, need: Sequence[bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """`gradients` of a `Prepared.is_plain` layer in one call; float sums in another order than torch's."""
    codes, x_inside, y_inside, _ = saved
    spec, weight, inside = prepared.spec, prepared.weight_codes, prepared.weight_inside
    gy = gy.contiguous()
    rows, outputs = gy.shape
    gx = torch.empty_like(codes, dtype=torch.float32) if need[0] else None
    gw = torch.empty_like(weight, dtype=torch.float32) if need[1] else None
    gb = gy.new_empty(outputs) if need[2] else None
    _core.linear_gradients(
        gy.data_ptr(),
        codes.data_ptr(),
        prepared.weight_address,
        (rows, weight.shape[1], outputs),
        (spec.shift_codes, spec.codes_per_unit_x, spec.codes_per_unit_w),
        0 if x_inside is None else x_inside.data_ptr(),
        0 if y_inside is None else y_inside.data_ptr(),
        0 if inside is None else inside.data_ptr(),
        0 if gx is None else gx.data_ptr(),
        0 if gw is None else gw.data_ptr(),
        0 if gb is None else gb.data_ptr(),
    )
    return gx, gw, gb


def _sum_over_images(gy: torch.Tensor) -> torch.Tensor:
    return gy.sum(dim=0) if gy.dim() == 2 else gy.sum(dim=(0, 2, 3))


def _limited_compensation(
    spec: LayerSpec, weight_shape: torch.Size, gy: torch.Tensor, bias_inside: torch.Tensor
) -> torch.Tensor:
    """Where the bias is limited it takes no shift out any more: the weight sees the bare codes."""
    share = _sum_over_images(gy) * ~bias_inside * (spec.shift_codes / spec.codes_per_unit_x)
    axes = [1] * len(weight_shape)
    axes[1 if spec.op == "conv_transpose2d" else 0] = -1
    return share.reshape(axes)


def _products(
    spec: LayerSpec,
    weight_codes: torch.Tensor,
    codes: torch.Tensor,
    gy: torch.Tensor,
    low_gy: torch.Tensor,
    need_x: bool,
    need_w: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The two products of gy: with weights, with inputs."""
    dtype = torch.bfloat16 if spec.backward_dtype == "bfloat16" else torch.float32
    g = gy if dtype is torch.float32 else gy.to(dtype)
    w = code_values(weight_codes, 0, spec.codes_per_unit_w, dtype) if need_x else None
    if low_gy is gy:
        x = None
        if need_w:
            x = code_values(codes, spec.shift_codes, spec.codes_per_unit_x, dtype)
        return _float_products(spec, g, x, w, codes.shape, weight_codes.shape)
    gx, _ = _float_products(spec, g, None, w, codes.shape, weight_codes.shape)
    if not need_w:
        return gx, None
    low, high = _parts(spec, codes)
    _, low_gw = _float_products(
        spec, low_gy.to(dtype), low.to(dtype), None, codes.shape, weight_codes.shape
    )
    _, high_gw = _float_products(spec, g, high.to(dtype), None, codes.shape, weight_codes.shape)
    assert low_gw is not None
    assert high_gw is not None
    return gx, low_gw + high_gw


def _parts(spec: LayerSpec, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the low and the high part of every input code stand for."""
    sign, size = torch.sign(codes), codes.abs()
    low = (sign * (size & 255)).float() / spec.codes_per_unit_x
    # The shift's compensation sits in the array bias, so it belongs to the low round.
    low = low - spec.shift_codes / spec.codes_per_unit_x
    return low, 256 * (sign * (size >> 8)).float() / spec.codes_per_unit_x


def _float_products(
    spec: LayerSpec,
    g: torch.Tensor,
    x: torch.Tensor | None,
    w: torch.Tensor | None,
    x_shape: torch.Size,
    w_shape: torch.Size,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Torch's own products, in float32; w is given where x's gradient is wanted, and x where w's is."""
    if spec.op == "linear":
        gx = None if w is None else torch.mm(g, w)
        gw = None if x is None else torch.mm(g.t(), x)
        return _float32(gx), _float32(gw)
    if x is None and w is None:
        return None, None
    if 0 in g.shape or 0 in x_shape or 0 in w_shape:  # torch refuses empty batches here
        zeros = torch.zeros((), dtype=torch.float32, device=g.device)
        return (
            None if w is None else zeros.expand(x_shape).clone(),
            None if x is None else zeros.expand(w_shape).clone(),
        )
    top, left, bottom, right = spec.padding
    # A shifted layer pads with its shift, 0.0 but for a shift beyond the widest code.
    pad = (spec.pad_code - spec.shift_codes) / spec.codes_per_unit_x
    inner: tuple[int, int] | None = (top, left)
    full = x_shape
    if spec.op == "conv2d" and (pad or (top, left) != (bottom, right)):
        # Torch pads with zeros, the same on opposite sides: anything else is written out, then cropped.
        inner = None
        full = torch.Size((*x_shape[:2], x_shape[2] + top + bottom, x_shape[3] + left + right))
        if x is not None:
            x = F.pad(x, (left, right, top, bottom), value=pad)
    grad_x, grad_w, _ = torch.ops.aten.convolution_backward(
        g,
        # Only its shape matters where the gradient of w is not wanted, and the other way round.
        _like(full, g) if x is None else x,
        _like(w_shape, g) if w is None else w,
        None,
        list(spec.stride),
        [0, 0] if inner is None else list(inner),
        list(spec.dilation),
        spec.op == "conv_transpose2d",
        list(spec.output_padding),
        spec.groups,
        [w is not None, x is not None, False],
    )
    if grad_x is not None and inner is None:
        grad_x = grad_x[:, :, top : top + x_shape[2], left : left + x_shape[3]]
    return _float32(grad_x), _float32(grad_w)


def _float32(grad: torch.Tensor | None) -> torch.Tensor | None:
    return grad if grad is None or grad.dtype == torch.float32 else grad.float()


def _like(shape: torch.Size, g: torch.Tensor) -> torch.Tensor:
    return g.new_empty(()).expand(shape)
