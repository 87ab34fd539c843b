# SPDX-License-Identifier: Apache-2.0
"""`requantize` against the oracle, for every kind of requantiser, and what must hold for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bittwin
from bittwin.testing import oracle, strategies
from bittwin.testing.strategies import RequantiserCase

SHAPES = st.sampled_from([(0,), (1,), (64,), (5, 3), (0, 3), (2, 3, 4), (130,)])


def _fitting(acc: Any, case: RequantiserCase) -> Any:
    """Accumulators that `acc << lsh` keeps within int32."""
    room = 2 ** (31 - case.lsh)
    return np.clip(acc.astype(np.int64), -room, room - 1).astype(np.int32)


@given(st.data())
def test_every_requantiser_equals_the_oracle(data: st.DataObject) -> None:
    case = data.draw(strategies.requantiser_cases())
    shape = data.draw(SHAPES)
    acc = _fitting(data.draw(strategies.accumulators(shape, case.gain)), case)
    laid = data.draw(strategies.layouts(acc))
    got = bittwin.requantize(laid, case.requant)
    assert got.dtype == case.requant.dtype
    np.testing.assert_array_equal(got, case.rule()(acc))


@given(st.data())
def test_parameters_per_channel_equal_the_oracle(data: st.DataObject) -> None:
    case = data.draw(strategies.requantiser_cases(3, ("two_stage", "preset")))
    trailing = data.draw(st.integers(0, 2))
    shape = (2, 3, *(4, 2)[:trailing])
    acc = _fitting(data.draw(strategies.accumulators(shape, case.gain)), case)
    got = bittwin.requantize(acc, case.requant, axis=1)
    np.testing.assert_array_equal(got, case.rule(trailing)(acc))
    np.testing.assert_array_equal(bittwin.requantize(acc, case.requant, axis=1 - acc.ndim), got)


@given(st.data(), st.sampled_from([np.int8, np.int16, np.int32]))
def test_digital_part_equals_the_oracle(data: st.DataObject, dtype: Any) -> None:
    case = data.draw(strategies.requantiser_cases())
    acc = _fitting(data.draw(strategies.accumulators((40,), case.gain)), case)
    high = data.draw(strategies.codes(dtype, (40,)))
    laid = data.draw(strategies.layouts(high))
    got = bittwin.requantize(acc, case.requant, high=laid)
    np.testing.assert_array_equal(got, case.rule()(acc, high=high))


@given(st.data())
def test_codes_never_fall_while_the_accumulator_rises(data: st.DataObject) -> None:
    kinds = ("readout", "half_even", "half_even_f32", "by_name")
    case = data.draw(strategies.requantiser_cases(kinds=kinds))
    acc = np.sort(data.draw(strategies.accumulators((200,), case.gain)))
    codes = bittwin.requantize(acc, case.requant).astype(np.int64)
    assert (np.diff(codes) >= 0).all()


@given(strategies.requantiser_cases(kinds=("readout", "half_even", "by_name")))
def test_codes_saturate_exactly_at_the_ends(case: RequantiserCase) -> None:
    requant = case.requant
    ends = np.array([-(2**31), 2**31 - 1], np.int32)
    lowest, highest = bittwin.requantize(ends, requant).tolist()
    room = 2**31 // case.gain
    assert lowest == max(requant.lo, -room)
    if room > requant.hi + 1:
        assert highest == requant.hi
        # The first accumulator that reaches the highest code, and the one before it.
        near = requant.hi * case.gain + np.arange(-case.gain, 2)
        acc = near[(near >= ends[0]) & (near <= ends[1])][-600:].astype(np.int32)
        np.testing.assert_array_equal(bittwin.requantize(acc, requant), case.rule()(acc))


@given(st.data())
def test_result_goes_into_out(data: st.DataObject) -> None:
    case = data.draw(strategies.requantiser_cases())
    acc = _fitting(data.draw(strategies.accumulators((3, 4), case.gain)), case)
    out = np.full((3, 4), 99, case.requant.dtype)
    assert bittwin.requantize(acc, case.requant, out=out) is out
    np.testing.assert_array_equal(out, bittwin.requantize(acc, case.requant))


@given(strategies.requantisers(channels=4))
def test_configuration_survives_a_round_trip(requant: Any) -> None:
    again = bittwin.Requant.from_config(requant.to_config())
    assert again == requant
    acc = np.arange(-400, 400, dtype=np.int32).reshape(-1, 4)
    np.testing.assert_array_equal(bittwin.requantize(acc, again), bittwin.requantize(acc, requant))


@pytest.mark.parametrize("rule", bittwin.requant.RULES)
@pytest.mark.parametrize("gain", [256, 1024, 8192])
def test_rules_by_name_equal_the_oracle(rule: str, gain: int) -> None:
    acc = np.arange(-3 * gain, 3 * gain, dtype=np.int32)
    got = bittwin.requantize(acc, bittwin.requant.by_name(rule, gain))
    if rule.startswith("readout"):
        overflow = "wrap16" if rule == "readout_wrap16" else "saturate"
        wanted = oracle.readout(acc, gain, overflow=overflow)
    else:
        wanted = oracle.one_stage(acc, gain, rule)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("gain", [0.5, 0.25, 2.0**-16])
def test_gains_below_one_equal_the_oracle(gain: float) -> None:
    acc = np.array([-(2**31), -3, -1, 0, 1, 2, 100, 2**31 - 1], np.int32)
    got = bittwin.requantize(acc, bittwin.half_even(gain, bits=12))
    from fractions import Fraction

    np.testing.assert_array_equal(got, oracle.half_even(acc, Fraction(gain), 12))


@given(st.floats(width=32, allow_nan=False), st.floats(1e-3, 1e4), st.integers(1, 16))
def test_quantize_equals_the_oracle(value: float, scale: float, bits: int) -> None:
    for dtype in (np.float32, np.float64):
        values = np.array([value, -value, 0.0, 0.5 / scale, 1.5 / scale], dtype)
        for rounding in oracle.ROUNDINGS:
            for signed in (False, True):
                got = bittwin.quantize(values, scale, bits=bits, signed=signed, rounding=rounding)
                with np.errstate(over="ignore"):
                    wanted = oracle.quantize(
                        values, scale, bits=bits, signed=signed, rounding=rounding
                    )
                np.testing.assert_array_equal(got, wanted)


@given(strategies.accumulators((50,), 128), st.integers(1, 32), st.floats(1e-3, 1e3))
def test_quantize_bias_equals_the_oracle(bias: Any, rows: int, scale: float) -> None:
    got = bittwin.quantize_bias(bias, rows=rows)
    np.testing.assert_array_equal(got, oracle.quantize_bias(bias, rows=rows))
    for dtype in (np.float32, np.float64):
        real = (bias / scale).astype(dtype)
        got = bittwin.quantize_bias(real, scale, rows=rows)
        np.testing.assert_array_equal(got, oracle.quantize_bias(real, scale, rows=rows))
