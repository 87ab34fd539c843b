# SPDX-License-Identifier: Apache-2.0
"""Checks of what only the contract headers offer on their own: roundings, wraps, input bytes."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
from contract.requant_checks import assert_same
from shim_library import ShimLibrary

from bittwin.testing import oracle

INT64 = (-(2**63), 2**63 - 1)


def check_round_shift(impl: ShimLibrary) -> None:
    for mode, shift in product(oracle.ROUNDINGS, (0, 1, 2, 3, 31, 61, 62)):
        unit = 2**shift
        values = {n * unit // 4 + d for n in range(-14, 15) for d in (-1, 0, 1)} | set(INT64)
        v = np.array(sorted(v for v in values if INT64[0] <= v <= INT64[1]), dtype=np.int64)
        wanted = oracle.round_shift(v, shift, mode)
        assert_same(impl.round_shift(v, shift, mode), wanted, f"{mode} by {shift}", v)


def check_round_real(impl: ShimLibrary) -> None:
    below = [np.nextafter(n / 2, d) for n in range(-9, 10) for d in (-np.inf, np.inf)]
    v = np.array([n / 4 for n in range(-18, 19)] + below + [2.0**52 + 1, -(2.0**52) - 1, 1e-300])
    for mode in oracle.ROUNDINGS:
        wanted = [oracle.round_fraction(Fraction(float(a)), mode) for a in v]
        assert_same(impl.round_real(v, mode), wanted, f"{mode} of reals", v)


def check_wraps(impl: ShimLibrary) -> None:
    near = [
        n * 2**bits + d for bits in (15, 16, 31, 32) for n in (-3, -1, 0, 1, 2) for d in (-1, 0)
    ]
    v = np.array([*near, *INT64], dtype=np.int64)
    assert_same(impl.wrap(v, 16), oracle.wrap16(v), "16-bit wrap", v)
    assert_same(impl.wrap(v, 32), oracle.wrap32(v), "32-bit wrap", v)


def check_dac(impl: ShimLibrary) -> None:
    byte = np.arange(256)
    for signed, invert, doubled in product((False, True), repeat=3):
        kind = "signed" if signed else "unsigned"
        wanted = oracle.dac(byte, kind, invert=invert, double=doubled)
        got = impl.dac(byte, signed, invert, doubled)
        assert_same(got, wanted, f"dac {kind} invert {invert} double {doubled}", byte)


def check_post_adder(impl: ShimLibrary) -> None:
    byte = np.arange(256)
    for right, num in product((False, True), (0, 1, 7)):
        wanted = oracle.post_adder_shift(byte, num, left=not right)
        assert_same(impl.post_adder(byte, right, num), wanted, f"post-adder shift {num}", byte)


def check_split_parts(impl: ShimLibrary) -> None:
    x = np.arange(-4096, 4097)
    for got, wanted, name in zip(
        impl.split(x), oracle.split_input(x), ("low", "high"), strict=True
    ):
        assert_same(got, wanted, f"{name} part of the split", x)


def check_quantize_value(impl: ShimLibrary) -> None:
    """Codes and `inside` of training inputs: two float32 roundings, then half even."""
    cases = (
        (1.0, 0, (0, 255)),
        (100.3, 0, (-255, 255)),
        (7.77, 77, (0, 1023)),
        (64.0, 128, (0, 255)),
    )
    for per_unit, shift, (lo, hi) in cases:
        ends = [lo - 1, lo - 0.5, lo, lo + 0.5, hi - 0.5, hi, hi + 0.4, hi + 0.5, hi + 1]
        wanted_codes = np.array([*ends, *np.arange(lo - 3, hi + 3, 0.25)]) - shift
        v = (wanted_codes / per_unit).astype(np.float32)
        v = np.concatenate([v, np.nextafter(v, np.float32(9e9)), np.nextafter(v, np.float32(-9e9))])
        v = np.append(v, np.array([np.inf, -np.inf], np.float32))
        scaled = v * np.float32(per_unit) + np.float32(shift)
        limited = [Fraction(float(s)) for s in np.clip(scaled, lo - 9, hi + 9)]
        codes = [min(max(round(s), lo), hi) for s in limited]
        inside = [int(lo <= s <= hi) for s in limited]
        got_codes, got_inside = impl.quantize_value(v, per_unit, shift, (lo, hi))
        assert_same(got_codes, codes, f"input codes at {per_unit} + {shift}", v)
        assert_same(got_inside, inside, f"inside at {per_unit} + {shift}", v)


def check_inside_limits(impl: ShimLibrary) -> None:
    """The number before rounding decides, the ends themselves are inside."""
    for rule, gain, bits in product(("readout", "half_even"), (256, 8192), (8, 12)):
        lo, hi = oracle.code_range(bits)
        near = [
            end * gain + d for end in (lo, hi) for d in (-gain // 2, -1, 0, 1, gain // 4, gain // 2)
        ]
        acc = np.array([*near, 0, -1, 2**31 - 1, -(2**31)], np.int64).astype(np.int32)
        wanted = [int(lo * gain <= int(a) <= hi * gain) for a in acc]
        got = impl.inside_limits(acc, gain, rule, bits)
        assert_same(got, wanted, f"inside of {rule} at gain {gain}", acc)


HEADER_CHECKS = (
    check_round_shift,
    check_round_real,
    check_wraps,
    check_dac,
    check_post_adder,
    check_split_parts,
    check_quantize_value,
    check_inside_limits,
)
