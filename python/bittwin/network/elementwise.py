# SPDX-License-Identifier: Apache-2.0
"""Layers that add, multiply, scale and mask codes; see `bittwin.digital`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin import digital
from bittwin._check import dense_array
from bittwin.network.operation import ManyInputs, Operation

_NOTHING = np.zeros((0, 1), np.int8)


@dataclass(frozen=True, eq=False)
class Pair(ManyInputs):
    """What Add and Mul share.

    Attributes:
        shift_bit: -31..15; negative shifts right.
        bits: width of the result, 8 or 16.
        rounding: of the right shift.
        broadcast: ``chip`` or ``numpy``.
        constant: the second operand where it is no layer's codes: one number, or one frame's shape; int8,
            uint8 or int16. The layer has one input then, else two.
    """

    array_fields: ClassVar[tuple[str, ...]] = ("constant",)
    optional_arrays: ClassVar[tuple[str, ...]] = ("constant",)
    shift_bit: int = 0
    bits: int = 8
    rounding: str = "half_up"
    broadcast: str = "chip"
    constant: NDArray[Any] | None = None

    @property
    def n_inputs(self) -> int:
        """Two, or one beside a constant."""
        return 2 if self.constant is None else 1

    def _probe(self) -> None:
        if self.constant is not None:
            dense_array("constant", self.constant, ("int8", "uint8", "int16"))
        type(self).function(_NOTHING, _NOTHING, **self.options())

    def options(self) -> dict[str, Any]:
        """The function's keyword arguments."""
        return {k: v for k, v in super().options().items() if k != "constant"}

    def run_many(self, *xs: NDArray[Any]) -> NDArray[Any]:
        """Combine two batches, or one with the constant."""
        if self.constant is None:
            a, b = xs
        else:
            (a,), b = xs, self.constant
            if self.broadcast == "chip" and b.size != 1 and b.shape != np.shape(a)[1:]:
                raise ValueError(f"x: found shape {np.shape(a)}, the constant has {b.shape}")
        result: NDArray[Any] = type(self).function(a, b, **self.options())
        return result


@dataclass(frozen=True, eq=False)
class Add(Pair):
    """``saturate(SHIFT(a + b, shift_bit))``; see `bittwin.digital.add`.

    Attributes:
        overflow: ``saturate``, or ``wrap16`` with 16 bits.
    """

    kind: ClassVar[str] = "add"
    function: ClassVar[Any] = staticmethod(digital.add)
    overflow: str = "saturate"


@dataclass(frozen=True, eq=False)
class Mul(Pair):
    """``SHIFT(a * b, shift_bit)``; see `bittwin.digital.mul`.

    Attributes:
        overflow: ``saturate``, ``wrap16`` with 16 bits, or None: as measured.
    """

    kind: ClassVar[str] = "mul"
    function: ClassVar[Any] = staticmethod(digital.mul)
    overflow: str | None = None


@dataclass(frozen=True, eq=False)
class PerCode(Operation):
    """An operation that keeps its input's shape."""

    def _probe(self) -> None:
        self.run(_NOTHING)


@dataclass(frozen=True, eq=False)
class Scale(PerCode):
    """``saturate(x * factor)``, the factor 2^-n or an integer; see `bittwin.digital.scale`."""

    kind: ClassVar[str] = "scale"
    function: ClassVar[Any] = staticmethod(digital.scale)
    factor: float
    bits: int = 8
    rounding: str = "half_up"


@dataclass(frozen=True, eq=False)
class Scalar(PerCode):
    """``saturate(SHIFT(x * number, shift_bit))``, or a sum; see `bittwin.digital.scalar`."""

    kind: ClassVar[str] = "scalar"
    function: ClassVar[Any] = staticmethod(digital.scalar)
    number: int
    shift_bit: int = 0
    op: str = "mul"
    bits: int = 8
    rounding: str = "half_up"


@dataclass(frozen=True, eq=False)
class FloatScale(PerCode):
    """``clamp(round(x * factor))`` in float32; see `bittwin.digital.float_scale`."""

    kind: ClassVar[str] = "float_scale"
    function: ClassVar[Any] = staticmethod(digital.float_scale)
    factor: float
    clip_bits: int = 7
    rounding: str = "half_away"


@dataclass(frozen=True, eq=False)
class ClearLowBits(PerCode):
    """The lowest bits set to 0; see `bittwin.digital.clear_low_bits`."""

    kind: ClassVar[str] = "clear_low_bits"
    function: ClassVar[Any] = staticmethod(digital.clear_low_bits)
    bits: int
    negative: str = "twos_complement"
