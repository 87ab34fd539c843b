# SPDX-License-Identifier: Apache-2.0
"""One result, however it is asked for: packed weights, `out`, channels last, float32, one call or two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import bittwin
from bittwin.testing import strategies
from bittwin.testing.strategies import ConvCase, LinearCase

Codes = NDArray[Any]


def _last(array: Any) -> Any:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def _all_ways(call: Callable[..., Codes], x: Codes, weight: Codes, **more: Any) -> Codes:
    """The plain call's codes; every other way has to give the same."""
    plain = call(x, weight, **more)
    packed = bittwin.pack_weight(weight)
    np.testing.assert_array_equal(call(x, packed, **more), plain)
    np.testing.assert_array_equal(call(x, packed, **more), plain)  # layouts are there by now
    for w in (weight, packed):
        out = np.full(plain.shape, 77, plain.dtype)
        assert call(x, w, out=out, **more) is out
        np.testing.assert_array_equal(out, plain)
    return plain


@given(strategies.linear_cases())
def test_accumulate_is_one_whatever_the_way(case: LinearCase) -> None:
    def call(x: Codes, w: Any, **more: Any) -> Codes:
        return bittwin.accumulate(x, w, case.bias, x_bits=case.x_bits, **more)

    _all_ways(call, case.x, case.weight)


@given(st.data())
def test_linear_is_one_whatever_the_way(data: st.DataObject) -> None:
    case = data.draw(strategies.linear_cases())
    twin = data.draw(strategies.requantiser_cases(len(case.weight) or 1))
    if twin.lsh:
        return
    shape = (*case.x.shape[:-1], len(case.weight))
    high = data.draw(st.one_of(st.none(), strategies.codes(np.int32, shape, -300, 300)))

    def call(x: Codes, w: Any, **more: Any) -> Codes:
        return bittwin.linear(x, w, case.bias, twin.requant, high=high, x_bits=case.x_bits, **more)

    plain = _all_ways(call, case.x, case.weight)
    acc = bittwin.accumulate(case.x, case.weight, case.bias, x_bits=case.x_bits)
    np.testing.assert_array_equal(plain, bittwin.requantize(acc, twin.requant, high=high))
    numbers = np.full(shape, np.nan, np.float32)
    assert call(case.x, case.weight, out=numbers) is numbers
    np.testing.assert_array_equal(numbers, plain)
    bittwin.requantize(acc, twin.requant, high=high, out=numbers)
    np.testing.assert_array_equal(numbers, plain)


def _conv_ways(data: st.DataObject, case: ConvCase, name: str) -> None:
    accumulate = getattr(bittwin, f"{name}_accumulate")
    finished = getattr(bittwin, name)
    fields: dict[str, Any] = {"x_bits": case.x_bits, **case.geometry}

    def sums(x: Codes, w: Any, **more: Any) -> Codes:
        result: Codes = accumulate(x, w, case.bias, **fields, **more)
        return result

    acc = _all_ways(sums, case.x, case.weight)
    last = sums(_last(case.x), bittwin.pack_weight(case.weight), layout="NHWC")
    np.testing.assert_array_equal(last, _last(acc))
    twin = data.draw(strategies.requantiser_cases(acc.shape[1], ("readout", "half_even", "preset")))
    if twin.lsh:
        return
    high = data.draw(st.one_of(st.none(), strategies.codes(np.int32, acc.shape, -300, 300)))
    wanted = bittwin.requantize(acc, twin.requant, high=high, axis=1)

    def codes(x: Codes, w: Any, **more: Any) -> Codes:
        given_high = more.pop("high", high)
        result: Codes = finished(x, w, case.bias, twin.requant, high=given_high, **fields, **more)
        return result

    np.testing.assert_array_equal(_all_ways(codes, case.x, case.weight), wanted)
    high_last = None if high is None else _last(high)
    turned = _all_ways(codes, _last(case.x), case.weight, layout="NHWC", high=high_last)
    np.testing.assert_array_equal(turned, _last(wanted))
    numbers = np.full(wanted.shape, np.nan, np.float32)
    codes(case.x, case.weight, out=numbers)
    np.testing.assert_array_equal(numbers, wanted)


@given(st.data())
@settings(max_examples=40)
def test_conv2d_is_one_whatever_the_way(data: st.DataObject) -> None:
    _conv_ways(data, data.draw(strategies.conv_cases()), "conv2d")


@given(st.data())
@settings(max_examples=40)
def test_conv_transpose2d_is_one_whatever_the_way(data: st.DataObject) -> None:
    _conv_ways(data, data.draw(strategies.conv_transpose_cases()), "conv_transpose2d")


@given(st.data())
@settings(max_examples=40)
def test_a_pad_value_is_the_same_as_padding_before(data: st.DataObject) -> None:
    case = data.draw(strategies.conv_cases())
    fields = {k: v for k, v in case.geometry.items() if k not in ("padding", "pad_value")}
    top, left, bottom, right = sides = case.geometry.get("padding", (1, 0, 2, 1))
    info = np.iinfo(case.x.dtype)
    most = (1 << case.x_bits) - 1
    value = data.draw(st.integers(max(int(info.min), -most), min(int(info.max), most)))
    around = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(case.x, around, constant_values=value)
    wanted = bittwin.conv2d_accumulate(padded, case.weight, case.bias, x_bits=case.x_bits, **fields)
    for w in (case.weight, bittwin.pack_weight(case.weight)):
        got = bittwin.conv2d_accumulate(
            case.x, w, case.bias, padding=sides, pad_value=value, x_bits=case.x_bits, **fields
        )
        np.testing.assert_array_equal(got, wanted)


@given(st.data())
def test_split_linear_is_one_whatever_the_way(data: st.DataObject) -> None:
    case = data.draw(strategies.wide_cases())
    requant = bittwin.readout(
        data.draw(strategies.gains()), bits=data.draw(st.sampled_from([8, 12]))
    )

    def call(x: Codes, w: Any, **more: Any) -> Codes:
        return bittwin.split_linear(x, w, case.bias, requant, x_bits=case.x_bits, **more)

    _all_ways(call, case.x, case.weight)


@given(st.data())
def test_split_convolution_pads_with_the_whole_code(data: st.DataObject) -> None:
    bits = data.draw(st.integers(9, 12))
    dtype = data.draw(st.sampled_from([np.uint16, np.int16]))
    most = (1 << bits) - 1
    least = 0 if dtype == np.uint16 else -most
    shape = tuple(data.draw(st.integers(low, 4)) for low in (0, 1, 1, 1))
    x = data.draw(strategies.codes(dtype, shape, least, most))
    weight = data.draw(strategies.codes(np.int8, (3, shape[1], 2, 2)))
    value = data.draw(st.integers(least, most))
    requant = bittwin.readout(data.draw(strategies.gains()), bits=10)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 2), (2, 1)), constant_values=value)
    wanted = bittwin.split_conv2d(padded, weight, None, requant, x_bits=bits)

    def call(x: Codes, w: Any, **more: Any) -> Codes:
        how: dict[str, Any] = {"x_bits": bits, "padding": (1, 2, 2, 1), "pad_value": value}
        return bittwin.split_conv2d(x, w, None, requant, **how, **more)

    np.testing.assert_array_equal(_all_ways(call, x, weight), wanted)
    np.testing.assert_array_equal(_all_ways(call, _last(x), weight, layout="NHWC"), _last(wanted))


@given(strategies.linear_cases(), st.sampled_from(strategies.LAYOUTS))
def test_a_weight_of_any_layout_packs_to_the_same(case: LinearCase, layout: str) -> None:
    packed = bittwin.pack_weight(strategies.relaid(case.weight, layout))
    np.testing.assert_array_equal(packed.codes, case.weight)
    how: dict[str, Any] = {"x_dtype": case.x.dtype.name, "x_bits": case.x_bits}
    wanted = bittwin.accumulator_bound(case.weight, case.bias, **how)
    assert bittwin.accumulator_bound(packed, case.bias, **how) == wanted
