# SPDX-License-Identifier: Apache-2.0
"""`WitinElementAdd`, `WitinElementMul`, `WitinElementDivide`, `WitinCat`, `WitinMatMul`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bittwin.compat.witin_nn.config import WitinLayerConfig
from bittwin.compat.witin_nn.digital_layer import DigitalLayer, Operand, check_tensor
from bittwin.compat.witin_nn.layer import checked_config
from bittwin.nn.digital import pairs
from bittwin.nn.digital.pairs import QUOTIENT_LIMIT, Side
from bittwin.nn.digital.quantizers import Unrounded


class _Pair(DigitalLayer):
    """Two inputs, each with its own scale and width."""

    def __init__(self, layer_config: Any = None) -> None:
        super().__init__()
        config: WitinLayerConfig = checked_config(type(self).__name__, layer_config)
        operands = {
            "x1": Operand.signed(config.scale_x_left, config.x_left_quant_bits),
            "x2": Operand.signed(config.scale_x_right, config.x_right_quant_bits),
            "y": Operand.signed(config.scale_y, config.y_quant_bits),
        }
        self._adopt(config, operands)

    def _of_sides(
        self, x1: Tensor, x2: Tensor, operator: Callable[[Side, Side], Unrounded]
    ) -> Tensor:
        a, b = self._input(x1), self._input(x2)
        left, right = (self._operands[name].bits for name in ("x1", "x2"))
        return self._quantized(
            {"x1": a, "x2": b},
            lambda s: operator(Side(a, s["x1"], left), Side(b, s["x2"], right)),
        )


class WitinElementAdd(_Pair):
    """The tool's sum: both inputs are quantised at the smaller of the two scales.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x_left, scale_x_right, x_left_quant_bits,
            x_right_quant_bits, scale_y, y_quant_bits.

    Raises:
        AssertionError: no layer_config.
    """

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Two inputs that broadcast."""
        check_tensor(x1)
        check_tensor(x2)
        if not self.use_quantization:
            return x1 + x2
        self._refuse_half(x1, x2)
        return self._of_sides(x1, x2, pairs.add)


class WitinElementMul(_Pair):
    """The tool's product. In eval() it has no gradient.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x_left, scale_x_right, x_left_quant_bits,
            x_right_quant_bits, scale_y, y_quant_bits.

    Raises:
        AssertionError: no layer_config.
    """

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Two inputs that broadcast; float32."""
        check_tensor(x1)
        check_tensor(x2)
        if not self.use_quantization:
            return x1 * x2
        if not self.training:
            x1, x2 = x1.detach(), x2.detach()
        return self._of_sides(x1, x2, pairs.mul).to(torch.float32)


class WitinElementDivide(_Pair):
    """The tool's quotient: the *whole* quotient of the codes, in real units limited to +-8.

    A divisor of code 0 counts as 1e-8 codes: x / 0 is +-8, 0 / 0 is 0.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x_left, scale_x_right, x_left_quant_bits,
            x_right_quant_bits, scale_y, y_quant_bits, output_fp_clip.

    Raises:
        AssertionError: no layer_config.
    """

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Two inputs that broadcast. The limit of +-8 acts in float mode too."""
        if not self.use_quantization:
            return torch.clamp(x1 / x2, -QUOTIENT_LIMIT, QUOTIENT_LIMIT)
        return self._of_sides(x1, x2, lambda a, b: pairs.divide(a, b, limit=self._limit))


class WitinCat(_Pair):
    """The tool's concatenation of two tensors: the narrower one gets the wider one's resolution.

    Args:
        dim: the axis.
        layer_config: a `WitinLayerConfig`; uses scale_x_left, scale_x_right, x_left_quant_bits,
            x_right_quant_bits, scale_y, y_quant_bits, output_fp_clip.

    Raises:
        AssertionError: no layer_config.
    """

    def __init__(self, dim: int = 0, layer_config: Any = None) -> None:
        super().__init__(layer_config)
        self.dim = dim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Exactly two tensors."""
        if not self.use_quantization:
            return torch.cat((x1, x2), self.dim)
        return self._of_sides(x1, x2, lambda a, b: pairs.cat(a, b, self.dim, limit=self._limit))


class WitinMatMul(_Pair):
    """The tool's matrix product of two inputs.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x_left, scale_x_right, x_left_quant_bits,
            x_right_quant_bits, scale_y, y_quant_bits.

    Raises:
        AssertionError: no layer_config.
    """

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Shapes as `torch.matmul` takes them."""
        if not self.use_quantization:
            return torch.matmul(x1, x2)
        return self._of_sides(x1, x2, pairs.matmul)
