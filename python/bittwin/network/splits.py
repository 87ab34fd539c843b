# SPDX-License-Identifier: Apache-2.0
"""Array layers with 9..12-bit inputs: two rounds, added (docs/spec/split.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import bias_array, integer
from bittwin._products import Finish
from bittwin.bounds import AccumulatorBound
from bittwin.errors import NetworkError
from bittwin.network.arrays import ArrayLayer, Linear
from bittwin.network.base import frozen
from bittwin.network.convolutions import Conv2d, ConvTranspose2d
from bittwin.split import split_codes, split_rule


@dataclass(frozen=True, eq=False)
class SplitRounds(ArrayLayer):
    """What the two-round layers add to their one-round form.

    Attributes:
        bias: int32, the part of the bias in the array (low) round, or None.
        bias_digital: int32, the part in the digital (high) round, or None.
        low_bits: as in `bittwin.split_linear`.
        high_rounding: as in `bittwin.split_linear`.
    """

    x_bits: int = 10
    bias_digital: NDArray[np.int32] | None = None
    low_bits: int | None = None
    high_rounding: str = "half_even"

    def _check_geometry(self) -> None:
        super()._check_geometry()
        integer("x_bits", self.x_bits, 9, 12)
        digital = bias_array(self.bias_digital, self.out_channels, "bias_digital")
        object.__setattr__(self, "bias_digital", None if digital is None else frozen(digital))
        rule = split_rule(self.requant, self.low_bits, self.high_rounding)
        object.__setattr__(self, "_split", rule)

    def bound(self) -> AccumulatorBound:
        """The range of the low round, which sees sign and magnitude up to 255."""
        low = -255 if self.x_signed else 0
        columns = np.ascontiguousarray(self.columns())
        return AccumulatorBound(*_core.accumulator_bound(columns, self.bias, low, 255))

    def accumulate(self, x: NDArray[Any]) -> NDArray[np.int32]:
        """Refuse: a split layer has two accumulators, not one."""
        raise NetworkError(f"layer {self.name!r}: a split layer has no single accumulator")

    def accumulate_parts(self, x: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The accumulators of the low round, bias included, and of the high round, without."""
        x_lo, x_hi = split_codes(self._codes(x), self.x_bits)
        padding = np.array([getattr(self, "pad_value", 0)], np.int16)
        pad_lo, pad_hi = (int(part[0]) for part in split_codes(padding, self.x_bits))
        low = self._product(x_lo, self.bias, None, 8, pad_lo)
        return low, self._product(x_hi, None, None, 8, pad_hi)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Compute the output codes of a batch; the first axis counts frames."""
        rule: _core.SplitRule = self.__dict__["_split"]
        finish = Finish(self.requant, None, rule, self.bias_digital)
        return self._product(self._codes(x), self.bias, finish, self.x_bits)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weight and both parts of the bias."""
        digital = {} if self.bias_digital is None else {"bias_digital": self.bias_digital}
        return super().arrays() | digital

    def settings(self) -> dict[str, Any]:
        """The settings of the one-round form and the split's own."""
        return super().settings() | {"low_bits": self.low_bits, "high_rounding": self.high_rounding}


@dataclass(frozen=True, eq=False)
class SplitLinear(SplitRounds, Linear):
    """A linear layer in two rounds; see `bittwin.split_linear`."""

    kind: ClassVar[str] = "split_linear"


@dataclass(frozen=True, eq=False)
class SplitConv2d(SplitRounds, Conv2d):
    """A convolution in two rounds; see `bittwin.split_conv2d`."""

    kind: ClassVar[str] = "split_conv2d"


@dataclass(frozen=True, eq=False)
class SplitConvTranspose2d(SplitRounds, ConvTranspose2d):
    """A transposed convolution in two rounds; see `bittwin.split_conv_transpose2d`."""

    kind: ClassVar[str] = "split_conv_transpose2d"
