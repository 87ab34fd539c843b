# SPDX-License-Identifier: Apache-2.0
"""Trainable digital operators with two inputs: `Add`, `Mul`, `Divide`, `Cat`, `MatMul`, `Hypot`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from bittwin.nn.digital import pairs, roots
from bittwin.nn.digital.base import DigitalModule, is_power_of_two
from bittwin.nn.digital.config import DigitalConfig
from bittwin.nn.digital.modules import check_shift_bits, real_limit
from bittwin.nn.digital.pairs import Side
from bittwin.nn.digital.quantizers import Limits, Unrounded, clip, signed


class _Pair(DigitalModule):
    operands: ClassVar[tuple[str, ...]] = ("x", "other", "y")

    def sides(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> tuple[Side, Side]:
        """Both inputs with scale and width."""
        x, other = inputs
        return (
            Side(x, scales["x"], self.code_bits("x")),
            Side(other, scales["other"], self.code_bits("other")),
        )

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Two inputs that broadcast."""
        return self.run(x, other)


class _Elementwise(_Pair):
    """Add and Mul, which also have the chip's rounding."""

    roundings: ClassVar[tuple[str, ...]] = ("half_even", "half_up")

    def gain(self, scales: Mapping[str, float]) -> float:
        """Accumulator units per output code."""
        raise NotImplementedError

    def _check_rounding(self, scales: Mapping[str, float]) -> None:
        gain = self.gain(scales)
        if self.config.rounding == "half_up" and not is_power_of_two(gain):
            raise ValueError(
                f"layer {self.layer_name!r}: found {gain:g} accumulator units per output code, "
                "rounding='half_up' wants a power of two"
            )


class Add(_Elementwise):
    """The sum; both inputs are quantised at the smaller of their two scales.

    Args:
        config: how to quantise; default `DigitalConfig()`.

    >>> import torch
    >>> from bittwin.nn import Add, DigitalConfig
    >>> scales = dict(codes_per_unit_x=16, codes_per_unit_other=8, codes_per_unit_y=4)
    >>> add = Add(DigitalConfig(**scales))
    >>> add(torch.tensor([1.0, 1.0625]), torch.tensor([0.125, 0.0])).tolist()
    [1.0, 1.0]
    """

    def gain(self, scales: Mapping[str, float]) -> float:
        """Accumulator units per output code."""
        return min(scales["x"], scales["other"]) / scales["y"]

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pairs`."""
        return pairs.add(*self.sides(inputs, scales))

    def operand_scale(self, operand: str) -> tuple[float, Limits]:
        """The smaller of the two scales."""
        scales = self.codes_per_unit
        return min(scales["x"], scales["other"]), self.limits(operand)

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own."""
        return inputs[0] + inputs[1]


class Mul(_Elementwise):
    """The product, element by element.

    Args:
        config: how to quantise; default `DigitalConfig()`.
    """

    def gain(self, scales: Mapping[str, float]) -> float:
        """Accumulator units per output code."""
        return scales["x"] * scales["other"] / scales["y"]

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pairs`."""
        return pairs.mul(*self.sides(inputs, scales))

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own."""
        return inputs[0] * inputs[1]


class Divide(_Pair):
    """The quotient of the codes as a *whole* number, in real units limited to +-8.

    With equal scales of both inputs the results are whole; a first scale that is larger than the second's
    makes finer ones. A divisor of code 0 gives +-8, or 0 for 0 / 0; its gradient is that of one code.

    Args:
        config: how to quantise; default `DigitalConfig()`.
        limit: real units to which the result is limited on both sides; None: the 8 only.
    """

    def __init__(self, config: DigitalConfig | None = None, *, limit: float | None = None) -> None:
        super().__init__(config)
        self.limit = real_limit("limit", limit)

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pairs`."""
        a, b = self.sides(inputs, scales)
        return pairs.divide(a, b, limit=self.limit, finite_gradient=True)

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own, limited; a divisor of 0 counts as 1e-8."""
        x, other = inputs
        quotient = x / torch.where(other == 0, pairs.SMALLEST_DIVISOR, other)
        return clip(clip(quotient, pairs.QUOTIENT_LIMIT), self.limit)


class Cat(_Pair):
    """Two tensors joined along an axis; the narrower one gets the wider one's resolution.

    Args:
        dim: the axis.
        config: how to quantise; default `DigitalConfig()`.
        limit: real units to which the result is limited on both sides; None: not limited.
    """

    def __init__(
        self,
        dim: int = 0,
        config: DigitalConfig | None = None,
        *,
        limit: float | None = None,
    ) -> None:
        super().__init__(config)
        self.dim = dim
        self.limit = real_limit("limit", limit)

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pairs`."""
        return pairs.cat(*self.sides(inputs, scales), self.dim, limit=self.limit)

    def operand_scale(self, operand: str) -> tuple[float, Limits]:
        """The wider side's bits; the narrower one gets them as resolution."""
        bits = max(self.code_bits("x"), self.code_bits("other"))
        scale = self.codes_per_unit[operand] * 2.0 ** (bits - self.code_bits(operand))
        return scale, signed(bits)

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own, limited."""
        return clip(torch.cat(inputs, self.dim), self.limit)


class MatMul(_Pair):
    """The matrix product of two inputs, exact on the codes.

    Args:
        config: how to quantise; default `DigitalConfig()`.
    """

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pairs`."""
        return pairs.matmul(*self.sides(inputs, scales))

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own."""
        return torch.matmul(*inputs)


class Hypot(DigitalModule):
    """``sqrt(x^2 + other^2)`` by integers; both inputs have one scale, output codes are unsigned.

    Args:
        config: how to quantise; default `DigitalConfig()`.
        shift_bits: bits that the sum of squares is shifted left before its root: 0, 4, 8, 12 or 16.
        limit: real units to which the result is limited; None: not limited.
    """

    without_sign: ClassVar[frozenset[str]] = frozenset({"y"})

    def __init__(
        self,
        config: DigitalConfig | None = None,
        *,
        shift_bits: int = 8,
        limit: float | None = None,
    ) -> None:
        self.shift_bits = shift_bits
        super().__init__(config)
        self.limit = real_limit("limit", limit)

    def _accepted(self, config: DigitalConfig) -> DigitalConfig:
        accepted = super()._accepted(config)
        check_shift_bits(self.shift_bits, 2 * accepted.x_bits)
        return accepted

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.roots`."""
        x_limits = self.limits("x")
        x, other = inputs
        return roots.hypot(x, other, scales["x"], x_limits, self.shift_bits, limit=self.limit)

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own, limited."""
        return clip(torch.hypot(*inputs), self.limit)

    def seen(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Both inputs."""
        return {"x": torch.maximum(inputs[0].abs(), inputs[1].abs())}

    def operand_scale(self, operand: str) -> tuple[float, Limits]:
        """One scale for both."""
        return super().operand_scale("x")

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Two inputs that broadcast."""
        a, b = torch.broadcast_tensors(x, other)  # type: ignore[no-untyped-call]
        return self.run(a, b)
