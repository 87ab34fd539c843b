# SPDX-License-Identifier: Apache-2.0
"""Layers that map each code by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, dense_array, integer
from bittwin.activation import CODE_DTYPES, TABLE_SIZES, clip, lookup, relu
from bittwin.functional import requantize
from bittwin.network.base import Layer, frozen
from bittwin.requant import ROUNDINGS, Requant


@dataclass(frozen=True, eq=False)
class Activation(Layer):
    """A layer that keeps its input's shape."""

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Any shape, unchanged."""
        return input_shape


@dataclass(frozen=True, eq=False)
class Relu(Activation):
    """``max(x, 0) * gain``; see `bittwin.relu`."""

    kind: ClassVar[str] = "relu"
    gain: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("gain", self.gain, 1, 2)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes."""
        return relu(x, self.gain)

    def settings(self) -> dict[str, Any]:
        """The gain."""
        return {"gain": self.gain}

    def describe(self) -> str:
        """The gain, where it is not 1."""
        return "" if self.gain == 1 else f"x{self.gain}"


@dataclass(frozen=True, eq=False)
class Clip(Activation):
    """Limit codes to ``0..limit``; see `bittwin.clip`."""

    kind: ClassVar[str] = "clip"
    limit: int = 127

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("limit", self.limit, 0, 255)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes."""
        return clip(x, self.limit)

    def settings(self) -> dict[str, Any]:
        """The limit."""
        return {"limit": self.limit}

    def describe(self) -> str:
        """The range."""
        return f"0..{self.limit}"


@dataclass(frozen=True, eq=False)
class Lookup(Activation):
    """A table of 256 or 1024 int8 or uint8 entries; see `bittwin.lookup`."""

    kind: ClassVar[str] = "lookup"
    table: NDArray[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        table = dense_array("table", self.table, ("int8", "uint8"), 1)
        if table.size not in TABLE_SIZES:
            raise ValueError(f"table: found {table.size} entries, wanted 256 or 1024")
        object.__setattr__(self, "table", frozen(table))

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes."""
        return lookup(x, self.table)

    def settings(self) -> dict[str, Any]:
        """Nothing beyond the table."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The table."""
        return {"table": self.table}

    def describe(self) -> str:
        """Number of entries and the range they span."""
        low, high = int(np.min(self.table)), int(np.max(self.table))
        return f"{self.table.size} entries, {low}..{high}"


@dataclass(frozen=True, eq=False)
class Rescale(Activation):
    """Move codes to another scale: ``clamp(round(x * 2^log2_factor) + offset, low, high)``.

    A training layer reads its input at its own scale; where that differs from the scale at which the layer
    before writes, this is the step between them.

    Attributes:
        log2_factor: -16..16; negative divides, with `rounding`.
        offset: added after the rounding, codes.
        low: lowest output code, -32768..32767.
        high: highest output code.
        rounding: one of `bittwin.requant.ROUNDINGS`; training quantises half even.
    """

    kind: ClassVar[str] = "rescale"
    log2_factor: int = 0
    offset: int = 0
    low: int = 0
    high: int = 255
    rounding: str = "half_even"

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("log2_factor", self.log2_factor, -16, 16)
        integer("offset", self.offset, -(1 << 16), 1 << 16)
        integer("low", self.low, -(1 << 15), (1 << 15) - 1)
        integer("high", self.high, self.low, (1 << 15) - 1)
        choice("rounding", self.rounding, ROUNDINGS)
        rule = Requant(
            rule="rescale",
            multiplier=(1 << max(self.log2_factor, 0),),
            shift1=(max(-self.log2_factor, 0),),
            rounding1=self.rounding,
            zero_point=self.offset,
            lo=self.low,
            hi=self.high,
        )
        object.__setattr__(self, "_rule", rule)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes."""
        codes = dense_array("x", x, CODE_DTYPES).astype(np.int32)
        return requantize(codes, self.__dict__["_rule"])

    def settings(self) -> dict[str, Any]:
        """Factor, offset, limits and rounding."""
        return {
            "log2_factor": self.log2_factor,
            "offset": self.offset,
            "low": self.low,
            "high": self.high,
            "rounding": self.rounding,
        }

    def describe(self) -> str:
        """The formula in short."""
        offset = f" {self.offset:+d}" if self.offset else ""
        return f"x 2^{self.log2_factor}{offset}, {self.low}..{self.high}"
