# SPDX-License-Identifier: Apache-2.0
"""All 2^32 accumulators through every vector epilogue (`make test-exhaustive`; minutes).

Each rule here never falls while the accumulator rises, so the contract header, asked by bisection,
says where each code begins; between those borders every accumulator is compared. Rules that do fall
(wrap16) are compared with the header one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract.kernel_cases import Array, every_fast_kernel
from thresholds import repeated

import bittwin
from bittwin import _core
from bittwin.requant import ROUNDINGS, Requant

pytestmark = pytest.mark.exhaustive

INT32 = (-(2**31), 2**31)
BLOCK = 1 << 20  # accumulators and codes stay in the L2 cache
GAINS = tuple(2**n for n in range(8, 16))
Wanted = Callable[[Array, int], Array]  # accumulators from a start on -> codes


def codes_of(acc: Array, requant: Requant, out: Array) -> None:
    """Through the active kernel: one run, or rows of channels where parameters are per channel."""
    channels = requant.channels
    layout = (1, 1, acc.size) if channels == 1 else (acc.size // channels, channels, 1)
    _core.requantize_into(acc, None, out, *layout, requant.core)


def by_reference(acc: Array, requant: Requant) -> Array:
    out = np.empty(acc.shape, requant.dtype)
    _core.force_kernel("ref")
    try:
        _core.requantize_into(acc, None, out, 1, 1, acc.size, requant.core)
    finally:
        _core.force_kernel("")
    return out


def header_borders(requant: Requant) -> tuple[Array, Array]:
    """First accumulator of every code above the lowest, by bisection of the contract header."""
    codes = np.arange(requant.lo + 1, requant.hi + 1)
    low = np.full(codes.shape, INT32[0] - 1)  # below the code
    high = np.full(codes.shape, INT32[1])  # at or above it; 2^31: never reached
    while (high - low > 1).any():
        middle = (low + high) // 2
        reached = by_reference(middle.astype(np.int32), requant) >= codes
        high = np.where(reached, middle, high)
        low = np.where(reached, low, middle)
    return high, codes


def rising(requant: Requant) -> Wanted:
    first, codes = header_borders(replace_channels(requant))
    dtype = requant.dtype
    return lambda acc, start: repeated(first, codes, start, start + acc.size, dtype)


def falling(requant: Requant) -> Wanted:
    return lambda acc, start: by_reference(acc, requant)


def replace_channels(requant: Requant) -> Requant:
    """The rule of one channel; all channels are alike here."""
    parts = {n: getattr(requant, n)[:1] for n in ("lsh", "multiplier", "shift1", "shift2")}
    return replace(requant, **parts)


def sweep(kernel: str, rules: Sequence[tuple[Requant, Wanted]]) -> None:
    acc = np.arange(INT32[0], INT32[0] + BLOCK, dtype=np.int32)
    outs = [np.empty(BLOCK, requant.dtype) for requant, _ in rules]
    for start in range(INT32[0], INT32[1], BLOCK):
        _core.force_kernel(kernel)
        for (requant, _), out in zip(rules, outs, strict=True):
            codes_of(acc, requant, out)
        _core.force_kernel("")
        for (requant, wanted), out in zip(rules, outs, strict=True):
            right = wanted(acc, start)
            if not np.array_equal(out, right):
                at = int(np.flatnonzero(out != right)[0])
                pytest.fail(f"{requant}: acc {acc[at]} gave {out[at]}, wanted {right[at]}")
        if start + BLOCK < INT32[1]:
            acc += np.int32(BLOCK)


def one_stage(gain: int, rounding: str) -> Requant:
    return Requant(rounding, shift1=(gain.bit_length() - 1,), rounding1=rounding)


@every_fast_kernel
@pytest.mark.parametrize("gain", GAINS)
def test_every_rounding_of_every_accumulator(kernel: str, gain: int) -> None:
    rules = [Requant("readout", shift1=(gain.bit_length() - 3,), rounding1="toward_zero", shift2=(2,)),
             *(one_stage(gain, rounding) for rounding in ROUNDINGS)]  # fmt: skip
    assert rules[0].shift1 == (gain.bit_length() - 3,)
    sweep(kernel, [(requant, rising(requant)) for requant in rules])


@every_fast_kernel
@pytest.mark.parametrize("gain", [256, 4096, 32768])
def test_wrapping_readout_of_every_accumulator(kernel: str, gain: int) -> None:
    requant = replace(
        Requant("wrap16", shift1=(gain.bit_length() - 3,), rounding1="toward_zero", shift2=(2,)),
        middle="wrap16",
    )
    sweep(kernel, [(requant, falling(requant))])


def wide_rules() -> list[Requant]:
    """Rules for the 64-bit loops and the float32 loop: multipliers, channels, wide and narrow codes."""
    litert = Requant("multiplied", multiplier=(1518500250,), shift1=(31,), rounding1="half_away",
                     middle="clip32", shift2=(9,), rounding2="half_even", zero_point=-3)  # fmt: skip
    many = (4096,)
    channels = replace(litert, multiplier=litert.multiplier * many[0])
    return [
        litert,
        channels,
        replace(litert, lo=0, hi=255, zero_point=128),
        bittwin.half_even_f32(256.0, 1.0),
        bittwin.half_even_f32(9.23 * 37, 1.25),
        bittwin.half_even_f32(900.5, 3.75, bits=12),
    ]


@every_fast_kernel
@pytest.mark.parametrize("number", range(6))
def test_wide_and_float_rules_of_every_accumulator(kernel: str, number: int) -> None:
    requant: Any = wide_rules()[number]
    sweep(kernel, [(requant, rising(requant))])
