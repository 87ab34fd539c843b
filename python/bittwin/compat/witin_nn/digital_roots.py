# SPDX-License-Identifier: Apache-2.0
"""`WitinSqrt`, `WitinInvSqrt`, `WitinHypot`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bittwin.compat.witin_nn.config import WitinLayerConfig
from bittwin.compat.witin_nn.digital_layer import DigitalLayer, Operand, check_radicand
from bittwin.compat.witin_nn.layer import checked_config
from bittwin.compat.witin_nn.schedule import largest
from bittwin.nn.digital import roots
from bittwin.nn.digital.quantizers import Unrounded, signed, unsigned


class _Root(DigitalLayer):
    """Unsigned codes in and out."""

    def __init__(self, layer_config: Any = None) -> None:
        super().__init__()
        config: WitinLayerConfig = checked_config(type(self).__name__, layer_config)
        operands = {
            "x": Operand.unsigned(config.scale_x, config.x_quant_bits),
            "y": Operand.unsigned(config.scale_y, config.y_quant_bits),
        }
        self._adopt(config, operands)
        self._x_limits = unsigned(config.x_quant_bits)
        self._y_limits = unsigned(config.y_quant_bits)
        self._shift_bits = config.sqrt_left_shift_bits
        if self.use_quantization:  # as early as possible
            check_radicand(config.x_quant_bits, self._shift_bits)

    def _checked_input(self, x: Tensor) -> Tensor:
        check_radicand(self._operands["x"].bits, self._shift_bits)
        return self._input(x)


class WitinSqrt(_Root):
    """The tool's square root, by integers; unsigned codes in and out.

    Its gradient is 0.5 / sqrt(x) of the raw x, without any mask: NaN below 0, inf at 0. In training its
    calibration always runs with the configured scales.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, sqrt_left_shift_bits, scale_y,
            y_quant_bits, output_fp_clip.

    Raises:
        AssertionError: no layer_config; x_quant_bits + sqrt_left_shift_bits above 32.
    """

    def _begin(self) -> dict[str, float]:
        if self._collecting and self._forwards < self.auto_scale_updata_step:
            self._scales = {name: float(operand.scale) for name, operand in self._operands.items()}
        return super()._begin()

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; float32."""
        if not self.use_quantization:
            return torch.sqrt(x)
        raw = self._checked_input(x)
        y = self._quantized(
            {"x": raw},
            lambda s: roots.sqrt(
                raw.detach(), s["x"], self._x_limits, self._shift_bits, limit=self._limit
            ),
        )
        return roots.raw_root_gradient(raw, y).to(torch.float32)


class WitinInvSqrt(_Root):
    """The tool's 1 / sqrt(x), by integers; unsigned codes in and out, and 0 for code 0.

    A zero code has an infinite gradient; during calibration it makes the output statistic infinite, unless
    output_fp_clip limits it, and with it all later outputs NaN.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, sqrt_left_shift_bits, scale_y,
            y_quant_bits, output_fp_clip.

    Raises:
        AssertionError: no layer_config; x_quant_bits + sqrt_left_shift_bits above 32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; float32."""
        if not self.use_quantization:
            return torch.rsqrt(x)
        raw = self._checked_input(x)
        y = self._quantized(
            {"x": raw},
            lambda s: roots.inv_sqrt(
                raw,
                s["x"],
                self._x_limits,
                self._shift_bits,
                limit=self._limit,
                tool_gradient=True,
            ),
            largest_output=self._largest_with_infinity,
        )
        return y.to(torch.float32)

    def _largest_with_infinity(self, result: Unrounded) -> float:
        if bool((result.number == 0).any()):
            return math.inf if self._limit is None else self._limit
        return largest(result.number)


class WitinHypot(DigitalLayer):
    """The tool's sqrt(a^2 + b^2), by integers; both inputs with the left scale and width.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x_left, x_left_quant_bits, sqrt_left_shift_bits,
            scale_y, y_quant_bits, output_fp_clip.

    Raises:
        AssertionError: no layer_config; 2 * x_left_quant_bits + sqrt_left_shift_bits above 32.
    """

    def __init__(self, layer_config: Any = None) -> None:
        super().__init__()
        config = checked_config("WitinHypot", layer_config)
        operands = {
            "x1": Operand.signed(config.scale_x_left, config.x_left_quant_bits),
            "y": Operand.unsigned(config.scale_y, config.y_quant_bits),
        }
        self._adopt(config, operands)
        self._y_limits = unsigned(config.y_quant_bits)
        self._shift_bits = config.sqrt_left_shift_bits
        if self.use_quantization:
            check_radicand(2 * config.x_left_quant_bits, self._shift_bits)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Two inputs of one shape; float32.

        Raises:
            RuntimeError: different shapes: nothing is broadcast.
        """
        if not self.use_quantization:
            return torch.hypot(x1, x2)
        a, b = self._input(x1), self._input(x2)
        if a.shape != b.shape:
            raise RuntimeError(
                f"WitinHypot: found inputs {tuple(a.shape)} and {tuple(b.shape)}, wanted one shape"
            )
        self._refuse_half(a, b)
        bits = self._operands["x1"].bits
        check_radicand(2 * bits, self._shift_bits)
        both = torch.stack((a.detach().abs(), b.detach().abs()))
        y = self._quantized(
            {"x1": both},
            lambda s: roots.hypot(a, b, s["x1"], signed(bits), self._shift_bits, limit=self._limit),
        )
        return y.to(torch.float32)
