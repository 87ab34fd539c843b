# SPDX-License-Identifier: Apache-2.0
"""What an implementation of the datapath must offer to be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Stages:
    """Parameters of the two-stage requantiser; sequences hold one entry, or one per channel."""

    lsh: Sequence[int] = (0,)
    multiplier: Sequence[int] = (1,)
    shift1: Sequence[int] = (0,)
    rounding1: str = "half_up"
    middle: str = "exact"
    shift2: Sequence[int] = (0,)
    rounding2: str = "half_up"
    zero_point: int = 0
    lo: int = -128
    hi: int = 127


@dataclass(frozen=True)
class Geometry:
    """Geometry of a convolution; output_padding is for the transposed one only."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    output_padding: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Split:
    """How the two rounds of a wide input become one code; low_bits None: no limit."""

    rule: str = "readout"
    gain: int = 256
    scale_product: float = 0.0
    codes_per_unit: float = 0.0
    bits: int = 8
    low_bits: int | None = None
    high_rounding: str = "half_even"


class Requantisers(Protocol):
    """The requantisers: int32 accumulators in, codes out; `high` is int32 or None."""

    def two_stage(self, acc: Array, stages: Stages, high: Array | None = None) -> Array: ...

    def readout(
        self, acc: Array, gain: int, bits: int, overflow: str, high: Array | None = None
    ) -> Array: ...

    def unsigned_store(self, acc: Array, gain: int, high: Array | None = None) -> Array: ...

    def half_even(self, acc: Array, gain: int, bits: int, high: Array | None = None) -> Array: ...

    def half_even_f32(
        self,
        acc: Array,
        scale_product: float,
        codes_per_unit: float,
        bits: int,
        high: Array | None = None,
    ) -> Array: ...


class Products(Protocol):
    """The sums of products: codes in, int32 accumulators out."""

    def accumulate(self, x: Array, weight: Array, bias: Array | None, wrap: bool) -> Array: ...

    def conv2d(self, x: Array, weight: Array, bias: Array | None, at: Geometry) -> Array: ...

    def conv_transpose2d(
        self, x: Array, weight: Array, bias: Array | None, at: Geometry
    ) -> Array: ...

    def bound(self, weight: Array, bias: Array | None, x_lo: int, x_hi: int) -> tuple[int, int]: ...


class Edges(Protocol):
    """Everything around the array: bias rows, the split of wide inputs, the activations."""

    def quantize_bias(self, bias: Array, rows: int) -> Array: ...

    def split_linear(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        bias_digital: Array | None,
        how: Split,
    ) -> Array: ...

    def relu(self, code: Array, gain: int) -> Array: ...

    def clip(self, code: Array, limit: int) -> Array: ...

    def lookup(self, code: Array, table: Array) -> Array: ...


class Implementation(Requantisers, Products, Edges, Protocol):
    """An implementation of the whole datapath."""
