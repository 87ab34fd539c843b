# SPDX-License-Identifier: Apache-2.0
"""The straight-through rule in float64, written with autograd alone (docs/spec/gradients.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from nn_cases import Layer
from nn_forward_model import ForwardModel

from bittwin.nn import Conv2d, ConvTranspose2d, Linear

Tensor = torch.Tensor


def straight_through(ideal: Tensor, found: Tensor, inside: Tensor) -> Tensor:
    """The number `found`, with the gradient of `ideal` where `inside`."""
    passed = torch.where(inside, ideal, torch.zeros_like(ideal))
    return passed + (found.double() - passed).detach()


def limited(ideal: Tensor, exact: Tensor, lo: int, hi: int) -> Tensor:
    """Round and saturate `exact`; the gradient passes where lo <= exact <= hi."""
    return straight_through(
        ideal, exact.double().round().clamp(lo, hi), (exact >= lo) & (exact <= hi)
    )


class GradientModel:
    """Gradients of one layer for an input and an upstream gradient."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.integers = layer, ForwardModel(layer)

    def run(self, x: Tensor, gy: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """Gradients of x, weight and bias, and the value y (for a check of the model itself)."""
        layer = self.layer
        x64 = x.detach().double().requires_grad_()
        w64 = layer.weight.detach().double().requires_grad_()
        bias = None if layer.bias is None else layer.bias.detach().double().requires_grad_()
        y = self._forward(x, x64, w64, bias)
        wanted = [x64, w64] + ([] if bias is None else [bias])
        grads = torch.autograd.grad(y, wanted, gy.double(), allow_unused=True)
        full = [torch.zeros_like(t) if g is None else g for t, g in zip(wanted, grads, strict=True)]
        return full[0], full[1], None if bias is None else full[2], y.detach()

    def _forward(self, x: Tensor, x64: Tensor, w64: Tensor, bias: Tensor | None) -> Tensor:
        m, c, layer = self.integers, self.layer.config, self.layer
        # x: float32 for the numbers, float64 for the derivative
        images, ideal = self._images(x), self._images(x64)
        scaled = torch.from_numpy(m.scaled(images.numpy()))
        xq = limited(ideal * m.x_scale + m.shift, scaled, *m.limits)
        # weight
        high = (1 << (c.weight_bits - 1)) - 1
        weight32 = layer.weight.detach() * torch.tensor(m.w_scale, dtype=torch.float32)
        wq = limited(w64 * m.w_scale, weight32, -high - 1, high)
        array_bias = self._bias(wq, bias)
        if c.x_bits == 8:
            acc = self._products(xq, wq) + self._per_channel(array_bias, xq)
            code = self._code(acc, saturate=True)
        else:
            magnitude = xq.detach().abs()
            low = xq.detach().sign() * (magnitude % 256)
            # All of x's gradient goes through the high part.
            low_acc = self._products(low, wq) + self._per_channel(array_bias, xq)
            high_acc = self._products(xq - low, wq)
            low_code = self._code(low_acc, saturate=c.rounding == "half_even")
            code = low_code + self._digital(high_acc)
            lo, hi = self._y_limits()
            code = limited(code, code.detach(), lo, hi)
        y = code / m.y_scale
        return self._outwards(y, x)

    def _y_limits(self) -> tuple[int, int]:
        half = 1 << (self.layer.config.y_bits - 1)
        return -half, half - 1

    def _images(self, x: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, Linear):
            return x.reshape(-1, layer.in_features)
        x = x if x.dim() == 4 else x.unsqueeze(0)
        if isinstance(layer, Conv2d):
            mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
            return F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
        return x

    def _products(self, xq: Tensor, wq: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, Linear):
            return xq @ wq.t()
        if isinstance(layer, ConvTranspose2d):
            return F.conv_transpose2d(
                xq, wq, None, layer.stride, layer.padding, layer.output_padding, 1, layer.dilation
            )
        return F.conv2d(xq, wq, None, layer.stride, 0, layer.dilation, layer.groups)

    def _bias(self, wq: Tensor, bias: Tensor | None) -> Tensor:
        m, c = self.integers, self.layer.config
        outputs = 1 if isinstance(self.layer, ConvTranspose2d) else 0
        sums = wq.transpose(0, outputs).flatten(1).sum(1)
        real = torch.zeros_like(sums) if bias is None else bias
        real32 = real.detach().float().numpy() * np.float32(m.product)
        shift = np.array([m.shift * s for s in m.column_sums()], np.float64)
        if c.x_bits > 8:
            moved = torch.tensor(m.digital, dtype=torch.float64) / 128
            ideal = real * m.product / 128 - moved - m.shift * sums / 128
            # The tool rounds a split layer's bias before it takes the shift out.
            exact = torch.from_numpy(np.rint(real32 / 128) - moved.numpy() - shift / 128)
        else:
            ideal = (real * m.product - m.shift * sums) / 128
            exact = torch.from_numpy((real32 - shift).astype(np.float32) / np.float64(128))
        inside = (exact >= -128 * c.bias_rows) & (exact <= 127 * c.bias_rows)
        found = torch.tensor(m.bias, dtype=torch.float64) / 128
        return 128 * straight_through(ideal, found, inside)

    def _per_channel(self, values: Tensor, like: Tensor) -> Tensor:
        return values.reshape(1, -1, *[1] * (like.dim() - 2))

    def _code(self, acc: Tensor, *, saturate: bool) -> Tensor:
        """Accumulators to codes, by the big integers; the gradient is that of acc / gain."""
        m = self.integers
        lo, hi = self._y_limits()
        rule, whole = m.rule()
        integers = acc.detach().round().long()
        code = torch.from_numpy(np.asarray(rule(integers.numpy()), np.float64))
        ideal = acc / float(m.gain)
        if not saturate:
            return straight_through(ideal, code, torch.ones_like(code, dtype=torch.bool))
        exact = acc.detach() / float(m.gain)
        if whole is not None:
            scaled = integers.numpy().astype(np.float32) / np.float32(m.product)
            exact = torch.from_numpy(scaled * np.float32(m.y_scale))
        return straight_through(ideal, code.clamp(lo, hi), (exact >= lo) & (exact <= hi))

    def _digital(self, high_acc: Tensor) -> Tensor:
        m = self.integers
        _, whole = m.rule()
        digital = self._per_channel(torch.tensor(m.digital, dtype=torch.float64), high_acc)
        total = high_acc + digital
        if whole is None:
            found = (total.detach() / float(m.gain)).round()
        else:
            found = (total.detach().float() / torch.tensor(float(whole))).round()
        return straight_through(
            total / float(m.gain), found, torch.ones_like(found, dtype=torch.bool)
        )

    def _outwards(self, y: Tensor, x: Tensor) -> Tensor:
        if isinstance(self.layer, Linear):
            return y.reshape(*x.shape[:-1], self.layer.out_features)
        return y if x.dim() == 4 else y.squeeze(0)


def gradients_of(layer: Any, x: Tensor, gy: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The layer's own gradients of x, weight and bias, and its output."""
    leaf = x.detach().requires_grad_()
    layer.zero_grad()
    y = layer(leaf)
    y.backward(gy)
    assert leaf.grad is not None
    bias = layer.bias.grad if layer.bias is not None else None
    return leaf.grad, layer.weight.grad, bias, y.detach()
