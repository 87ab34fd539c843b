# SPDX-License-Identifier: Apache-2.0
"""`WitinConvTranspose2d`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bittwin.compat.witin_nn.conv2d import TO_LINEAR_RULES, patches
from bittwin.compat.witin_nn.enums import HandleNegInType
from bittwin.compat.witin_nn.fields import refuse
from bittwin.compat.witin_nn.layer import ArrayLayer, checked_config
from bittwin.compat.witin_nn.operators import ConvTransposeOperator, LinearOperator, Pair
from bittwin.compat.witin_nn.settings import Rules

_RULES = Rules(halves=True)
_VPU_RULES = Rules(vpu=True)


class WitinConvTranspose2d(ArrayLayer, torch.nn.ConvTranspose2d):
    """The vendor tool's transposed convolution, bit for bit.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: one integer or (height, width).
        stride: one integer or (height, width).
        padding: one integer or (height, width).
        output_padding: one integer or (height, width).
        groups: must be 1 in quantised mode.
        bias: whether there is one.
        dilation: one integer or (height, width).
        padding_mode: 'zeros'.
        layer_config: a `WitinLayerConfig`; its values are taken over now.

    Raises:
        AssertionError: no layer_config; in a quantised forward: groups other than 1, or Shift.
        ValueError: another padding_mode.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
        padding_mode: str = "zeros",
        layer_config: Any = None,
    ) -> None:
        config = checked_config("WitinConvTranspose2d", layer_config)
        torch.nn.ConvTranspose2d.__init__(
            self,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            bias,
            dilation,
            padding_mode,  # type: ignore[arg-type]  # torch refuses other words itself
        )
        self._adopt(config)

    def _rules(self) -> Rules:
        if self._settings.to_linear:
            return TO_LINEAR_RULES
        return _VPU_RULES if self._settings.vpu else _RULES

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """[N, C, H, W] or [C, H, W] float32 to the same with the output's channels and size."""
        if not self.use_quantization:
            self._clip_stored(self.weight)
            return self._divided(torch.nn.ConvTranspose2d.forward(self, x, output_size))
        rules = self._rules()
        if not rules.vpu and self._settings.negative is HandleNegInType.Shift:
            refuse(
                "ConvTranspose2d operator does not support handle_neg_in == HandleNegInType.Shift"
            )
        if self.groups != 1:
            refuse("currently groups must be 1 in witin_nn.conv2d()!")
        single = x.ndim == 3
        if single:
            x = x.unsqueeze(0)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise RuntimeError(
                f"WitinConvTranspose2d: found input {tuple(x.shape)}, wanted "
                f"[N, {self.in_channels}, H, W]"
            )
        operator = self._operator(x, output_size)
        if self._settings.to_linear:
            y = self._as_linear(x, operator)
        else:
            y = self._quantized(x, self.weight, self.bias, operator)
        return y.squeeze(0) if single else y

    def _operator(self, x: Tensor, output_size: list[int] | None) -> ConvTransposeOperator:
        stride, padding, kernel, dilation = (
            [int(v) for v in value]
            for value in (self.stride, self.padding, self.kernel_size, self.dilation)
        )
        extra = self._output_padding(x, output_size, stride, padding, kernel, 2, dilation)
        return ConvTransposeOperator(
            (stride[0], stride[1]),
            (padding[0], padding[1]),
            (extra[0], extra[1]),
            (dilation[0], dilation[1]),
        )

    def _as_linear(self, x: Tensor, operator: ConvTransposeOperator) -> Tensor:
        """Stride 1 only: a convolution of the padded input with the turned kernel."""
        kernel = self.weight.shape[2], self.weight.shape[3]
        before = [operator.dilation[i] * (kernel[i] - 1) - operator.padding[i] for i in (0, 1)]
        if operator.stride != (1, 1) or min(before) < 0:
            raise RuntimeError(
                f"WitinConvTranspose2d: found stride {operator.stride} and padding {operator.padding} with "
                "to_linear, wanted stride 1 and a padding of at most dilation * (kernel - 1)"
            )
        after = [before[i] + operator.output_padding[i] for i in (0, 1)]
        padded = functional.pad(x, (before[1], after[1], before[0], after[0]))
        rows, size = patches(padded, kernel, (1, 1), operator.dilation)
        weight = self.weight.flip(2, 3).transpose(0, 1).flatten(1)
        y = self._quantized(rows, weight, self.bias, LinearOperator())
        return y.transpose(1, 2).reshape(x.shape[0], self.out_channels, *size)
