# SPDX-License-Identifier: Apache-2.0
"""Trainable digital operators with one input: `Sigmoid`, `Tanh`, `GELU`, `PReLU`, `Sqrt`, `InvSqrt`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bittwin._check import choice, positive_real
from bittwin.nn.digital import pointwise, roots
from bittwin.nn.digital.base import DigitalModule
from bittwin.nn.digital.config import DigitalConfig
from bittwin.nn.digital.quantizers import Unrounded, clip


def real_limit(name: str, value: float | None) -> float | None:
    """A limit of real values: above 0, or None."""
    return None if value is None else positive_real(name, value)


def check_shift_bits(value: int, radicand_bits: int) -> None:
    """A radicand's shift to the left is 0, 4, 8, 12 or 16; it has 32 bits at most."""
    if isinstance(value, bool) or value not in roots.SHIFT_BITS:
        raise ValueError(f"shift_bits: found {value!r}, wanted 0, 4, 8, 12 or 16")
    if radicand_bits + value > 32:
        raise ValueError(
            f"shift_bits: found {value} beside a radicand of {radicand_bits} bits, wanted 32 in all"
        )


class Sigmoid(DigitalModule):
    """Sigmoid; output codes are unsigned.

    Args:
        config: how to quantise; default `DigitalConfig()`.
        input_limit: real units to which the input is limited on both sides; None: not limited.

    >>> import torch
    >>> from bittwin.nn import DigitalConfig, Sigmoid
    >>> gate = Sigmoid(DigitalConfig(codes_per_unit_x=16, codes_per_unit_y=256))
    >>> (gate(torch.tensor([0.0, 100.0])) * 256).tolist()
    [128.0, 255.0]
    """

    without_sign: ClassVar[frozenset[str]] = frozenset({"y"})

    def __init__(
        self, config: DigitalConfig | None = None, *, input_limit: float | None = None
    ) -> None:
        super().__init__(config)
        self.input_limit = real_limit("input_limit", input_limit)

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pointwise`."""
        x = clip(inputs[0], self.input_limit)
        return pointwise.sigmoid(x, scales["x"], self.limits("x"))

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own."""
        return torch.sigmoid(clip(inputs[0], self.input_limit))

    def seen(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The limited input."""
        return {"x": clip(inputs[0], self.input_limit)}

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.run(x)


class Tanh(DigitalModule):
    """Hyperbolic tangent.

    Args:
        config: how to quantise; default `DigitalConfig()`.
        input_limit: real units to which the input is limited on both sides; None: not limited.
    """

    def __init__(
        self, config: DigitalConfig | None = None, *, input_limit: float | None = None
    ) -> None:
        super().__init__(config)
        self.input_limit = real_limit("input_limit", input_limit)

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pointwise`."""
        return pointwise.tanh(clip(inputs[0], self.input_limit), scales["x"], self.limits("x"))

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own."""
        return torch.tanh(clip(inputs[0], self.input_limit))

    def seen(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The limited input."""
        return {"x": clip(inputs[0], self.input_limit)}

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.run(x)


class GELU(DigitalModule):
    """GELU.

    Args:
        approximate: ``none``, or ``tanh`` for the approximation.
        config: how to quantise; default `DigitalConfig()`.
        offset: added to the result, real units; other than 0 it gives the output codes one more bit.
        limit: real units to which the result is limited on both sides; None: not limited.
    """

    def __init__(
        self,
        approximate: str = "none",
        config: DigitalConfig | None = None,
        *,
        offset: float = 0.0,
        limit: float | None = None,
    ) -> None:
        self.approximate = choice("approximate", approximate, pointwise.APPROXIMATIONS)
        self.offset = float(offset)
        self.limit = real_limit("limit", limit)
        super().__init__(config)

    def code_bits(self, operand: str) -> int:
        """One more for an output with an offset."""
        return super().code_bits(operand) + (operand == "y" and self.offset != 0)

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pointwise`."""
        return pointwise.gelu(
            inputs[0],
            scales["x"],
            self.limits("x"),
            approximate=self.approximate,
            shift=self.offset,
            limit=self.limit,
        )

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own, with offset and limit."""
        return clip(F.gelu(inputs[0], approximate=self.approximate) + self.offset, self.limit)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.run(x)


class PReLU(DigitalModule, torch.nn.PReLU):
    """`torch.nn.PReLU` on codes. The calibrated scale of the weight leaves room for slopes up to 1.

    Args:
        num_parameters: 1, or the size of axis 1.
        init: first value of the weight.
        device: as torch's.
        dtype: as torch's; float32 only.
        config: how to quantise; default `DigitalConfig()`.
        limit: real units to which the result is limited on both sides; None: not limited.
    """

    operands: ClassVar[tuple[str, ...]] = ("x", "w", "y")

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: Any = None,
        *,
        config: DigitalConfig | None = None,
        limit: float | None = None,
    ) -> None:
        torch.nn.PReLU.__init__(self, num_parameters, init, device, dtype)
        self.init_digital(config)
        self.limit = real_limit("limit", limit)

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.pointwise`."""
        return pointwise.prelu(
            inputs[0],
            scales["x"],
            self.limits("x"),
            self.weight,
            scales["w"],
            self.limits("w"),
            limit=self.limit,
        )

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own, limited."""
        return clip(F.prelu(inputs[0], self.weight), self.limit)

    def seen(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Input, and the weight with room for a slope of 1.

        A scale fitted to the first 0.25 would saturate it, and no gradient would move it any more.
        """
        return {"x": inputs[0], "w": self.weight.abs().clamp_min(1)}

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; channels on axis 1 where there is more than one weight."""
        return self.run(x)


class _Root(DigitalModule):
    without_sign: ClassVar[frozenset[str]] = frozenset({"x", "y"})

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
        check_shift_bits(self.shift_bits, accepted.x_bits)
        return accepted

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return self.run(x)


class Sqrt(_Root):
    """Square root by integers; codes are unsigned, negative inputs count as 0.

    Args:
        config: how to quantise; default `DigitalConfig()`.
        shift_bits: bits that codes are shifted left before their root: 0, 4, 8, 12 or 16.
        limit: real units to which the result is limited; None: not limited.
    """

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.roots`."""
        x_limits = self.limits("x")
        return roots.sqrt(inputs[0], scales["x"], x_limits, self.shift_bits, limit=self.limit)

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own of max(x, 0), limited."""
        return clip(torch.sqrt(inputs[0].clamp_min(0)), self.limit)


class InvSqrt(_Root):
    """1 / sqrt by integers; codes are unsigned, and 0 for a code of 0.

    Args:
        config: how to quantise; default `DigitalConfig()`.
        shift_bits: bits that codes are shifted left before their root: 0, 4, 8, 12 or 16.
        limit: real units to which the result is limited; None: not limited.
    """

    def compute(self, inputs: tuple[Tensor, ...], scales: Mapping[str, float]) -> Unrounded:
        """See `bittwin.nn.digital.roots`."""
        x_limits = self.limits("x")
        return roots.inv_sqrt(inputs[0], scales["x"], x_limits, self.shift_bits, limit=self.limit)

    def float_forward(self, *inputs: Tensor) -> Tensor:
        """Torch's own where x is above 0, else 0; limited."""
        positive = inputs[0] > 0
        inverse = torch.rsqrt(torch.where(positive, inputs[0], 1))
        return clip(torch.where(positive, inverse, 0), self.limit)
