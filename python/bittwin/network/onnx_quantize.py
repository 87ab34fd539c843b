# SPDX-License-Identifier: Apache-2.0
"""The steps between codes and values of standard quantised ONNX, in onnxruntime's float32 order.

Every operation is one float32 rounding, then one rounding half even; the zero point is added to the integer
(docs/spec/onnx_operators.md). What the array does exactly is `Linear` and `Conv2d` with `accumulator()`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, dense_array, integer
from bittwin.errors import NetworkError
from bittwin.network.operation import Operation, frame_axes
from bittwin.requant import Requant
from bittwin.values import quantize

BYTES: Final = ("uint8", "int8")


def accumulator() -> Requant:
    """The rule that stores accumulators as they are: int32 "codes"."""
    return Requant(rule="accumulator", lo=-(1 << 31), hi=(1 << 31) - 1)


@dataclass(frozen=True, eq=False)
class _PerChannel(Operation):
    """Layers with a float32 factor and a zero point, per tensor or per channel.

    Attributes:
        scale: [1], or [C] along `axis`; float32, above 0.
        zero_point: [1] or [C] int32.
        dtype: of the codes, ``uint8`` or ``int8`` (``int32`` codes too for `DequantizeLinear`).
        axis: the one that counts channels, 1 or more.
    """

    array_fields: ClassVar[tuple[str, ...]] = ("scale", "zero_point")
    dtypes: ClassVar[tuple[str, ...]] = BYTES
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    dtype: str = "uint8"
    axis: int = 1

    def _probe(self) -> None:
        scale = dense_array("scale", self.scale, ("float32",), 1)
        if not (np.isfinite(scale) & (scale > 0)).all() or not scale.size:
            raise ValueError("scale: wanted finite numbers above 0")
        zero = dense_array("zero_point", self.zero_point, ("int32",), 1)
        choice("dtype", self.dtype, self.dtypes)
        info = np.iinfo(self.dtype)
        if zero.shape not in ((1,), scale.shape):
            raise ValueError(f"zero_point: found shape {zero.shape}, wanted {scale.shape}")
        for point in zero.tolist():
            integer("zero_point", point, info.min, info.max)
        frame_axes("axis", self.axis)

    def _along(self, array: NDArray[Any], ndim: int) -> NDArray[Any]:
        """A per-channel array in a shape that goes with x."""
        if array.size == 1:
            return array.reshape(())
        return array.reshape([-1 if i == self.axis else 1 for i in range(ndim)])

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """`shape` is a batch's."""
        count = self.scale.size
        if count > 1 and (self.axis >= len(shape) or shape[self.axis] != count):
            raise ValueError(f"x: found shape {shape}, wanted {count} channels on axis {self.axis}")

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Any shape that has the channels, unchanged."""
        try:
            self._check_shape((0, *input_shape))
        except ValueError as error:
            raise NetworkError(f"layer {self.name!r}: {error}") from None
        return input_shape

    def output_shape_many(self, *input_shapes: tuple[int, ...]) -> tuple[int, ...]:
        """As `output_shape`."""
        (shape,) = input_shapes
        return self.output_shape(shape)

    def _codes(self, real: NDArray[np.float32]) -> NDArray[Any]:
        """Round half even, add the zero point, saturate."""
        # 16 bits hold every code minus a zero point, so that the first saturation changes nothing.
        rounded = quantize(real, 1.0, bits=16, signed=True, rounding="half_even").astype(np.int32)
        info = np.iinfo(self.dtype)
        moved = rounded + self._along(self.zero_point, real.ndim)
        codes: NDArray[Any] = np.clip(moved, info.min, info.max).astype(self.dtype)
        return codes


@dataclass(frozen=True, eq=False)
class RequantizeLinear(_PerChannel):
    """``saturate(half_even(fl(fl(acc) * scale)) + zero_point)``; int32 accumulators to codes."""

    kind: ClassVar[str] = "requantize_linear"

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of accumulators; the first axis counts frames."""
        acc = dense_array("x", x, ("int32",))
        self._check_shape(acc.shape)
        real = np.multiply(acc.astype(np.float32), self._along(self.scale, acc.ndim))
        return self._codes(np.asarray(real, np.float32))


@dataclass(frozen=True, eq=False)
class QuantizeLinear(_PerChannel):
    """``saturate(half_even(fl(x / scale)) + zero_point)``; float32 values to codes. A NaN is refused."""

    kind: ClassVar[str] = "quantize_linear"

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of values; the first axis counts frames."""
        values = dense_array("x", x, ("float32",))
        self._check_shape(values.shape)
        with np.errstate(over="ignore"):
            real = np.divide(values, self._along(self.scale, values.ndim))
        return self._codes(np.asarray(real, np.float32))


@dataclass(frozen=True, eq=False)
class DequantizeLinear(_PerChannel):
    """``fl(fl(x - zero_point) * scale)``; codes to float32 values.

    Codes are uint8 or int8; int32 accumulators have the zero point 0.
    """

    kind: ClassVar[str] = "dequantize_linear"
    dtypes: ClassVar[tuple[str, ...]] = (*BYTES, "int32")

    def _probe(self) -> None:
        super()._probe()
        if self.dtype == "int32" and self.zero_point.any():
            raise ValueError("zero_point: found a zero point of int32 codes, wanted 0")

    def run(self, x: NDArray[Any]) -> NDArray[Any]:
        """Map a batch of codes; the first axis counts frames."""
        codes = dense_array("x", x, (self.dtype,))
        self._check_shape(codes.shape)
        moved = codes.astype(np.int32) - self._along(self.zero_point, codes.ndim)
        with np.errstate(over="ignore"):
            real = np.multiply(moved.astype(np.float32), self._along(self.scale, codes.ndim))
        return np.asarray(real, np.float32)
