# SPDX-License-Identifier: Apache-2.0
"""`WitinMean`, `WitinBatchNorm2d`, `WitinClnBn2d`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bittwin.compat.witin_nn.digital_layer import (
    DigitalLayer,
    Operand,
    check_length,
    check_radicand,
)
from bittwin.compat.witin_nn.layer import checked_config
from bittwin.nn.digital import norms
from bittwin.nn.digital.quantizers import over, signed


class WitinMean(DigitalLayer):
    """The tool's mean: a code of the input's scale; scale_y and y_quant_bits do nothing.

    Args:
        dim: one axis, or None for all; in float mode also several.
        keepdim: keep the axis with length 1; without effect on all axes in quantised mode.
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, mean_sum_quant_bits.

    Raises:
        AssertionError: no layer_config; in a quantised forward: more than 4096 numbers in one mean.
        TypeError: several axes, in a quantised forward.
    """

    def __init__(
        self,
        dim: int | tuple[int, ...] | None = None,
        keepdim: bool = False,
        layer_config: Any = None,
    ) -> None:
        super().__init__()
        config = checked_config("WitinMean", layer_config)
        self._adopt(config, {"x": Operand.signed(config.scale_x, config.x_quant_bits)})
        self.dim = dim
        self.keepdim = keepdim
        self._sum_limits = signed(config.mean_sum_quant_bits)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.use_quantization:
            return torch.mean(x, self.dim, self.keepdim)
        x = self._input(x)
        self._refuse_half(x)
        if isinstance(self.dim, tuple | list):
            kind = type(self.dim).__name__
            raise TypeError(f"'<' not supported between instances of '{kind}' and 'int'")
        dims = self._dims(x)
        check_length(norms.reduced(x.shape, dims))
        scale, limits = self._begin()["x"], signed(self._operands["x"].bits)
        keepdim = self.keepdim and self.dim is not None  # measured: all axes always go
        codes = norms.mean(x, scale, limits, dims, self._sum_limits, keepdim=keepdim)
        y = over(codes, scale)
        self._end({"x": x}, None)
        return y

    def _dims(self, x: Tensor) -> tuple[int, ...]:
        if self.dim is None or x.ndim == 0:
            return tuple(range(x.ndim))
        assert isinstance(self.dim, int)
        if not -x.ndim <= self.dim < x.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-x.ndim}, {x.ndim - 1}], but got "
                f"{self.dim})"
            )
        return (self.dim % x.ndim,)


class WitinBatchNorm2d(DigitalLayer, torch.nn.BatchNorm2d):
    """The tool's batch normalisation: factor and offset of each channel become codes.

    In train() the batch's mean and biased variance of the *raw* input are used, and the running statistics
    move as torch's do. Without affine parameters eps is added to the *code* of the deviation.

    Args:
        num_features: number of channels.
        eps: as torch's.
        momentum: as torch's.
        affine: as torch's.
        track_running_stats: must be True in quantised mode.
        device: as torch's.
        dtype: as torch's.
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, scale_weight, weight_quant_bits,
            scale_y, y_quant_bits.

    Raises:
        AssertionError: no layer_config.
        TypeError: track_running_stats=False, in a quantised forward.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        layer_config: Any = None,
    ) -> None:
        config = checked_config("WitinBatchNorm2d", layer_config)
        torch.nn.BatchNorm2d.__init__(
            self, num_features, eps, momentum, affine, track_running_stats, device, dtype
        )
        operands = {
            "x": Operand.signed(config.scale_x, config.x_quant_bits),
            "y": Operand.signed(config.scale_y, config.y_quant_bits),
            "weight": Operand.signed(config.scale_weight, config.weight_quant_bits),
        }
        self._adopt(config, operands)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W]."""
        if not self.use_quantization:
            return torch.nn.BatchNorm2d.forward(self, x)
        x = self._input(x)
        self._check_input_dim(x)
        mean, var = self._moments(x)
        bits = {name: operand.bits for name, operand in self._operands.items()}
        x_limits, w_limits = signed(bits["x"]), signed(bits["weight"])
        if not self.affine:
            seen = {"x": x, "weight": x.new_full((), self._weight_maximum())}
            return self._quantized(
                seen, lambda s: norms.standardize(x, mean, var, self.eps, s["x"], x_limits)
            )
        folded = norms.fold_norm(mean, var, self.weight, self.bias, self.eps)
        return self._quantized(
            {"x": x, "weight": folded.factor},
            lambda s: norms.factor_and_offset(
                x,
                s["x"],
                x_limits,
                folded,
                s["weight"],
                w_limits,
                signed(bits["x"] + bits["weight"]),
            ),
        )

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.running_mean is None or self.running_var is None:
            raise TypeError("unsupported operand type(s) for *: 'float' and 'NoneType'")
        if not self.training:
            return self.running_mean, self.running_var
        with torch.no_grad():  # torch's own update, of which only the statistics are wanted
            torch.nn.BatchNorm2d.forward(self, x)
        return norms.batch_moments(x)

    def _weight_maximum(self) -> float:
        """Without affine parameters the statistic of the weight stays what it is."""
        return float(self.get_parameter("autoscale_weight_obj.io_max"))


class WitinClnBn2d(DigitalLayer):
    """The tool's normalisation over channels and frequencies, for each batch entry and time.

    Args:
        layer_config: a `WitinLayerConfig`; uses scale_x, x_quant_bits, sqrt_left_shift_bits,
            mean_sum_quant_bits, cln_simple, scale_y, y_quant_bits, output_fp_clip.

    Raises:
        AssertionError: no layer_config; 2 * x_quant_bits + sqrt_left_shift_bits above 32; in a quantised
            forward: more than 4096 numbers in one mean.
    """

    def __init__(self, layer_config: Any = None) -> None:
        super().__init__()
        config = checked_config("WitinClnBn2d", layer_config)
        operands = {
            "x": Operand.signed(config.scale_x, config.x_quant_bits),
            "y": Operand.signed(config.scale_y, config.y_quant_bits),
        }
        self._adopt(config, operands)
        self._shift_bits = config.sqrt_left_shift_bits
        self._sum_limits = signed(config.mean_sum_quant_bits)
        self._simple = config.cln_simple
        if self.use_quantization:
            self._check_radicand()

    def _check_radicand(self) -> None:
        check_radicand(2 * self._operands["x"].bits, self._shift_bits, "x_quant_bits*2")

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, t, f].

        Raises:
            RuntimeError: another number of axes.
        """
        if x.ndim != 4:
            raise RuntimeError(
                f"WitinClnBn2d: found input {tuple(x.shape)}, wanted the axes b c t f"
            )
        if not self.use_quantization:
            return norms.float_layer_norm(x, simple=self._simple)
        x, limits = self._input(x), signed(self._operands["x"].bits)
        self._check_radicand()
        check_length(norms.reduced(x.shape, (1, 3)))
        return self._quantized(
            {"x": x},
            lambda s: norms.layer_norm(
                x,
                s["x"],
                limits,
                self._shift_bits,
                self._sum_limits,
                simple=self._simple,
                limit=self._limit,
            ),
        )
