# SPDX-License-Identifier: Apache-2.0
"""`WitinConv2d`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bittwin.compat.witin_nn.fields import refuse
from bittwin.compat.witin_nn.layer import ArrayLayer, checked_config
from bittwin.compat.witin_nn.operators import ConvOperator, LinearOperator, Pair
from bittwin.compat.witin_nn.settings import Rules

_CONV_RULES = Rules(signed=True, shift_limit=128, halves=True, trailing_clip=True)
_VPU_RULES = Rules(signed=True, vpu=True)
#: A convolution run as a linear layer: Linear's rules, and a last saturation to 8 bits.
TO_LINEAR_RULES = Rules(splits=True, final_bits=8)


class WitinConv2d(ArrayLayer, torch.nn.Conv2d):
    """The vendor tool's convolution, bit for bit, peculiarities included.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: one integer or (height, width).
        stride: one integer or (height, width).
        padding: one integer, (height, width), 'same' or 'valid'; applied to the real input.
        padding_mode: 'zeros', 'reflect', 'replicate' or 'circular'.
        dilation: one integer or (height, width).
        groups: number of channel groups.
        bias: whether there is one.
        layer_config: a `WitinLayerConfig`; its values are taken over now.

    Raises:
        AssertionError: no layer_config.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: str | int | Pair = 0,
        padding_mode: str = "zeros",
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        layer_config: Any = None,
    ) -> None:
        config = checked_config("WitinConv2d", layer_config)
        torch.nn.Conv2d.__init__(
            self,
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]  # torch refuses other words itself
        )
        self._adopt(config)

    def _rules(self) -> Rules:
        if self._settings.to_linear:
            return TO_LINEAR_RULES
        return _VPU_RULES if self._settings.vpu else _CONV_RULES

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] or [C, H, W] float32 to the same with the output's channels and size."""
        if not self.use_quantization:
            self._clip_stored(self.weight)
            return self._divided(self._conv_forward(x, self.weight, self.bias))
        single = x.ndim == 3
        if single:
            x = x.unsqueeze(0)
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise RuntimeError(
                f"WitinConv2d: found input {tuple(x.shape)}, wanted [N, {self.in_channels}, H, W]"
            )
        # Padding the real values first makes Shift exact at the borders too.
        sides = self._reversed_padding_repeated_twice
        if any(sides):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x = functional.pad(x, sides, mode=mode)
        stride, dilation = _pair(self.stride), _pair(self.dilation)
        if self._settings.to_linear:
            y = self._as_linear(x, stride, dilation)
        else:
            operator = ConvOperator(stride, dilation, self.groups)
            y = self._quantized(x, self.weight, self.bias, operator)
        return y.squeeze(0) if single else y

    def _as_linear(self, x: Tensor, stride: Pair, dilation: Pair) -> Tensor:
        if self.groups != 1:
            refuse("witin_nn.conv2d: groups must be 1!")
        rows, size = patches(x, _pair(self.kernel_size), stride, dilation)
        y = self._quantized(rows, self.weight.flatten(1), self.bias, LinearOperator())
        return y.transpose(1, 2).reshape(x.shape[0], self.out_channels, *size)


def patches(x: Tensor, kernel: Pair, stride: Pair, dilation: Pair) -> tuple[Tensor, Pair]:
    """The input of every output position as one row: [N, positions, C * kh * kw], and the output's size."""
    height, width = (
        (x.shape[2 + i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)
    )
    rows = functional.unfold(x, kernel, dilation=dilation, stride=stride).transpose(1, 2)
    return rows, (height, width)


def _pair(value: tuple[int, ...]) -> Pair:
    return value[0], value[1]
