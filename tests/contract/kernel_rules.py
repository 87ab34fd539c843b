# SPDX-License-Identifier: Apache-2.0
"""Requantisers for kernel tests: every parameter of both rules, out of proportion on purpose."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from bittwin.requant import MIDDLES, ROUNDINGS, Requant
from contract.kernel_cases import OUT_TYPES

INT32 = (-(2**31), 2**31 - 1)
roundings = st.sampled_from(ROUNDINGS)
shifts = st.one_of(st.integers(0, 16), st.integers(0, 62))
multipliers = st.one_of(
    st.just(1),
    st.sampled_from([-1, 3, 2**30 + 12345, INT32[0], INT32[1]]),
    st.integers(*INT32),
)


def limits_of(dtype: Any) -> tuple[int, int]:
    """Codes that an output dtype can hold; float32: those it holds exactly, and a little more."""
    if np.dtype(dtype).kind == "f":
        return -(2**25), 2**25
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


@st.composite
def ends_within(draw: Any, dtype: Any) -> tuple[int, int]:
    """lo <= hi: all the dtype holds, the codes of some width, or anything."""
    low, high = limits_of(dtype)
    kind = draw(st.sampled_from(["all", "width", "any"]))
    if kind == "width":
        bits = draw(st.integers(1, 16))
        ends = (0, 2**bits - 1) if low == 0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        return max(low, ends[0]), min(high, ends[1])
    if kind == "any":
        a, b = draw(st.integers(low, high)), draw(st.integers(low, high))
        return min(a, b), max(a, b)
    return low, high


@st.composite
def rules(draw: Any, dtype: Any, channels: int = 1, kinds: Any = None) -> Requant:
    """A requantiser for an output dtype; `channels` above 1 allows parameters per channel."""
    every = ["readout", "one_stage", "two_stage", "half_even_f32", "multiplied", "per_channel"]
    if np.dtype(dtype) in (np.dtype(np.uint8), np.dtype(np.int32), np.dtype(np.float32)):
        every.append("wrap_u8")
    kind = draw(st.sampled_from(kinds or every))
    lo, hi = draw(ends_within(dtype))
    zero_point = draw(st.sampled_from([0, 0, 1, -7, 128, *INT32]))
    log2 = draw(st.integers(0, 15))
    if kind == "half_even_f32":
        product = draw(st.sampled_from([256.0, 9.23 * 37, 7.0, 1e-20, 3e9]))
        per_unit = draw(st.sampled_from([1.0, 3.5, 37.0, 1e-9, 1e9]))
        return Requant(kind, lo=lo, hi=hi, scale_product=product, codes_per_unit=per_unit)
    if kind in ("readout", "wrap_u8"):
        return Requant(
            kind,
            shift1=(max(log2 - 2, 0),),
            rounding1="toward_zero",
            middle=draw(st.sampled_from(["exact", "wrap16"])),
            shift2=(2,),
            rounding2="half_up",
            lo=0 if kind == "wrap_u8" else lo,
            hi=255 if kind == "wrap_u8" else hi,
            store="wrap_u8" if kind == "wrap_u8" else "saturate",
        )
    count = channels if kind == "per_channel" else 1
    spread = {"lsh": st.just(0), "multiplier": st.just(1), "shift1": shifts, "shift2": shifts}
    if kind == "one_stage":
        spread["shift2"] = st.just(0)
    if kind in ("multiplied", "per_channel"):
        spread["lsh"] = st.sampled_from([0, 0, 0, 1, 5, 31])
        spread["multiplier"] = multipliers
    drawn = {name: tuple(draw(s) for _ in range(count)) for name, s in spread.items()}
    return Requant(
        kind,
        rounding1=draw(roundings),
        middle=draw(st.sampled_from(MIDDLES)),
        rounding2=draw(roundings),
        zero_point=zero_point,
        lo=lo,
        hi=hi,
        **drawn,
    )


out_types = st.sampled_from(OUT_TYPES)


@st.composite
def splits(draw: Any, requant: Requant) -> tuple[Any, ...]:
    """Arguments of `_core.SplitRule` that go with a requantiser."""
    low = draw(st.sampled_from([None, (-128, 127), (-512, 511), (-3, 9), (0, 255)]))
    whole = 0.0
    if requant.scale_product is not None:
        whole = draw(st.sampled_from([1.0, 9.0, 341.0, 2.0**24 + 2]))
    return low, draw(st.integers(0, 20)), whole, draw(st.integers(0, len(ROUNDINGS) - 1))
