# SPDX-License-Identifier: Apache-2.0
"""The tool's float order where it is not `bittwin.half_even_f32`, and the peculiar limits behind it.

Everything else in this package takes its arithmetic from bittwin's functions. These few lines follow the
tool's own sequence of float32 operations (float64 in a layer made ``.double()``), because its masks and its
statistics are taken on the values between them. With power-of-two scales no order matters: all are exact.
Each array keeps its dtype: every operation below is one rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import bittwin
from bittwin.compat.witin_nn.quantizers import Codes, Mask, Reals, to_codes
from bittwin.compat.witin_nn.settings import code_limits, is_usable

Accumulators = NDArray[np.int32]


def real_values(acc: Accumulators, product: float, dtype: np.dtype[Any]) -> Reals:
    """fl(acc / scale_product): accumulators in real units."""
    values: Reals = acc.astype(dtype)
    return _over(values, product)


def halves_in_real(
    positive: Accumulators, negative: Accumulators, product: float, dtype: np.dtype[Any]
) -> Reals:
    """PN convolutions divide the two halves first and add them afterwards."""
    return real_values(positive, product, dtype) + real_values(negative, product, dtype)


def clipped(values: Reals, limit: float) -> tuple[Reals, Mask | None]:
    """output_fp_clip stands between the division and the multiplication by the output scale."""
    if not limit:
        return values, None
    real = values.dtype.type
    passes: Mask = (values >= real(-limit)) & (values <= real(limit))
    return np.clip(values, real(-limit), real(limit)), passes


def scaled(values: Reals, y_scale: float) -> Reals:
    """fl(values * scale_y): output codes before rounding."""
    product: Reals = values * values.dtype.type(y_scale)
    return product


def vector_unit(acc: Accumulators, bias: Reals | None, gain: float, dtype: np.dtype[Any]) -> Reals:
    """VPU: one division by fl(scale_x * scale_weight / scale_y); the bias is rounded, off any grid."""
    total = acc.astype(np.float64)
    if bias is not None:
        total = total + np.rint(bias).astype(np.float64)
    return _over(total.astype(dtype), gain)


def codes_of(values: Reals, bits: int) -> Codes:
    """Round half to even and saturate; a NaN stays one, so the result is a float then."""
    if bits <= 16:
        codes = to_codes(values, bits, signed=True)
    else:  # wider than any code of ours: the tool just moves the limits
        codes = np.clip(np.rint(values), *map(values.dtype.type, code_limits(bits)))
    if np.isnan(values).any():
        codes = np.where(np.isnan(values), values, codes)
    return codes


def codes_of_accumulators(
    acc: Accumulators, product: float, y_scale: float, bits: int, dtype: np.dtype[Any]
) -> Codes:
    """The ordinary case, `bittwin.half_even_f32`, wherever its contract holds.

    Outside of it are negative or zero scales, float64 layers and widths beyond 16 bits.
    """
    if dtype == np.float32 and 2 <= bits <= 16 and is_usable(product) and is_usable(y_scale):
        return bittwin.requantize(acc, bittwin.half_even_f32(product, y_scale, bits=bits))
    return codes_of(scaled(real_values(acc, product, dtype), y_scale), bits)


def high_part(acc: Accumulators, digital: Reals, gain: float, dtype: np.dtype[Any]) -> Reals:
    """Digital part of a split layer: one rounding of 256 * acc + bias over the *integer-rounded* gain.

    A gain below one half rounds to 0: infinities saturate later on, and 0 / 0 is NaN.
    """
    total = (256 * acc.astype(np.int64)).astype(np.float64) + digital.astype(np.float64)
    part: Reals = np.rint(_over(total.astype(dtype), np.rint(gain)))
    return part


def trailing_clip(y: Reals, y_scale: float, bits: int) -> tuple[Reals, Mask]:
    """Conv2d's second limit: clamp(y * scale_y) / scale_y without rounding, mask on y * scale_y."""
    real = y.dtype.type
    low, high = code_limits(bits)
    again = scaled(y, y_scale)
    passes: Mask = (again >= low) & (again <= high)
    return _over(np.clip(again, real(low), real(high)), y_scale), passes


def _over(values: Reals, scale: float) -> Reals:
    quotient: Reals = values / values.dtype.type(scale)
    return quotient
