# SPDX-License-Identifier: Apache-2.0
"""The proof that an INT32 accumulator cannot overflow: from the weights, once, not per element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import bias_array, choice, code_range
from bittwin.packed import CoreWeight, PackedWeight, Weight, weight_argument

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class AccumulatorBound:
    """The lowest and highest accumulator that weights, bias and input range allow.

    Attributes:
        low: lowest sum over all columns, input code x weight code.
        high: highest sum over all columns.
        column: the output column that comes nearest to an end of INT32 (-1: there are no columns).
    """

    low: int
    high: int
    column: int

    @property
    def fits(self) -> bool:
        """Whether no input can make the INT32 accumulator wrap."""
        return self.low >= INT32_MIN and self.high <= INT32_MAX

    @property
    def share(self) -> float:
        """Part of the INT32 range that the worst input uses; above 1 it can wrap."""
        return max(self.high / INT32_MAX, self.low / INT32_MIN)


def accumulator_bound(
    weight: Weight,
    bias: NDArray[np.int32] | None = None,
    *,
    x_dtype: str = "uint8",
    x_bits: int | None = None,
) -> AccumulatorBound:
    """Bound the accumulators of a linear layer for every input it may see.

    Args:
        weight: [out, in] int8 or int16, packed or not.
        bias: [out] int32, or None.
        x_dtype: dtype of the input codes: uint8, int8, uint16 or int16.
        x_bits: width of the input codes; default 8, or 12 for the two-byte dtypes.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match.

    >>> import numpy as np, bittwin
    >>> bittwin.accumulator_bound(np.array([[100, -100]], np.int8), np.array([1000], np.int32))
    AccumulatorBound(low=-24500, high=26500, column=0)
    """
    w, shape = weight_argument(weight, 2)
    choice("x_dtype", x_dtype, ("uint8", "int8", "uint16", "int16"))
    low, high = code_range(np.dtype(x_dtype), x_bits)
    return AccumulatorBound(*_core.accumulator_bound(w, bias_array(bias, shape[0]), low, high))


def prove_fits(
    layer: str,
    weight: CoreWeight | PackedWeight,
    bias: NDArray[np.int32] | None,
    low: int,
    high: int,
    axis: int = 0,
) -> None:
    """Refuse a layer whose INT32 accumulator can wrap.

    Args:
        layer: its name, for the message.
        weight: [out, in], or with four axes.
        bias: [out] int32, or None.
        low: lowest input code, at most 0.
        high: highest input code, at least 0.
        axis: the weight's axis that counts outputs; 1 for a transposed convolution.
    """
    if isinstance(weight, PackedWeight):
        weight = weight.core
    elif isinstance(weight, np.ndarray):
        weight = np.ascontiguousarray(weight)
    if _core.accumulator_fits(weight, bias, low, high, axis):
        return
    bound = AccumulatorBound(*_core.accumulator_bound(weight, bias, low, high, axis))
    raise ValueError(
        f"{layer}: with input codes {low}..{high} the accumulator of column {bound.column} can "
        f"leave INT32: found the bound {bound.low}..{bound.high}, wanted within "
        f"{INT32_MIN}..{INT32_MAX}; give fewer rows to a layer, or pass overflow='wrap32' for the "
        "C-model's wrapping accumulator"
    )
