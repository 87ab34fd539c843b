# SPDX-License-Identifier: Apache-2.0
"""The mapper's sparse modes: weights that the array cannot hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import INPUT_DTYPES, WEIGHT_DTYPES, choice, dense_array, in_range, integer
from bittwin.functional import accumulate, linear, requantize
from bittwin.requant import ROUNDINGS, Requant
from bittwin.split import split_rule

SPARSE_MODES = ("SIM", "MIX", "DIG")
LOW_PARTS = ("signed", "unsigned")
ADDS = ("after rounding", "before rounding")
BIAS_SIDES = ("array", "digital")


def split_weight(
    weight: NDArray[Any], bits: int = 8, *, low: str = "signed"
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """The two parts of ``w = high * 2^bits + low`` (sparse mode MIX).

    Args:
        weight: any shape, int8 or int16.
        bits: 1..8.
        low: ``signed``: -2^(bits-1)..2^(bits-1)-1, or ``unsigned``: 0..2^bits-1. What the mapper takes is
            unknown; signed leaves the high part sparse.

    >>> import numpy as np
    >>> from bittwin.optimize import split_weight
    >>> [p.tolist() for p in split_weight(np.array([127, 128, -129], np.int16))]
    [[127, -128, 127], [0, 1, -1]]
    """
    w = dense_array("weight", weight, WEIGHT_DTYPES).astype(np.int32)
    width = integer("bits", bits, 1, 8)
    offset = 1 << (width - 1) if choice("low", low, LOW_PARTS) == "signed" else 0
    high = (w + offset) >> width
    return (w - (high << width)).astype(np.int16), high.astype(np.int16)


def sparse_linear(
    x: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[np.int32] | None,
    requant: Requant,
    *,
    mode: str = "SIM",
    bits: int = 8,
    low: str = "signed",
    bias_side: str = "array",
    add: str = "after rounding",
    high_rounding: str = "half_even",
    x_bits: int | None = None,
) -> NDArray[Any]:
    """A linear layer in one of the mapper's sparse modes.

    ``SIM``: all on the array. ``MIX``: the low part on the array, the high part digital, ``high =
    round(2^bits * (weight_high x) / gain)``, joined before the one saturation. ``DIG``: all digital.

    Args:
        x: [..., in] input codes.
        weight: [out, in] int8 or int16; SIM within +-275, DIG within -128..127. MIX: any, since its low part
            fits the cells; what the mapper's limit is, is unknown.
        bias: [out] int32 in accumulator units, or None.
        requant: ``readout`` or ``half_even``.
        mode: ``SIM``, ``MIX`` or ``DIG``.
        bits: see `split_weight`.
        low: see `split_weight`.
        bias_side: which side of MIX holds the bias: ``array`` or ``digital``.
        add: where the digital part joins: ``after rounding`` (measured on the C-model) or ``before
            rounding``, the plain product.
        high_rounding: of the digital part; what the chip does is unknown.
        x_bits: width of the input codes, see `bittwin.accumulate`.

    Raises:
        ValueError: weights that the mode cannot hold, a requantiser without one gain.

    >>> import numpy as np, bittwin
    >>> from bittwin.optimize import sparse_linear
    >>> x, w = np.array([[100]], np.uint8), np.array([[256]], np.int16)
    >>> [int(sparse_linear(x, w, None, bittwin.readout(256), mode=m)[0, 0]) for m in ("SIM", "MIX")]
    [100, 100]
    """
    choice("mode", mode, SPARSE_MODES)
    w = dense_array("weight", weight, WEIGHT_DTYPES, 2)
    codes = dense_array("x", x, INPUT_DTYPES)
    if mode != "MIX":
        in_range("weight", w, *((-128, 127) if mode == "DIG" else (-275, 275)))
    if mode == "SIM" or (mode == "MIX" and choice("add", add, ADDS) == "before rounding"):
        return linear(codes, w, bias, requant, x_bits=x_bits)
    split_rule(requant, None, choice("high_rounding", high_rounding, ROUNDINGS))
    if requant.scale_product is not None:
        raise ValueError(f"requant: found {requant}, wanted readout or half_even")
    digital = Requant(
        rule="digital part",
        multiplier=(1 << bits if mode == "MIX" else 1,),
        shift1=(requant.shift1[0] + requant.shift2[0],),
        rounding1=high_rounding,
        lo=-(1 << 15),
        hi=(1 << 15) - 1,
    )
    if mode == "DIG":
        high = requantize(accumulate(codes, w, bias, x_bits=x_bits), digital)
        return linear(codes, np.zeros_like(w), None, requant, high=high, x_bits=x_bits)
    w_low, w_high = split_weight(w, bits, low=low)
    on_array = choice("bias_side", bias_side, BIAS_SIDES) == "array"
    acc = accumulate(codes, w_high, None, x_bits=x_bits)
    if not on_array and bias is not None:
        # 2^bits * acc + bias, which Requant would otherwise only shift: exact in 64 bits.
        wide = (acc.astype(np.int64) << bits) + dense_array("bias", bias, ("int32",), 1)
        if wide.size and np.abs(wide).max() > np.iinfo(np.int32).max:
            raise ValueError("bias: found a digital part outside INT32, wanted it inside")
        acc, digital = wide.astype(np.int32), replace(digital, multiplier=(1,))
    high = requantize(acc, digital)
    return linear(codes, w_low, bias if on_array else None, requant, high=high, x_bits=x_bits)
