# SPDX-License-Identifier: Apache-2.0
"""The layer as a torch operator: an autograd.Function in eager mode, a registered one to compile and export.

A Python custom operator costs tens of microseconds a call, so eager mode does not go through it; compiled and
exported graphs need one, because tracing cannot look into the extension. Both run `forward` and `gradients`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from bittwin.nn.backward import layer_gradients
from bittwin.nn.bits import Compact, Saved, compact, expand, memory_format, shrinks
from bittwin.nn.forward import bit_bytes, code_dtype, forward, output_shape
from bittwin.nn.noise import NoiseHook
from bittwin.nn.prepared import Prepared, prepare
from bittwin.nn.spec import LayerSpec, scaled_spec, spec_from_json


class QuantizedLayer(torch.autograd.Function):
    """Eager path: `apply(x, weight, bias, prepared, noise)`; weight and bias only receive gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        prepared: Prepared,
        noise: NoiseHook | None,
    ) -> torch.Tensor:
        """Run the layer and keep what its gradients need."""
        y, saved = forward(prepared, x, masks=True, noise=noise)
        spec = prepared.spec
        # The prepared integers are nobody else's, so that they need none of autograd's guards.
        ctx.save_for_backward(*(compact(spec, saved) if shrinks(spec) else saved))
        ctx.prepared = prepared
        return y

    @staticmethod
    def backward(ctx: Any, gy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Straight-through gradients."""
        # The guard against second derivatives costs as much as a small layer: only where some are asked for.
        return (_guarded if torch.is_grad_enabled() else _gradients)(ctx, gy)


def _gradients(ctx: Any, gy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    prepared: Prepared = ctx.prepared
    need = ctx.needs_input_grad
    kept = ctx.saved_tensors
    spec = prepared.spec
    saved = expand(spec, Compact(*kept)) if shrinks(spec) else kept
    return *layer_gradients(prepared, saved, gy, need), None, None


_guarded = once_differentiable(_gradients)


@torch.library.custom_op("bittwin::quantized_layer", mutates_args=())
def quantized_layer(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scales: torch.Tensor,
    spec: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run a layer; returns y, the input codes and the packed bits of x, y and the low codes.

    Args:
        x: float32 [m, k] or [N, C, H, W].
        weight: float32.
        bias: float32, or None.
        scales: [3] float64: codes per real unit of x, weight and y; a tensor, so that a compiled graph
            follows a new calibration.
        spec: `LayerSpec.to_json` of everything else.
    """
    prepared = prepare(_spec(spec, scales), weight, bias)
    y, saved = forward(prepared, x, masks=True)
    bits = [
        _ones(count) if mask is None else mask
        for mask, count in (
            (saved.x_inside, x.numel()),
            (saved.y_inside, y.numel()),
            (saved.low_inside, y.numel()),
        )
    ]
    return y, saved.codes, bits[0], bits[1], bits[2]


def _spec(text: str, scales: torch.Tensor) -> LayerSpec:
    x, w, y = scales.tolist()
    return scaled_spec(text, (x, w, y))


def _ones(count: int) -> torch.Tensor:
    return torch.full((bit_bytes(count),), 255, dtype=torch.uint8)


@quantized_layer.register_fake
def _(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scales: torch.Tensor,
    spec: str,
) -> tuple[torch.Tensor, ...]:
    layer: LayerSpec = spec_from_json(spec)
    layout = memory_format(x)
    y = x.new_empty(output_shape(layer, x.shape, weight.shape)).to(memory_format=layout)
    codes = x.new_empty(x.shape, dtype=code_dtype(layer)).to(memory_format=layout)
    counts = (x.numel(), y.numel(), y.numel())
    bits = [x.new_empty(bit_bytes(n), dtype=torch.uint8) for n in counts]
    return y, codes, bits[0], bits[1], bits[2]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, weight, bias, scales, spec = inputs
    ctx.save_for_backward(weight, bias, scales, *output[1:])
    ctx.spec = spec
    ctx.x_shape = x.shape


def _backward(ctx: Any, gy: torch.Tensor, *unused: Any) -> tuple[torch.Tensor | None, ...]:
    weight, bias, scales, codes, x_inside, y_inside, low_inside = ctx.saved_tensors
    gx, gw, gb = torch.ops.bittwin.quantized_layer_backward(
        gy, weight, bias, scales, codes, x_inside, y_inside, low_inside, list(ctx.x_shape), ctx.spec
    )
    need = ctx.needs_input_grad
    return gx if need[0] else None, gw if need[1] else None, gb if need[2] else None, None, None


@torch.library.custom_op("bittwin::quantized_layer_backward", mutates_args=())
def quantized_layer_backward(
    gy: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scales: torch.Tensor,
    codes: torch.Tensor,
    x_inside: torch.Tensor,
    y_inside: torch.Tensor,
    low_inside: torch.Tensor,
    x_shape: list[int],
    spec: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of x, weight and bias (zeros of the outputs' number where there is no bias)."""
    layer = _spec(spec, scales)
    prepared = prepare(layer, weight, bias)
    low = low_inside if layer.limits_low else None
    saved = Saved(codes, x_inside, y_inside, low)
    gx, gw, gb = layer_gradients(prepared, saved, gy, (True, True, True))
    assert gx is not None
    assert gw is not None
    assert gb is not None
    return gx.contiguous(), gw.contiguous(), gb.contiguous()


@quantized_layer_backward.register_fake
def _(
    gy: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scales: torch.Tensor,
    codes: torch.Tensor,
    x_inside: torch.Tensor,
    y_inside: torch.Tensor,
    low_inside: torch.Tensor,
    x_shape: list[int],
    spec: str,
) -> tuple[torch.Tensor, ...]:
    outputs = weight.shape[1 if spec_from_json(spec).op == "conv_transpose2d" else 0]
    return gy.new_empty(x_shape), torch.empty_like(weight).contiguous(), gy.new_empty(outputs)


quantized_layer.register_autograd(_backward, setup_context=_setup_context)
