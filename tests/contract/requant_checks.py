# SPDX-License-Identifier: Apache-2.0
"""Checks of the requantisers against the oracle: every tie, every end, every order of steps."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from bittwin.testing import oracle
from contract.implementation import Array, Requantisers, Stages

INT32 = (-(2**31), 2**31 - 1)


def assert_same(got: Any, wanted: Any, what: str, where: Any = None) -> None:
    """Compare two arrays exactly; the message shows the first difference."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, f"{what}: shape {got.shape}, wanted {wanted.shape}"
    different = np.nonzero((got != wanted).reshape(-1))[0]
    if different.size:
        at = int(different[0])
        source = "" if where is None else f" for {np.asarray(where).reshape(-1)[at]}"
        raise AssertionError(
            f"{what}: {different.size} of {got.size} differ; first at {at}{source}: "
            f"found {got.reshape(-1)[at]}, wanted {wanted.reshape(-1)[at]}"
        )


def int32(values: Any) -> Array:
    """Integers as int32, those outside dropped."""
    kept = [v for v in values if INT32[0] <= v <= INT32[1]]
    return np.array(sorted(set(kept)), dtype=np.int32)


def steps(gain: int, bits: int = 8) -> Array:
    """Accumulators at and around every quarter step near zero and near the ends of the codes."""
    ends = [0, -(2 ** (bits - 1)), 2 ** (bits - 1)]
    quarters = [4 * end + q for end in ends for q in range(-10, 11)]
    quarters += [4 * end for end in (-8192, 8192, -8193, 8191, -16384, 16384)]
    near = {max(1, gain // 4) * q + d for q in quarters for d in (-2, -1, 0, 1, 2)}
    return int32(near | set(INT32))


def check_readout(impl: Requantisers) -> None:
    for gain in oracle.READOUT_GAINS:
        for bits, overflow in product((8, 10, 16), ("saturate", "wrap16")):
            acc = steps(gain, bits)
            got = impl.readout(acc, gain, bits, overflow)
            wanted = oracle.readout(acc, gain, bits, overflow)
            assert_same(got, wanted, f"readout gain {gain} bits {bits} {overflow}", acc)


def check_high_joins_before_the_clamp(impl: Requantisers) -> None:
    acc = steps(256)
    for value in (-32768, -200, -1, 1, 100, 32767):
        high = np.full(acc.shape, value, dtype=np.int32)
        got = impl.readout(acc, 256, 8, "saturate", high)
        assert_same(got, oracle.readout(acc, 256, high=high), f"readout with high {value}", acc)
        got = impl.half_even(acc, 256, 8, high)
        assert_same(got, oracle.half_even(acc, 256, high=high), f"half_even with high {value}", acc)
        small = acc[np.abs(acc) < 2**24]
        digital = high[: small.size]
        got = impl.half_even_f32(small, 256.0, 1.0, 8, digital)
        wanted = oracle.half_even_f32(small, 256.0, 1.0, high=digital)
        assert_same(got, wanted, f"half_even_f32 with high {value}", small)


def check_unsigned_store(impl: Requantisers) -> None:
    for gain in (256, 4096):
        acc = steps(gain, 9)
        got = impl.unsigned_store(acc, gain)
        assert_same(got, oracle.unsigned_store(acc, gain), f"unsigned store gain {gain}", acc)
        high = np.resize(np.array([-300, 5, 300], dtype=np.int32), acc.shape)
        got = impl.unsigned_store(acc, gain, high)
        wanted = oracle.unsigned_store(acc, gain, high=high)
        assert_same(got, wanted, f"unsigned store with high, gain {gain}", acc)


def check_half_even(impl: Requantisers) -> None:
    for gain in (1, 2, 256, 1024, 2**20, 2**30):
        for bits in (8, 12):
            acc = steps(gain, bits)
            got = impl.half_even(acc, gain, bits)
            wanted = oracle.half_even(acc, gain, bits)
            assert_same(got, wanted, f"half_even gain {gain} bits {bits}", acc)


def check_half_even_f32(impl: Requantisers) -> None:
    scales = ((256.0, 1.0), (7.0, 3.5), (9.8, 0.1), (1234.5, 17.25), (1e-30, 1e30), (3e9, 1e-9))
    acc = int32([*range(-1300, 1300), *INT32, 2**24 + 1, -(2**24) - 3, 10**9 + 7])
    for (scale_product, codes_per_unit), bits in product(scales, (8, 12)):
        got = impl.half_even_f32(acc, scale_product, codes_per_unit, bits)
        wanted = oracle.half_even_f32(acc, scale_product, codes_per_unit, bits)
        assert_same(got, wanted, f"half_even_f32 {scale_product} {codes_per_unit}", acc)


def oracle_two_stage(acc: Array, stages: Stages, high: Array | None = None) -> Any:
    """Evaluate a set of stages on the oracle; channels are the last axis."""
    middle = {"exact": None, "clip32": INT32, "wrap16": "wrap16"}[stages.middle]
    return oracle.two_stage(
        acc,
        np.array(stages.lsh),
        np.array(stages.multiplier),
        np.array(stages.shift1),
        stages.rounding1,
        np.array(stages.shift2),
        stages.rounding2,
        stages.zero_point,
        stages.lo,
        stages.hi,
        middle=middle,
        high=0 if high is None else high,
    )


def check_two_stage_roundings(impl: Requantisers) -> None:
    """Both stages' roundings, each at every remainder: 3 bits in the first, 2 in the second."""
    acc = int32(range(-70, 71))
    for mode in oracle.ROUNDINGS:
        for stages in (
            Stages(shift1=(3,), rounding1=mode),
            Stages(shift1=(3,), rounding1="half_even", shift2=(2,), rounding2=mode),
            Stages(shift1=(3,), rounding1=mode, shift2=(2,), rounding2="floor"),
        ):
            wanted = oracle_two_stage(acc, stages)
            assert_same(impl.two_stage(acc, stages), wanted, f"{stages}", acc)


def check_two_stage_order(impl: Requantisers) -> None:
    """Left shift, multiplier, middle limit, zero point, digital part, saturation: in this order."""
    acc = int32([-3000, -129, -128, -5, -4, -1, 0, 1, 4, 5, 127, 128, 3000, 2**15, 2**20, -(2**20)])
    high = np.resize(np.array([0, 100, -100, 700], dtype=np.int32), acc.shape)
    m31 = 2**31 - 1
    for stages in (
        Stages(lsh=(3,), multiplier=(5,), shift1=(4,), zero_point=7),
        Stages(multiplier=(-3,), shift1=(1,), zero_point=-100),
        Stages(multiplier=(m31,), shift1=(10,), middle="clip32", shift2=(24,)),
        Stages(multiplier=(m31,), shift1=(31,), middle="clip32", shift2=(3,)),
        Stages(middle="wrap16", shift2=(2,)),
        Stages(lo=0, hi=255, zero_point=128),
        Stages(lo=-2048, hi=2047, shift1=(1,)),
    ):
        for digital in (None, high):
            wanted = oracle_two_stage(acc, stages, digital)
            assert_same(impl.two_stage(acc, stages, digital), wanted, f"{stages}", acc)
    extremes = int32([*INT32, -(2**31) + 1, 2**30, -(2**30)])
    for mult, shift in product((-(2**31), m31, 1), (0, 30, 31, 62)):
        stages = Stages(multiplier=(mult,), shift1=(shift,), rounding1="half_away")
        wanted = oracle_two_stage(extremes, stages)
        assert_same(impl.two_stage(extremes, stages), wanted, f"{stages}", extremes)


def check_two_stage_per_channel(impl: Requantisers) -> None:
    acc = np.resize(int32(range(-1000, 1000, 7)), (40, 3))
    stages = Stages(
        lsh=(0, 1, 2),
        multiplier=(3, -5, 7),
        shift1=(2, 3, 1),
        rounding1="half_up",
        shift2=(1, 0, 4),
        rounding2="half_away",
    )
    assert_same(impl.two_stage(acc, stages), oracle_two_stage(acc, stages), "per channel", acc)


REQUANT_CHECKS = (
    check_readout,
    check_high_joins_before_the_clamp,
    check_unsigned_store,
    check_half_even,
    check_half_even_f32,
    check_two_stage_roundings,
    check_two_stage_order,
    check_two_stage_per_channel,
)
