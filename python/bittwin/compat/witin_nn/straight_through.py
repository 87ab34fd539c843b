# SPDX-License-Identifier: Apache-2.0
"""The straight-through gradient of a quantised layer (docs/guide/from_witin_nn.md, "Gradients").

Forward is the integer datapath. Backward takes the layer for ``y = (op(xd, wd) + b) / G_algo`` with the
dequantised factors xd = code / scale_x and wd = code / scale_weight, and lets nothing pass where a value
left its range:

- x outside its range: no gradient for that x; the saturated xd still counts for the weight;
- w outside its range or beyond w_clip: none for that w;
- y outside its range, or cut by output_fp_clip or by Conv2d's trailing clip: nothing at all;
- bias beyond its rows: none for the bias, and none through Shift's compensation;
- two rounds: the whole gradient of x goes through the high round, scaled by the gain over its integer-rounded
  self; where the low round saturates, the bias gets none and the weight loses the low part of its gradient.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from bittwin.compat.witin_nn.job import Job, Part, Result
from bittwin.compat.witin_nn.rounds import run

_outside_graphs: list[Any] = []
Gradients: TypeAlias = "tuple[Tensor | None, Tensor | None, Tensor | None, None]"


class QuantizedRound(torch.autograd.Function):
    """``QuantizedRound.apply(x, weight, bias, job)``: exact codes forward, straight-through backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> Tensor:
        """Real outputs of exact codes."""
        result = run(job, _view(x), _view(weight), None if bias is None else _view(bias))
        y = result.y
        poison = _not_a_number(x, weight, bias, job)
        if poison is not None:
            y = y + poison
            result.passes &= ~np.isnan(poison)
        if any(ctx.needs_input_grad):
            ctx.job, ctx.result = job, result
            ctx.x_shape, ctx.weight_shape = x.shape, weight.shape
            ctx.dtype, ctx.device = x.dtype, x.device
        return torch.from_numpy(np.ascontiguousarray(y)).to(x.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> Gradients:
        """Gradients of x, weight and bias."""
        with torch.autocast(gy.device.type, enabled=False):
            return _Backward(ctx, gy).gradients(*ctx.needs_input_grad[:3])


def quantized(x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> Tensor:
    """`QuantizedRound`, always run eagerly.

    torch.compile would translate the numpy code around the kernels into fused float kernels of its own,
    whose roundings nobody has measured; it gets a graph break instead.
    """
    apply: Any = QuantizedRound.apply
    if (
        "torch._dynamo" in sys.modules
    ):  # loaded with torch.compile; importing it here costs a second
        apply = _disabled()
    y: Tensor = apply(x, weight, bias, job)
    return y


def _disabled() -> Any:
    if not _outside_graphs:
        disable: Any = torch.compiler.disable
        _outside_graphs.append(disable(QuantizedRound.apply))
    return _outside_graphs[0]


class _Backward:
    """The gradients of one forward; see the module's docstring for the rule."""

    def __init__(self, ctx: Any, gy: Tensor) -> None:
        self.job: Job = ctx.job
        self.result: Result = ctx.result
        self.x_shape: torch.Size = ctx.x_shape
        self.weight_shape: torch.Size = ctx.weight_shape
        self.like = {"dtype": ctx.dtype, "device": ctx.device}
        g = 1.0 if self.job.rules.vpu else self.job.g
        self.gy = gy * self._tensor(self.result.passes) / g
        low = self.result.low_passes
        self.low_gy = self.gy if low is None else self.gy * self._tensor(low)

    def gradients(self, of_x: bool, of_weight: bool, of_bias: bool) -> Gradients:
        gx = gw = gb = None
        if of_x:
            gx = torch.zeros(self.x_shape, **self.like)
            for part in self.result.parts:
                if part.x_passes is not None:
                    gx += self._of_input(part)
        if of_weight:
            gw = torch.zeros(self.weight_shape, **self.like)
            for part in self.result.parts:
                gw += self._of_weight(part)
        if of_bias:
            gb = self._of_bias()
        return gx, gw, gb, None

    def _of_input(self, part: Part) -> Tensor:
        wd = self._tensor(part.w.codes) * (part.sign * part.factor) / self.job.scales.weight
        gradient = self.job.operator.input_gradient(self.gy, wd, self.x_shape)
        return gradient * self._tensor(part.x_passes)

    def _of_weight(self, part: Part) -> Tensor:
        gy = self.low_gy if part.low else self.gy
        count = part.sign * part.factor * part.x_unit
        xd = self._tensor(part.x) * count / self.job.scales.x
        gradient = self.job.operator.weight_gradient(gy, xd, self.weight_shape)
        if self.result.offset and part is self.result.parts[0]:
            gradient = gradient - self._of_compensation()
        return gradient * self._tensor(part.w.passes)

    def _of_compensation(self) -> Tensor:
        """Shift takes its offset out through the bias, as long as the bias rows hold it."""
        taken = self._of_bias() * self.result.offset / self.job.scales.x
        shape = [1] * len(self.weight_shape)
        shape[self.job.operator.weight_axis] = -1
        return taken.reshape(shape)

    def _of_bias(self) -> Tensor:
        gradient = self.job.operator.output_sum(self.low_gy)
        passes = self.result.bias_passes
        return gradient if passes is None else gradient * self._tensor(passes)

    def _tensor(self, array: NDArray[Any] | None) -> Tensor:
        assert array is not None
        return torch.from_numpy(np.ascontiguousarray(array)).to(**self.like)


def _view(tensor: Tensor) -> NDArray[Any]:
    """The tensor's own memory as a numpy array, where it lies on the CPU."""
    array: NDArray[Any] = tensor.numpy(force=True)
    return array


def _not_a_number(x: Tensor, weight: Tensor, bias: Tensor | None, job: Job) -> NDArray[Any] | None:
    """0 or NaN for every output, NaN where one enters its sum; None if there is none at all.

    Codes have no NaN, so the integer path leaves it out and it is put back here.
    """
    tensors = [x, weight, *([] if bias is None else [bias])]
    if not any(bool(torch.isnan(t).any()) for t in tensors):
        return None
    zero_or_nan = [torch.where(torch.isnan(t), t, 0.0).detach() for t in tensors]
    only_bias = zero_or_nan[2] if bias is not None else None
    return _view(job.operator.value(zero_or_nan[0], zero_or_nan[1], only_bias))
