# SPDX-License-Identifier: Apache-2.0
"""What the simulated operators share: checked codes, float32 steps, exact roots, the output quantiser."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bittwin._check import dense_array, integer, positive_real
from bittwin.activation import CODE_DTYPES
from bittwin.values import quantize

Float32: TypeAlias = "NDArray[np.float32]"
SHIFT_BITS = (0, 4, 8, 12, 16)
#: Widest inputs: sums and products of their codes are exact in float32.
MOST_BITS = 12


def float32(values: Any) -> Float32:
    """An array as float32."""
    return np.asarray(values, np.float32)


def codes_of(name: str, x: Any, bits: int, signed: bool = True) -> NDArray[Any]:
    """Codes of a width, checked."""
    codes = dense_array(name, x, CODE_DTYPES)
    low = -(1 << (bits - 1)) if signed else 0
    high = (1 << (bits - signed)) - 1
    if codes.size and not (low <= int(codes.min()) and int(codes.max()) <= high):
        raise ValueError(f"{name}: found {codes.min()}..{codes.max()}, wanted {low}..{high}")
    return codes


def output(
    real: Float32, units: float, bits: int, limit: float | None, signed: bool
) -> NDArray[Any]:
    """``clamp(half_even(fl32(v * units)))`` of v limited to +-limit."""
    if limit is not None:
        bound = np.float32(positive_real("limit", limit))
        real = np.clip(real, -bound, bound)
    return quantize(float32(real), units, bits=integer("y_bits", bits, 8, 16), signed=signed)


def shifted_root(n: NDArray[np.int64], shift_bits: int, radicand_bits: int) -> Float32:
    """``floor(sqrt(n * 2^shift_bits))``, exact; below 2^16."""
    if isinstance(shift_bits, bool) or shift_bits not in SHIFT_BITS:
        raise ValueError(f"shift_bits: found {shift_bits!r}, wanted 0, 4, 8, 12 or 16")
    if radicand_bits + shift_bits > 32:
        raise ValueError(
            f"shift_bits: found {shift_bits} beside {radicand_bits} bits, wanted 32 in all"
        )
    # Exact: below 2^48 a correctly rounded float64 root never reaches the next whole number.
    root = np.floor(np.sqrt((n << shift_bits).astype(np.float64)))
    return root.astype(np.float32)


def reciprocal(root: Float32) -> Float32:
    """``fl32(1 / root)``, 0 for 0."""
    inverse: Float32 = np.divide(np.float32(1), root, out=np.zeros_like(root), where=root > 0)
    return inverse
