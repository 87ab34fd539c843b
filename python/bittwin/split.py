# SPDX-License-Identifier: Apache-2.0
"""Layers with 9..12-bit inputs: a low and a high round, added (docs/spec/split.md)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import bias_array, choice, dense_array, in_range, integer
from bittwin._conv_settings import conv_settings
from bittwin._products import Finish, conv_product, linear_product, rule_argument
from bittwin.packed import Weight
from bittwin.requant import ROUNDINGS, Requant


def split_linear(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None,
    requant: Requant,
    *,
    x_bits: int,
    bias_digital: NDArray[np.int32] | None = None,
    low_bits: int | None = None,
    high_rounding: str = "half_even",
    out: NDArray[Any] | None = None,
    overflow: str = "refuse",
) -> NDArray[Any]:
    """A linear layer with 9..12-bit inputs, in two rounds (docs/spec/split.md).

    The input is split by sign and magnitude into its low 8 bits, an analog round, and the bits above, a
    digital one::

        low  = sum(x_lo * w) + bias                     requantised, limited to low_bits where given
        high = (256 * sum(x_hi * w) + bias_digital) / gain, rounded
        y    = saturate(low + high)

    Args:
        x: [..., in] uint16 or int16 codes; unsigned 0..2^x_bits - 1, signed +-(2^x_bits - 1).
        weight: [out, in] int8 or int16.
        bias: [out] int32: the part of the bias that enters the array (low) round, or None.
        requant: a rule made by ``readout``, ``half_even`` or ``half_even_f32``.
        x_bits: 9..12.
        bias_digital: [out] int32: the part of the bias that enters the digital (high) round, or None.
        low_bits: width that the low code saturates to before the sum, or 0 for none. Default: none for
            ``readout`` (the chip's adder), the output's width for ``half_even*`` (the training tool).
        high_rounding: rounding of the digital part. What the chip does is not known; ``half_even`` is
            the training tool's. Not used by half_even_f32, which has its own order.
        out: [..., out] to write into, as in `linear`.
        overflow: as in `linear`, for both accumulators.

    Returns:
        [..., out] codes of requant.dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, codes outside x_bits, a requantiser that has no gain.

    >>> import numpy as np, bittwin
    >>> x, w = np.array([[259]], np.uint16), np.array([[256]], np.int16)
    >>> bittwin.split_linear(x, w, None, bittwin.half_even(512, bits=10), x_bits=10)
    array([[130]], dtype=int16)
    """
    rule = split_rule(requant, low_bits, high_rounding)
    finish = Finish(requant, None, rule, bias_digital)
    return linear_product(x, weight, bias, finish, out, overflow, x_bits)


def split_conv2d(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None,
    requant: Requant,
    *,
    x_bits: int,
    bias_digital: NDArray[np.int32] | None = None,
    low_bits: int | None = None,
    high_rounding: str = "half_even",
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    pad_value: int = 0,
    out: NDArray[Any] | None = None,
    layout: str = "NCHW",
    overflow: str = "refuse",
) -> NDArray[Any]:
    """A convolution with 9..12-bit inputs in two rounds: `split_linear` at every position.

    Args:
        x: [N, C, H, W] uint16 or int16 codes.
        weight: [O, C / groups, kh, kw] int8 or int16.
        bias: [O] int32, the array part, or None.
        requant: see `split_linear`; so are x_bits, bias_digital, low_bits, high_rounding and overflow.
        x_bits: 9..12.
        bias_digital: [O] int32, the digital part, or None.
        low_bits: see `split_linear`.
        high_rounding: see `split_linear`.
        stride: one integer or (height, width); so is dilation.
        padding: as in `bittwin.conv2d`; so are groups, out and layout.
        dilation: see stride.
        groups: number of channel groups.
        pad_value: the whole code that padding holds; it is split like the input.
        out: see padding.
        layout: ``NCHW`` or ``NHWC``.
        overflow: see `split_linear`.

    Returns:
        [N, O, out_h, out_w] codes of requant.dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: as `split_linear` and `bittwin.conv2d`.

    >>> import numpy as np, bittwin
    >>> x, w = np.full((1, 1, 1, 2), 259, np.uint16), np.full((1, 1, 1, 2), 64, np.int8)
    >>> bittwin.split_conv2d(x, w, None, bittwin.readout(256, bits=10), x_bits=10)
    array([[[[130]]]], dtype=int16)
    """
    rule = split_rule(requant, low_bits, high_rounding)
    settings = conv_settings(stride, padding, dilation, 0, groups)
    return conv_product(
        False, x, weight, bias, settings, Finish(requant, None, rule, bias_digital),
        pad_value=pad_value, out=out, layout=layout, overflow=overflow, x_bits=x_bits,
    )  # fmt: skip


def split_conv_transpose2d(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None,
    requant: Requant,
    *,
    x_bits: int,
    bias_digital: NDArray[np.int32] | None = None,
    low_bits: int | None = None,
    high_rounding: str = "half_even",
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] = 0,
    output_padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    out: NDArray[Any] | None = None,
    layout: str = "NCHW",
    overflow: str = "refuse",
) -> NDArray[Any]:
    """A transposed convolution with 9..12-bit inputs in two rounds; see `split_conv2d`.

    Args:
        x: [N, C, H, W] uint16 or int16 codes.
        weight: [C, O, kh, kw] int8 or int16.
        bias: [O] int32, the array part, or None.
        requant: see `split_linear`; so are x_bits, bias_digital, low_bits, high_rounding and overflow.
        x_bits: 9..12.
        bias_digital: [O] int32, the digital part, or None.
        low_bits: see `split_linear`.
        high_rounding: see `split_linear`.
        stride: as in `bittwin.conv_transpose2d`; so are padding, output_padding, dilation, out and layout.
        padding: see stride.
        output_padding: see stride.
        dilation: see stride.
        out: see stride.
        layout: ``NCHW`` or ``NHWC``.
        overflow: see `split_linear`.

    Returns:
        [N, O, out_h, out_w] codes of requant.dtype.

    >>> import numpy as np, bittwin
    >>> x, w = np.full((1, 1, 1, 1), 512, np.uint16), np.full((1, 1, 1, 2), 64, np.int8)
    >>> bittwin.split_conv_transpose2d(x, w, None, bittwin.readout(256, bits=10), x_bits=10)
    array([[[[128, 128]]]], dtype=int16)
    """
    rule = split_rule(requant, low_bits, high_rounding)
    settings = conv_settings(stride, padding, dilation, output_padding, 1)
    return conv_product(
        True, x, weight, bias, settings, Finish(requant, None, rule, bias_digital),
        pad_value=0, out=out, layout=layout, overflow=overflow, x_bits=x_bits,
    )  # fmt: skip


def split_codes(x: NDArray[Any], x_bits: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sign-magnitude parts of 9..12-bit codes: the low 8 bits and the bits above.

    >>> import numpy as np
    >>> from bittwin.split import split_codes
    >>> [part.tolist() for part in split_codes(np.array([-300, 259], np.int16), 10)]
    [[-44, 3], [-1, 1]]
    """
    limit = (1 << integer("x_bits", x_bits, 9, 12)) - 1
    codes = dense_array("x", x, ("uint16", "int16"))
    in_range("x", codes, 0 if codes.dtype == np.uint16 else -limit, limit)
    x_lo, x_hi = _core.split(codes.astype(np.int16, copy=False))
    if codes.dtype == np.uint16:  # without negative codes both parts are bytes
        return x_lo.astype(np.uint8), x_hi.view(np.uint8)
    return x_lo, x_hi


def split_rule(requant: Requant, low_bits: int | None, high_rounding: str) -> _core.SplitRule:
    """How two rounds become one code; refuses a requantiser whose gain is not a whole power of two."""
    plain = type(requant) is Requant and isinstance(high_rounding, str)
    if plain and (low_bits is None or type(low_bits) is int):  # True is 1 to a dictionary
        return _known_split_rule(requant, low_bits, high_rounding)
    return _split_rule(rule_argument(requant), low_bits, high_rounding)


def _split_rule(requant: Requant, low_bits: int | None, high_rounding: str) -> _core.SplitRule:
    rounding = ROUNDINGS.index(choice("high_rounding", high_rounding, ROUNDINGS))
    limits = _low_limits(requant, low_bits)
    if requant.scale_product is not None and requant.codes_per_unit is not None:
        # The tool divides the digital part by a gain that it first rounds to an integer.
        ratio = requant.scale_product / requant.codes_per_unit
        whole_gain = float(np.rint(ratio))
        if not 1 <= whole_gain < 2.0**127:
            raise ValueError(
                f"requant: found the gain {ratio:g}, which the digital part rounds to {whole_gain:g}; "
                "wanted at least 0.5"
            )
        return _core.SplitRule(limits, 0, whole_gain, rounding)
    plain = (
        requant.channels == 1
        and requant.lsh == (0,)
        and requant.multiplier == (1,)
        and requant.zero_point == 0
        and requant.store == "saturate"
    )
    if not plain:
        raise ValueError(
            f"requant: found {requant}, a split layer wants readout, half_even or half_even_f32 "
            "(one gain, a power of two of at least 1)"
        )
    return _core.SplitRule(limits, requant.shift1[0] + requant.shift2[0], 0.0, rounding)


_known_split_rule = lru_cache(maxsize=256)(_split_rule)


def _low_limits(requant: Requant, low_bits: int | None) -> tuple[int, int] | None:
    if low_bits is None:
        return None if requant.rule.startswith("readout") else (requant.lo, requant.hi)
    if integer("low_bits", low_bits, 0, 16) == 0:
        return None
    if low_bits == 1:
        raise ValueError("low_bits: found 1, wanted 0 (no limit) or 2..16")
    return -(1 << (low_bits - 1)), (1 << (low_bits - 1)) - 1


def add_parts(
    acc_low: NDArray[np.int32],
    acc_high: NDArray[np.int32],
    bias_digital: NDArray[np.int32] | None,
    requant: Requant,
    rule: _core.SplitRule,
    axis: int,
) -> NDArray[Any]:
    """Codes of the two accumulators; `axis` counts the output channels of bias_digital."""
    shape = acc_low.shape
    axis %= len(shape)
    digital = bias_array(bias_digital, shape[axis], "bias_digital")
    out = np.empty(shape, requant.dtype)
    outer = math.prod(shape[:axis])
    inner = math.prod(shape[axis + 1 :])
    _core.split_requantize_into(
        acc_low, acc_high, digital, out, outer, shape[axis], inner, requant.core, rule
    )
    return out
