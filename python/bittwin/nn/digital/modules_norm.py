# SPDX-License-Identifier: Apache-2.0
"""Trainable digital operators that reduce: `Mean`, `BatchNorm2d`, `ClnBn2d`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from bittwin._check import integer
from bittwin.nn.digital import norms
from bittwin.nn.digital.base import DigitalModule
from bittwin.nn.digital.config import DigitalConfig
from bittwin.nn.digital.modules import check_shift_bits, real_limit
from bittwin.nn.digital.quantizers import Unrounded, clip, over, signed

Dims = int | tuple[int, ...] | None


def _check_length(layer: str, count: int) -> None:
    if not 1 <= count <= norms.LONGEST:
        raise ValueError(
            f"layer {layer!r}: found a mean of {count} numbers, wanted 1..{norms.LONGEST}"
        )


class Mean(DigitalModule):
    """The mean of codes, as a code of the same scale and width.

    Args:
        dim: one axis, several, or None for all.
        keepdim: keep the axes with length 1.
        config: how to quantise; default `DigitalConfig()`; y_bits does nothing.
        sum_bits: width at which the sum saturates, 8..55.
    """

    operands: ClassVar[tuple[str, ...]] = ("x",)
    roundings: ClassVar[tuple[str, ...]] = ("half_even", "half_away")

    def __init__(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        config: DigitalConfig | None = None,
        *,
        sum_bits: int = 55,
    ) -> None:
        super().__init__(config)
        self.dim = dim
        self.keepdim = keepdim
        self.sum_bits = integer("sum_bits", sum_bits, 8, 55)

    def _dims(self, x: Tensor) -> tuple[int, ...]:
        if self.dim is None:
            return tuple(range(x.ndim))
        given = self.dim if isinstance(self.dim, tuple) else (self.dim,)
        dims = tuple(d % x.ndim if -x.ndim <= d < x.ndim else -1 for d in given)
        if -1 in dims or len(set(dims)) < len(dims):
            raise ValueError(
                f"layer {self.layer_name!r}: dim: found {self.dim}, wanted different axes of "
                f"{tuple(x.shape)}"
            )
        return dims

    def quantized(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Tensor:
        """Real outputs of exact codes."""
        (x,) = inputs
        dims, sums = self._dims(x), signed(self.sum_bits)
        _check_length(self.layer_name, norms.reduced(x.shape, dims))
        codes = norms.mean(
            x,
            scales["x"],
            self.limits("x"),
            dims,
            sums,
            keepdim=self.keepdim,
            rounding=self.config.rounding,
        )
        return over(codes, scales["x"])

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own."""
        return torch.mean(inputs[0], self._dims(inputs[0]), self.keepdim)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.run(x)


class BatchNorm2d(DigitalModule, torch.nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with factor and offset of each channel as codes.

    In train() the mean and the biased variance of the raw batch are used, and the running statistics move as
    torch's do. The offset has x_bits + weight_bits bits.

    Args:
        num_features: number of channels.
        eps: as torch's.
        momentum: as torch's.
        affine: must be True: without it the vendor's tool adds eps to a code, which nobody wants.
        track_running_stats: must be True.
        device: as torch's.
        dtype: as torch's; float32 only.
        config: how to quantise; default `DigitalConfig()`.
    """

    operands: ClassVar[tuple[str, ...]] = ("x", "w", "y")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        config: DigitalConfig | None = None,
    ) -> None:
        if not affine or not track_running_stats:
            raise ValueError(
                f"affine, track_running_stats: found {affine} and {track_running_stats}, "
                "bittwin.nn.BatchNorm2d wants True for both"
            )
        torch.nn.BatchNorm2d.__init__(
            self, num_features, eps, momentum, affine, track_running_stats, device, dtype
        )
        self.init_digital(config)

    def folded_running(self) -> norms.Folded:
        """Factor and offset of the running statistics, which eval() uses."""
        assert self.running_mean is not None
        assert self.running_var is not None
        return norms.fold_norm(
            self.running_mean, self.running_var, self.weight, self.bias, self.eps
        )

    def _folded(self, x: Tensor) -> norms.Folded:
        if not self.training:
            return self.folded_running()
        return norms.fold_norm(*norms.batch_moments(x), self.weight, self.bias, self.eps)

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.norms`."""
        (x,) = inputs
        offset = signed(self.code_bits("x") + self.code_bits("w"))
        return norms.factor_and_offset(
            x,
            scales["x"],
            self.limits("x"),
            self._folded(x),
            scales["w"],
            self.limits("w"),
            offset,
        )

    def quantized(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Tensor:
        """Real outputs of exact codes; the running statistics move in train()."""
        if self.training:
            with torch.no_grad():
                torch.nn.BatchNorm2d.forward(self, inputs[0])
        return super().quantized(inputs, scales)

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own."""
        return torch.nn.BatchNorm2d.forward(self, inputs[0])

    def seen(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Input and folded factor."""
        return {"x": inputs[0], "w": self._folded(inputs[0]).factor}

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W]."""
        self._check_input_dim(x)
        return self.run(x)


class ClnBn2d(DigitalModule):
    """Normalisation of [b, c, t, f] over c and f, for each b and t.

    Args:
        config: how to quantise; default `DigitalConfig()`.
        shift_bits: bits that a variance is shifted left before its root: 0, 4, 8, 12 or 16.
        sum_bits: width at which the sums saturate, 8..55.
        simple: leave the mean out (divide by the root mean square).
        limit: real units to which the result is limited on both sides; None: not limited.
    """

    def __init__(
        self,
        config: DigitalConfig | None = None,
        *,
        shift_bits: int = 8,
        sum_bits: int = 55,
        simple: bool = False,
        limit: float | None = None,
    ) -> None:
        self.shift_bits = shift_bits
        super().__init__(config)
        self.sum_bits = integer("sum_bits", sum_bits, 8, 55)
        self.simple = bool(simple)
        self.limit = real_limit("limit", limit)

    def _accepted(self, config: DigitalConfig) -> DigitalConfig:
        accepted = super()._accepted(config)
        check_shift_bits(self.shift_bits, 2 * accepted.x_bits)
        return accepted

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.norms`."""
        return norms.layer_norm(
            inputs[0],
            scales["x"],
            self.limits("x"),
            self.shift_bits,
            signed(self.sum_bits),
            simple=self.simple,
            limit=self.limit,
        )

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """The same in real numbers, limited; 0 where the variance is 0."""
        return clip(norms.float_layer_norm(inputs[0], simple=self.simple), self.limit)

    def forward(self, x: Tensor) -> Tensor:
        """[b, c, t, f]."""
        if x.ndim != 4:
            raise ValueError(
                f"layer {self.layer_name!r}: found input {tuple(x.shape)}, wanted [b, c, t, f]"
            )
        _check_length(self.layer_name, norms.reduced(x.shape, (1, 3)))
        return self.run(x)
