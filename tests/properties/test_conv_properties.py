# SPDX-License-Identifier: Apache-2.0
"""Convolutions against the oracle, for all dtypes, layouts and geometries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bittwin
from bittwin.testing import oracle, strategies
from bittwin.testing.strategies import ConvCase


@given(strategies.conv_cases())
def test_conv2d_accumulators_equal_the_oracle(case: ConvCase) -> None:
    got = bittwin.conv2d_accumulate(
        case.x, case.weight, case.bias, x_bits=case.x_bits, **case.geometry
    )
    assert got.dtype == np.int32
    np.testing.assert_array_equal(
        got, oracle.conv2d(case.x, case.weight, case.bias, **case.geometry)
    )


@given(strategies.conv_transpose_cases())
def test_conv_transpose2d_accumulators_equal_the_oracle(case: ConvCase) -> None:
    got = bittwin.conv_transpose2d_accumulate(
        case.x, case.weight, case.bias, x_bits=case.x_bits, **case.geometry
    )
    assert got.dtype == np.int32
    np.testing.assert_array_equal(
        got, oracle.conv_transpose2d(case.x, case.weight, case.bias, **case.geometry)
    )


def _codes_equal(data: st.DataObject, function: Any, case: ConvCase, acc: Any) -> None:
    kinds = ("readout", "unsigned_store", "half_even", "preset")
    twin = data.draw(strategies.requantiser_cases(acc.shape[1], kinds))
    if twin.lsh:
        return
    high = data.draw(st.one_of(st.none(), strategies.codes(np.int8, acc.shape)))
    out = data.draw(st.one_of(st.none(), st.just(np.empty(acc.shape, twin.requant.dtype))))
    got = function(
        case.x,
        case.weight,
        case.bias,
        twin.requant,
        x_bits=case.x_bits,
        high=high,
        out=out,
        **case.geometry,
    )
    assert out is None or got is out
    rule = twin.rule(trailing_axes=2)
    np.testing.assert_array_equal(got, rule(acc) if high is None else rule(acc, high=high))


@given(st.data())
@settings(max_examples=40)
def test_conv2d_equals_the_oracle(data: st.DataObject) -> None:
    case = data.draw(strategies.conv_cases())
    acc = oracle.conv2d(case.x, case.weight, case.bias, **case.geometry)
    _codes_equal(data, bittwin.conv2d, case, acc)


@given(st.data())
@settings(max_examples=40)
def test_conv_transpose2d_equals_the_oracle(data: st.DataObject) -> None:
    case = data.draw(strategies.conv_transpose_cases())
    acc = oracle.conv_transpose2d(case.x, case.weight, case.bias, **case.geometry)
    _codes_equal(data, bittwin.conv_transpose2d, case, acc)


@given(strategies.linear_cases(longest=20))
def test_conv2d_of_one_pixel_is_linear(case: strategies.LinearCase) -> None:
    if not (case.weight.size and case.x.size):
        return
    x = case.x.reshape(-1, case.x.shape[-1])
    flat = bittwin.accumulate(x, case.weight, case.bias, x_bits=case.x_bits)
    picture = bittwin.conv2d_accumulate(
        x[:, :, None, None], case.weight[:, :, None, None], case.bias, x_bits=case.x_bits
    )
    np.testing.assert_array_equal(picture[:, :, 0, 0], flat)


@pytest.mark.parametrize(
    ("batch", "channels", "outputs"), [(0, 2, 3), (1, 0, 3), (1, 2, 0), (0, 0, 0)]
)
def test_zero_sizes_give_the_bias_or_nothing(batch: int, channels: int, outputs: int) -> None:
    x = np.ones((batch, channels, 4, 5), np.uint8)
    weight = np.ones((outputs, channels, 3, 2), np.int8)
    bias = np.arange(outputs, dtype=np.int32)
    got = bittwin.conv2d_accumulate(x, weight, bias)
    np.testing.assert_array_equal(got, oracle.conv2d(x, weight, bias))
    turned = weight.transpose(1, 0, 2, 3)
    got = bittwin.conv_transpose2d_accumulate(x, turned, bias)
    np.testing.assert_array_equal(got, oracle.conv_transpose2d(x, turned, bias))


def test_short_forms_of_the_geometry_mean_all_sides() -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (1, 2, 6, 6)).astype(np.uint8)
    weight = rng.integers(-128, 128, (3, 2, 3, 3)).astype(np.int8)
    short = bittwin.conv2d_accumulate(x, weight, stride=2, padding=1, dilation=2)
    pairs = bittwin.conv2d_accumulate(x, weight, stride=(2, 2), padding=(1, 1), dilation=(2, 2))
    sides = bittwin.conv2d_accumulate(x, weight, stride=(2, 2), padding=(1, 1, 1, 1), dilation=2)
    wanted = oracle.conv2d(x, weight, stride=(2, 2), padding=(1, 1, 1, 1), dilation=(2, 2))
    for got in (short, pairs, sides):
        np.testing.assert_array_equal(got, wanted)
    uneven = bittwin.conv2d_accumulate(x, weight, padding=(2, 0))
    wanted = oracle.conv2d(x, weight, padding=(2, 0, 2, 0))
    np.testing.assert_array_equal(uneven, wanted)
