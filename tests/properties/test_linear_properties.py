# SPDX-License-Identifier: Apache-2.0
"""Linear layers against the oracle, for all dtypes and layouts, and what must hold for all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bittwin
from bittwin.testing import oracle, strategies
from bittwin.testing.strategies import LinearCase


@given(strategies.linear_cases())
def test_accumulate_equals_the_oracle(case: LinearCase) -> None:
    got = bittwin.accumulate(case.x, case.weight, case.bias, x_bits=case.x_bits)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, oracle.accumulate(case.x, case.weight, case.bias))


@given(st.data())
def test_linear_equals_the_oracle(data: st.DataObject) -> None:
    case = data.draw(strategies.linear_cases())
    twin = data.draw(strategies.requantiser_cases(len(case.weight) or 1))
    acc = oracle.accumulate(case.x, case.weight, case.bias)
    shape = acc.shape
    high = data.draw(st.one_of(st.none(), strategies.codes(np.int16, shape)))
    if twin.lsh and acc.size and max(acc.max(), -acc.min() - 1) >= 2 ** (31 - twin.lsh):
        with pytest.raises(ValueError, match="lsh"):
            bittwin.linear(case.x, case.weight, case.bias, twin.requant, x_bits=case.x_bits)
        return
    got = bittwin.linear(
        case.x, case.weight, case.bias, twin.requant, high=high, x_bits=case.x_bits
    )
    wanted = oracle.linear(case.x, case.weight, case.bias, twin.rule(), high=high)
    assert got.dtype == twin.requant.dtype
    np.testing.assert_array_equal(got, wanted)


@given(st.data())
def test_wrapping_accumulator_equals_the_oracle(data: st.DataObject) -> None:
    k, dtype = data.draw(strategies.lengths(40)), data.draw(st.sampled_from([np.uint16, np.int16]))
    x = data.draw(strategies.codes(dtype, (4, k)))
    weight = data.draw(strategies.codes(np.int16, (3, k)))
    bias = data.draw(strategies.codes(np.int32, (3,)))
    got = bittwin.accumulate(x, weight, bias, overflow="wrap32", x_bits=16)
    np.testing.assert_array_equal(got, oracle.wrap32(oracle.accumulate(x, weight, bias)))


@given(strategies.linear_cases(), st.integers(1, 4))
def test_batches_may_be_cut_anywhere(case: LinearCase, cut: int) -> None:
    whole = bittwin.accumulate(case.x, case.weight, case.bias, x_bits=case.x_bits)
    if case.x.ndim < 2:
        return
    parts = [
        bittwin.accumulate(part, case.weight, case.bias, x_bits=case.x_bits)
        for part in (case.x[:cut], case.x[cut:])
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@given(strategies.linear_cases(), st.sampled_from(strategies.LAYOUTS))
def test_memory_layout_changes_nothing(case: LinearCase, layout: str) -> None:
    plain = bittwin.accumulate(
        np.ascontiguousarray(case.x).reshape(case.x.shape),
        np.ascontiguousarray(case.weight),
        case.bias,
        x_bits=case.x_bits,
    )
    got = bittwin.accumulate(
        strategies.relaid(case.x, layout),
        strategies.relaid(case.weight, layout),
        None if case.bias is None else strategies.relaid(case.bias, layout),
        x_bits=case.x_bits,
    )
    np.testing.assert_array_equal(got, plain)


@given(strategies.linear_cases(), strategies.gains())
def test_result_goes_into_out(case: LinearCase, gain: int) -> None:
    requant = bittwin.readout(gain)
    plain = bittwin.linear(case.x, case.weight, case.bias, requant, x_bits=case.x_bits)
    out = np.full(plain.shape, 99, np.int8)
    got = bittwin.linear(case.x, case.weight, case.bias, requant, x_bits=case.x_bits, out=out)
    assert got is out
    np.testing.assert_array_equal(out, plain)


@given(strategies.linear_cases())
def test_bound_is_the_oracles_and_holds(case: LinearCase) -> None:
    found = bittwin.accumulator_bound(
        case.weight, case.bias, x_dtype=case.x.dtype.name, x_bits=case.x_bits
    )
    info = np.iinfo(case.x.dtype)
    lo = max(-(2**case.x_bits - 1), int(info.min))
    hi = min(2**case.x_bits - 1, int(info.max))
    low, high = oracle.accumulator_bound(case.weight, case.bias, lo, hi)
    if low.size == 0:
        return
    assert (found.low, found.high) == (low.min(), high.max())
    assert found.fits
    acc = bittwin.accumulate(case.x, case.weight, case.bias, x_bits=case.x_bits)
    assert acc.size == 0 or (found.low <= acc.min() and acc.max() <= found.high)
    at = found.column
    reach = [max(h, -low_end - 1) for low_end, h in zip(low.tolist(), high.tolist(), strict=True)]
    assert reach[at] == max(reach)


def _split_rules(draw: Any) -> tuple[Any, dict[str, Any]]:
    bits = draw(st.sampled_from([8, 9, 12]))
    kind = draw(st.sampled_from(["readout", "readout_wrap16", "half_even", "half_even_f32"]))
    if kind == "half_even_f32":
        product, per_unit = draw(st.sampled_from([(9.23, 1.0), (1000.5, 3.25), (512.0, 1.0)]))
        scales = {"scale_product": product, "codes_per_unit": per_unit}
        requant = bittwin.half_even_f32(product, per_unit, bits=bits)
        return requant, {"rule": kind, "bits": bits, **scales}
    gain = draw(strategies.gains())
    return bittwin.requant.by_name(kind, gain, bits=bits), {
        "rule": kind,
        "gain": gain,
        "bits": bits,
    }


@given(st.data())
def test_split_linear_equals_the_oracle(data: st.DataObject) -> None:
    case = data.draw(strategies.wide_cases())
    requant, options = _split_rules(data.draw)
    columns = len(case.weight)
    digital = data.draw(
        st.one_of(st.none(), strategies.codes(np.int32, (columns,), -(2**25), 2**25))
    )
    low_bits = data.draw(st.sampled_from([None, 0, 8, 10]))
    mode = "half_even"
    if options["rule"] != "half_even_f32":
        mode = data.draw(st.sampled_from(oracle.ROUNDINGS))
    got = bittwin.split_linear(
        case.x,
        case.weight,
        case.bias,
        requant,
        x_bits=case.x_bits,
        bias_digital=digital,
        low_bits=low_bits,
        high_rounding=mode,
    )
    wanted = oracle.split_linear(
        case.x,
        case.weight,
        case.bias,
        bias_digital=digital,
        low_bits={None: "default", 0: None}.get(low_bits, low_bits),
        high_rounding=mode,
        **options,
    )
    assert got.dtype == requant.dtype
    np.testing.assert_array_equal(got, wanted)


@given(st.data())
def test_split_with_nothing_above_equals_one_round(data: st.DataObject) -> None:
    case = data.draw(strategies.wide_cases())
    low_x = np.sign(case.x.astype(np.int16)) * (abs(case.x.astype(np.int16)) & 255)
    requant = bittwin.readout(data.draw(strategies.gains()))
    split = bittwin.split_linear(
        low_x.astype(np.int16), case.weight, case.bias, requant, x_bits=case.x_bits
    )
    one = bittwin.linear(low_x.astype(np.int16), case.weight, case.bias, requant, x_bits=8)
    np.testing.assert_array_equal(split, one)


@given(st.data())
def test_split_of_multiples_equals_one_round(data: st.DataObject) -> None:
    """Where neither part is rounded, splitting changes nothing."""
    case = data.draw(strategies.wide_cases(longest=8))
    weight = np.sign(case.weight)
    x = case.x // 256 * 256 if case.x.dtype == np.uint16 else np.fix(case.x / 256) * 256
    x = x.astype(case.x.dtype)
    requant = bittwin.readout(256, bits=16)
    split = bittwin.split_linear(x, weight, None, requant, x_bits=case.x_bits)
    np.testing.assert_array_equal(
        split, bittwin.linear(x, weight, None, requant, x_bits=case.x_bits)
    )


def test_split_takes_its_gain_from_the_shifts_and_not_from_the_label() -> None:
    x, weight = np.array([[2560]], np.uint16), np.array([[1]], np.int8)
    readout = bittwin.readout(256).to_config()
    mislabelled = bittwin.Requant.from_config({**readout, "gain": 4096})
    for requant in (bittwin.readout(256), mislabelled):
        assert bittwin.split_linear(x, weight, None, requant, x_bits=12).tolist() == [[10]]
