# SPDX-License-Identifier: Apache-2.0
"""`WitinSigmoid`, `WitinTanh`, `WitinGELU`, `WitinPReLU`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bittwin.compat.witin_nn.digital_layer import DigitalLayer, Operand
from bittwin.compat.witin_nn.layer import checked_config
from bittwin.nn.digital import pointwise
from bittwin.nn.digital.quantizers import clip, signed, unsigned


class WitinSigmoid(DigitalLayer):
    """The tool's sigmoid; unsigned output codes.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, scale_y, y_quant_bits, x_clip.

    Raises:
        AssertionError: no layer_config.

    >>> import torch
    >>> from bittwin.compat.witin_nn import WitinLayerConfig, WitinSigmoid
    >>> fixed = dict(use_quantization=True, use_auto_scale=False)
    >>> config = WitinLayerConfig(1, scale_x=16, scale_y=256, **fixed)
    >>> (WitinSigmoid(layer_config=config)(torch.tensor([0.0, 100.0])) * 256).tolist()
    [128.0, 255.0]
    """

    def __init__(self, layer_config: Any = None) -> None:
        super().__init__()
        config = checked_config("WitinSigmoid", layer_config)
        operands = {
            "x": Operand.signed(config.scale_x, config.x_quant_bits),
            # Its codes have no sign, and its automatic scale counts as if they had.
            "y": Operand.signed(config.scale_y, config.y_quant_bits),
        }
        self._adopt(config, operands)
        self._y_limits = unsigned(config.y_quant_bits)
        self._x_clip = config.x_clip

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        x = clip(self._input(x), self._x_clip)
        if not self.use_quantization:
            return torch.sigmoid(x)
        limits = signed(self._operands["x"].bits)
        return self._quantized({"x": x}, lambda s: pointwise.sigmoid(x, s["x"], limits))


class WitinTanh(DigitalLayer):
    """The tool's hyperbolic tangent.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, scale_y, y_quant_bits, x_clip.

    Raises:
        AssertionError: no layer_config.
    """

    def __init__(self, layer_config: Any = None) -> None:
        super().__init__()
        config = checked_config("WitinTanh", layer_config)
        operands = {
            "x": Operand.signed(config.scale_x, config.x_quant_bits),
            "y": Operand.signed(config.scale_y, config.y_quant_bits),
        }
        self._adopt(config, operands)
        self._x_clip = config.x_clip

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        x = clip(self._input(x), self._x_clip)
        if not self.use_quantization:
            return torch.tanh(x)
        limits = signed(self._operands["x"].bits)
        return self._quantized({"x": x}, lambda s: pointwise.tanh(x, s["x"], limits))


class WitinGELU(DigitalLayer):
    """The tool's GELU.

    Args:
        approximate: ``none`` or ``tanh``.
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, scale_y, y_quant_bits,
            output_fp_clip, and gelu_shift_num, which is added to the result and gives its codes one more
            bit.

    Raises:
        AssertionError: no layer_config.
    """

    def __init__(self, approximate: str = "none", layer_config: Any = None) -> None:
        super().__init__()
        config = checked_config("WitinGELU", layer_config)
        bits = config.y_quant_bits + bool(config.gelu_shift_num)
        operands = {
            "x": Operand.signed(config.scale_x, config.x_quant_bits),
            "y": Operand(config.scale_y, config.y_quant_bits, bits),
        }
        self._adopt(config, operands)
        self.approximate = approximate
        self._shift = config.gelu_shift_num
        self._y_limits = signed(bits)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.use_quantization:
            return F.gelu(x, approximate=self.approximate)
        x, limits = self._input(x), signed(self._operands["x"].bits)
        return self._quantized(
            {"x": x},
            lambda s: pointwise.gelu(
                x,
                s["x"],
                limits,
                approximate=self.approximate,
                shift=self._shift,
                limit=self._limit,
            ),
        )


class WitinPReLU(DigitalLayer, torch.nn.PReLU):
    """The tool's PReLU.

    Args:
        num_parameters: 1, or the size of axis 1.
        init: first value of the weight.
        device: as torch's.
        dtype: as torch's.
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, scale_weight, weight_quant_bits,
            scale_y, y_quant_bits, output_fp_clip.

    Raises:
        AssertionError: no layer_config.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: Any = None,
        layer_config: Any = None,
    ) -> None:
        config = checked_config("WitinPReLU", layer_config)
        torch.nn.PReLU.__init__(self, num_parameters, init, device, dtype)
        operands = {
            "x": Operand.signed(config.scale_x, config.x_quant_bits),
            "y": Operand.signed(config.scale_y, config.y_quant_bits),
            "weight": Operand.signed(config.scale_weight, config.weight_quant_bits),
        }
        self._adopt(config, operands)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; channels on axis 1 where there is more than one weight."""
        if not self.use_quantization:
            return torch.nn.PReLU.forward(self, x)
        x = self._input(x)
        if x.dtype != self.weight.dtype:
            raise RuntimeError(
                f"WitinPReLU: found {x.dtype} input and {self.weight.dtype} weights, wanted the same"
            )
        limits = [signed(self._operands[name].bits) for name in ("x", "weight")]
        return self._quantized(
            {"x": x, "weight": self.weight},
            lambda s: pointwise.prelu(
                x, s["x"], limits[0], self.weight, s["weight"], limits[1], limit=self._limit
            ),
        )
