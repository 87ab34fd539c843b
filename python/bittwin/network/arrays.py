# SPDX-License-Identifier: Apache-2.0
"""Layers that run on the array: a weight, a bias, an accumulator and a requantiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import (
    WEIGHT_DTYPES,
    bias_array,
    choice,
    code_range,
    dense_array,
)
from bittwin._products import Finish, linear_product
from bittwin.bounds import AccumulatorBound
from bittwin.errors import NetworkError
from bittwin.functional import OVERFLOWS, requantize
from bittwin.network.base import Layer, as_codes, code_width, frozen
from bittwin.packed import PackedWeight
from bittwin.requant import Requant


@dataclass(frozen=True, eq=False)
class ArrayLayer(Layer):
    """What linear and convolution layers share.

    Attributes:
        name: unique within its network.
        weight: int8 or int16 codes, layout by layer.
        bias: int32 per output channel in accumulator units, or None.
        requant: the rule that makes output codes.
        x_bits: width of the input codes, 1..12.
        x_signed: input codes are sign and magnitude, +-(2^x_bits - 1); else 0..2^x_bits - 1.
        overflow: ``refuse``: the layer is refused when its accumulator can leave INT32; ``wrap32``.
    """

    weight: NDArray[Any]
    bias: NDArray[np.int32] | None
    requant: Requant
    x_bits: int = 8
    x_signed: bool = False
    overflow: str = "refuse"

    optional_arrays: ClassVar[tuple[str, ...]] = ("bias",)
    weight_axes: ClassVar[int] = 2
    out_axis: ClassVar[int] = 0  # of the weight
    channel_axis: ClassVar[int] = -1  # of the accumulator

    def __post_init__(self) -> None:
        super().__post_init__()
        weight = dense_array("weight", self.weight, WEIGHT_DTYPES, self.weight_axes)
        bias = bias_array(self.bias, weight.shape[self.out_axis])
        if not isinstance(self.requant, Requant):
            raise TypeError(f"requant: found {type(self.requant).__name__}, wanted a Requant")
        if self.requant.channels not in (1, weight.shape[self.out_axis]):
            raise ValueError(
                f"requant: found {self.requant.channels} channels, wanted 1 or {self.out_channels}"
            )
        code_width(self.x_bits, self.x_signed)
        choice("overflow", self.overflow, OVERFLOWS)
        packed = PackedWeight(weight)
        object.__setattr__(self, "_packed", packed)
        object.__setattr__(self, "weight", packed.codes)
        object.__setattr__(self, "bias", None if bias is None else frozen(bias))
        self._check_geometry()
        bound = self.bound()
        if self.overflow == "refuse" and bound is not None and not bound.fits:
            raise NetworkError(
                f"layer {self.name!r}: the accumulator of column {bound.column} can leave INT32: found "
                f"the bound {bound.low}..{bound.high}; give it fewer rows or overflow='wrap32'"
            )

    def _check_geometry(self) -> None:
        """Check what a subclass adds."""

    @property
    def out_channels(self) -> int:
        """Output columns of the array."""
        return int(self.weight.shape[self.out_axis])

    @property
    def fan_in(self) -> int:
        """Array rows: products summed into one output."""
        return int(self.weight.size // max(self.out_channels, 1))

    def columns(self) -> NDArray[Any]:
        """The weight as [out, products per output]."""
        return self.weight.reshape(self.out_channels, math.prod(self.weight.shape[1:]))

    def bound(self) -> AccumulatorBound | None:
        """The range that weights, bias and input codes prove for the accumulator."""
        dtype = np.dtype(np.int16 if self.x_signed else np.uint16)
        low, high = code_range(dtype, self.x_bits)
        columns = np.ascontiguousarray(self.columns())
        return AccumulatorBound(*_core.accumulator_bound(columns, self.bias, low, high))

    def accumulate(self, x: NDArray[Any]) -> NDArray[np.int32]:
        """The INT32 accumulators of a batch."""
        return self._products(self._codes(x), self.bias)

    def _codes(self, x: Any) -> NDArray[Any]:
        """The batch as the array sees it."""
        return as_codes(x, self.x_bits, self.x_signed)

    @property
    def packed(self) -> PackedWeight:
        """The weight as kernels read it."""
        kept: PackedWeight = self.__dict__["_packed"]
        return kept

    def _products(self, codes: NDArray[Any], bias: NDArray[np.int32] | None) -> NDArray[np.int32]:
        return self._product(codes, bias, None, self.x_bits)

    def _product(
        self,
        codes: NDArray[Any],
        bias: NDArray[np.int32] | None,
        finish: Finish | None,
        x_bits: int,
        pad_value: int | None = None,
    ) -> NDArray[Any]:
        """Accumulators, or codes with `finish`, in one call; pad_value: other than the layer's own.

        The constructor has proven the layer, so no call proves it again.
        """
        raise NotImplementedError

    def _wrap(self) -> dict[str, Any]:
        # The constructor has proven the layer, so no call has to prove it again.
        return {"overflow": "wrap32", "x_bits": self.x_bits}

    def requantize(self, acc: NDArray[np.int32], requant: Requant | None = None) -> NDArray[Any]:
        """Output codes of accumulators, by this layer's rule or another."""
        return requantize(acc, requant or self.requant, axis=self.channel_axis)

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Compute the output codes of a batch; the first axis counts frames."""
        return self._product(self._codes(x), self.bias, Finish(self.requant), self.x_bits)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weight and, where there is one, the bias."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def settings(self) -> dict[str, Any]:
        """Requantiser, input width and overflow choice."""
        return {
            "requant": self.requant.to_config(),
            "x_bits": self.x_bits,
            "x_signed": self.x_signed,
            "overflow": self.overflow,
        }

    @classmethod
    def _parse(cls, settings: dict[str, Any]) -> dict[str, Any]:
        parsed = dict(settings)
        parsed["requant"] = Requant.from_config(settings.get("requant"))
        for key, value in settings.items():
            if isinstance(value, list):
                parsed[key] = tuple(value)
        return parsed

    def describe(self) -> str:
        """Weight shape and rule."""
        shape = "x".join(str(n) for n in self.weight.shape)
        return f"{shape} {self.weight.dtype.name}, {self.requant}"


@dataclass(frozen=True, eq=False)
class Linear(ArrayLayer):
    """A linear layer: weight [out, in], input [frames, in]."""

    kind: ClassVar[str] = "linear"

    def _product(
        self,
        codes: NDArray[Any],
        bias: NDArray[np.int32] | None,
        finish: Finish | None,
        x_bits: int,
        pad_value: int | None = None,
    ) -> NDArray[Any]:
        return linear_product(codes, self.packed, bias, finish, None, "wrap32", x_bits)

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[in] -> [out]."""
        if not input_shape or input_shape[-1] != self.weight.shape[1]:
            raise NetworkError(
                f"layer {self.name!r}: found input shape {input_shape}, wanted (..., {self.weight.shape[1]})"
            )
        return (*input_shape[:-1], self.out_channels)
