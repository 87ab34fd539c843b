# SPDX-License-Identifier: Apache-2.0
"""Rules made from a gain: the array readout of the WTM2101 and its relatives."""

from __future__ import annotations

from typing import Final

from bittwin._check import choice, positive_real
from bittwin.requant.limits import code_limits, log2_gain, power_of_two
from bittwin.requant.rule import STORES, Requant

#: Rules that `by_name` builds from a gain alone.
RULES: Final = (
    "readout",
    "readout_wrap16",
    "half_even",
    "half_up",
    "half_away",
    "floor",
    "toward_zero",
)


def readout(
    gain: int, *, bits: int = 8, overflow: str = "saturate", store: str = "saturate"
) -> Requant:
    """The array readout of the WTM2101: quarter codes truncated toward zero, then half up.

    A positive accumulator rounds half up; a negative one steps at -0.75, -1.75, ... (docs/spec/readout.md).

    Args:
        gain: accumulator units per output code, a power of two in 256..32768.
        bits: width of the output code, 2..16.
        overflow: ``saturate``: exact; ``wrap16``: the converter code is kept in 16 bits, as in the chip's
            C-model, so that ``|acc| >= 8192 * gain`` changes sign.
        store: ``saturate``, or ``wrap_u8``, the C-model's unsigned store (then 8 bits, codes 0..255).

    Raises:
        TypeError: gain is no integer.
        ValueError: a value outside what is stated.

    Source: measured; equal on 1.12 million outputs of the chip C-model and on the mapper's dumps.

    >>> import numpy as np, bittwin
    >>> bittwin.requantize(np.array([128, -128, -192], np.int32), bittwin.readout(256))
    array([ 1,  0, -1], dtype=int8)
    """
    shift = log2_gain(gain, 256, 32768) - 2
    wrap = choice("overflow", overflow, ("saturate", "wrap16")) == "wrap16"
    lo, hi = code_limits(bits)
    if choice("store", store, STORES) == "wrap_u8":
        if bits != 8:
            raise ValueError(f"bits: found {bits}, the unsigned store wants 8")
        lo, hi = code_limits(8, signed=False)
    return Requant(
        rule="readout_wrap16" if wrap else "readout",
        shift1=(shift,),
        rounding1="toward_zero",
        middle="wrap16" if wrap else "exact",
        shift2=(2,),
        rounding2="half_up",
        store=store,
        gain=int(gain),
        lo=lo,
        hi=hi,
    )


def half_even(gain: int | float, *, bits: int = 8) -> Requant:
    """Round-half-even of ``acc / gain`` in pure integers: the training tool with power-of-two scales.

    Args:
        gain: accumulator units per output code, a power of two from 2^-16 to 2^30 (a fraction multiplies).
        bits: width of the output code, 2..16.

    >>> import numpy as np, bittwin
    >>> bittwin.requantize(np.array([384, 640, -384], np.int32), bittwin.half_even(256))
    array([ 2,  2, -2], dtype=int8)
    """
    return single_rounding("half_even", "half_even", gain, bits)


def single_rounding(rule: str, rounding: str, gain: int | float, bits: int) -> Requant:
    """One rounding of acc / gain; a gain below 1 multiplies."""
    exponent = power_of_two("gain", gain, -16, 30)
    multiplier, shift = 1 << max(-exponent, 0), max(exponent, 0)
    kept = float(gain) if exponent < 0 else int(gain)
    lo, hi = code_limits(bits)
    return Requant(
        rule=rule,
        multiplier=(multiplier,),
        shift1=(shift,),
        rounding1=rounding,
        gain=kept,
        lo=lo,
        hi=hi,
    )


def half_even_f32(scale_product: float, codes_per_unit: float, *, bits: int = 8) -> Requant:
    """The training tool's float32 order for scales that are not powers of two.

    ``clip(half_even(fl32(fl32(acc / scale_product) * codes_per_unit)))``, every step one float32 rounding:
    the one rule in bittwin with floats between codes (docs/spec/half_even_f32.md).

    Args:
        scale_product: accumulator units per real unit, the tool's ``scale_x * scale_weight * G_algo``.
        codes_per_unit: output codes per real unit, the tool's ``scale_y``.
        bits: width of the output code, 2..16.

    >>> import numpy as np, bittwin
    >>> bittwin.requantize(np.array([5], np.int32), bittwin.half_even_f32(3.0, 1.5))
    array([2], dtype=int8)
    """
    lo, hi = code_limits(bits)
    return Requant(
        rule="half_even_f32",
        scale_product=positive_real("scale_product", scale_product),
        codes_per_unit=positive_real("codes_per_unit", codes_per_unit),
        lo=lo,
        hi=hi,
    )


def by_name(rule: str, gain: int, *, bits: int = 8) -> Requant:
    """Build one of `RULES` from a gain: what ``bittwin verify --rounding`` takes.

    >>> from bittwin.requant import by_name
    >>> str(by_name("half_up", 1024))
    'half_up(gain=1024, bits=8)'
    """
    choice("rule", rule, RULES)
    if rule.startswith("readout"):
        return readout(
            gain, bits=bits, overflow="wrap16" if rule == "readout_wrap16" else "saturate"
        )
    return single_rounding(rule, rule, gain, bits)


def wtm1001(gain: int, *, bits: int = 8) -> Requant:
    """The older WTM1001: half even of acc / gain (equal on 414,960 outputs of one of its maps)."""
    return single_rounding("wtm1001", "half_even", gain, bits)
