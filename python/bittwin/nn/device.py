# SPDX-License-Identifier: Apache-2.0
"""The same codes on other devices, with torch's own operations.

Kernels run on the CPU. A tensor elsewhere (CUDA) goes through float64 matrix products: every product and sum
of the datapath is an integer below 2^53, so they are exact in any order, and the rules follow on exact
integers. The path is not fast; it lets a model that lives on a GPU compute the chip's codes there too. Tests
hold it equal to the kernels on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from bittwin.nn.backward import gradients
from bittwin.nn.bits import Compact, Saved, compact, expand, pack
from bittwin.nn.forward import code_dtype, refuse_nan
from bittwin.nn.noise import NoiseHook
from bittwin.nn.prepared import Prepared, prepare
from bittwin.nn.spec import LayerSpec


def device_forward(
    spec: LayerSpec,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    noise: NoiseHook | None = None,
) -> torch.Tensor:
    """Forward of a layer on any device, differentiable straight through.

    Args:
        spec: the numbers of the layer.
        x: float32 [m, k] or [N, C, H, W].
        weight: float32 on x's device.
        bias: float32 on x's device, or None.
        noise: refused; its hook works on CPU accumulators.

    Raises:
        TypeError: a noise hook, or tensors on different devices.
        ValueError: NaN in the input, an accumulator that may overflow.
    """
    if noise is not None:
        raise TypeError(
            f"layer {spec.name!r}: found a noise hook and input on {x.device}, wanted the CPU"
        )
    if weight.device != x.device:
        raise TypeError(
            f"layer {spec.name!r}: found input on {x.device} and weight on {weight.device}, wanted one device"
        )
    refuse_nan(spec, bool(torch.isnan(x.detach()).any()))
    y: torch.Tensor = _DeviceLayer.apply(x, weight, bias, spec)  # type: ignore[no-untyped-call]
    return y


class _DeviceLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, spec: LayerSpec
    ) -> torch.Tensor:
        # Weights and biases are few: their integers are made by the same code as for the CPU.
        prepared = prepare(spec, weight.cpu(), None if bias is None else bias.cpu())
        # Masks are kept in memory order (bits.py): here that of contiguous tensors.
        codes, x_inside = _quantize(spec, x.contiguous())
        y, y_inside, low_inside = _compute(prepared, codes)
        ctx.prepared = prepared
        masks = (x_inside, y_inside, low_inside)
        bits = [
            None if mask is None or bool(mask.all()) else pack(mask.contiguous()) for mask in masks
        ]
        ctx.save_for_backward(*compact(spec, Saved(codes, *bits)))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        prepared: Prepared = ctx.prepared
        grads = gradients(
            prepared.spec,
            prepared.weight_codes.to(gy.device),
            _to(prepared.weight_inside, gy.device),
            _to(prepared.bias_inside, gy.device),
            expand(prepared.spec, Compact(*ctx.saved_tensors)),
            gy,
            tuple(ctx.needs_input_grad[:3]),
        )
        return (*grads, None)


def _to(tensor: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(device)


def _quantize(spec: LayerSpec, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and where x was inside its range."""
    low, high = spec.x_limits
    scaled = x * spec.codes_per_unit_x + spec.shift_codes
    inside = (scaled >= low) & (scaled <= high)
    codes = torch.round(scaled).clamp(low, high).to(code_dtype(spec))  # torch rounds half even
    return codes, inside


def _compute(
    prepared: Prepared, codes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """y, where it was inside its range, and where the low code was (split layers that limit it)."""
    spec, requant = prepared.spec, prepared.spec.requant
    if spec.op == "conv2d" and any(spec.padding):
        top, left, bottom, right = spec.padding
        codes = F.pad(codes, (left, right, top, bottom), value=spec.pad_code)
    low_inside = None
    if not spec.split:
        acc = _products(prepared, codes, with_bias=True)
        exact = _quotient(spec, acc)
        code = _rounded(spec, acc)
        inside = (exact >= requant.lo) & (exact <= requant.hi)
    else:
        sign, size = torch.sign(codes), codes.abs()
        acc = _products(prepared, sign * (size & 255), with_bias=True)
        code = _rounded(spec, acc)
        if spec.limits_low:
            exact = _quotient(spec, acc)
            low_inside = (exact >= requant.lo) & (exact <= requant.hi)
            code = code.clamp(requant.lo, requant.hi)
        total = 256 * _products(prepared, sign * (size >> 8), with_bias=False)
        code = code + _digital(prepared, total)
        inside = (code >= requant.lo) & (code <= requant.hi)
    y = _divide(code.clamp(requant.lo, requant.hi).float(), spec.codes_per_unit_y)
    return y, inside, low_inside


def _products(prepared: Prepared, codes: torch.Tensor, *, with_bias: bool) -> torch.Tensor:
    """Accumulators as float64 integers."""
    spec = prepared.spec
    x = codes.double()
    w = prepared.weight_codes.to(codes.device).double()
    if spec.op == "linear":
        acc = x @ w.t()
    else:
        # Without cuDNN: it may choose an FFT, which is not exact.
        with torch.backends.cudnn.flags(enabled=False):
            if spec.op == "conv2d":
                acc = F.conv2d(x, w, None, spec.stride, 0, spec.dilation, spec.groups)
            else:
                top, left, bottom, right = spec.padding
                acc = F.conv_transpose2d(
                    x, w, None, spec.stride, 0, spec.output_padding, 1, spec.dilation
                )
                acc = F.pad(acc, (-left, -right, -top, -bottom))
    if with_bias and prepared.bias is not None:
        acc = acc + _per_channel(torch.from_numpy(prepared.bias), acc)
    return acc


def _per_channel(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values.to(like.device).double().reshape(1, -1, *[1] * (like.dim() - 2))


def _divide(values: torch.Tensor, divisor: float) -> torch.Tensor:
    """One float32 division. On CUDA torch turns a Python divisor into a product with its reciprocal."""
    return values / torch.full((), divisor, dtype=torch.float32, device=values.device)


def _quotient(spec: LayerSpec, acc: torch.Tensor) -> torch.Tensor:
    """The number before rounding: exact for powers of two, else the tool's float32 order."""
    rule = spec.requant
    if rule.scale_product is not None and rule.codes_per_unit is not None:
        return _divide(acc.float(), rule.scale_product) * rule.codes_per_unit
    return acc / spec.gain


def _rounded(spec: LayerSpec, acc: torch.Tensor) -> torch.Tensor:
    """The code before saturation."""
    if spec.rounding == "readout":
        quarter = torch.trunc(acc / (spec.gain / 4)).long()
        return (quarter + 2) >> 2
    return torch.round(_quotient(spec, acc).clamp(-(2.0**40), 2.0**40)).long()


def _digital(prepared: Prepared, total: torch.Tensor) -> torch.Tensor:
    spec, rule = prepared.spec, prepared.spec.requant
    if prepared.bias_digital is not None:
        total = total + _per_channel(torch.from_numpy(prepared.bias_digital), total)
    if rule.scale_product is not None and rule.codes_per_unit is not None:
        return torch.round(_divide(total.float(), float(round(spec.gain)))).long()
    return torch.round(total / spec.gain).long()
