# SPDX-License-Identifier: Apache-2.0
"""The hypothesis strategies draw what they promise: ranges, corners, layouts, fitting sums."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from bittwin.testing import oracle, strategies

INT32 = (-(2**31), 2**31 - 1)


def test_corners_are_the_ends_and_the_neighbours_of_zero() -> None:
    assert strategies.corner_codes(-128, 127) == [-128, -127, -1, 0, 1, 126, 127]
    assert strategies.corner_codes(0, 255) == [0, 1, 254, 255]
    assert strategies.corner_codes(5, 5) == [5]


@given(strategies.codes(np.int8, (4000,)))
@settings(max_examples=20)
def test_most_codes_are_corners(codes: Any) -> None:
    assert codes.dtype == np.int8
    at_corner = np.isin(codes, strategies.corner_codes(-128, 127)).mean()
    assert at_corner > strategies.CORNER_SHARE - 0.05


@given(strategies.codes(np.uint16, (3, 0, 2)), strategies.weights((5, 7), -275, 275, np.int16))
def test_codes_keep_shape_dtype_and_range(empty: Any, weights: Any) -> None:
    assert empty.shape == (3, 0, 2)
    assert weights.dtype == np.int16
    assert abs(weights.astype(int)).max() <= 275


@given(strategies.code(-7, 300))
def test_single_codes_stay_in_range(code: int) -> None:
    assert -7 <= code <= 300


@pytest.mark.parametrize("wanted", [-(2**31), 2**31 - 1, 128, -192, 8192 * 256, 2**24 + 1])
def test_accumulators_reach_the_places_that_matter(wanted: int) -> None:
    hunt = settings(
        max_examples=50000,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    assert find(strategies.accumulator(256), lambda acc: acc == wanted, settings=hunt) == wanted


@given(strategies.accumulators((3, 5), gain=1024))
def test_accumulators_are_int32(acc: Any) -> None:
    assert acc.dtype == np.int32
    assert acc.shape == (3, 5)


@given(strategies.gains())
def test_gains_fit_the_register(gain: int) -> None:
    assert gain in oracle.READOUT_GAINS


@pytest.mark.parametrize("layout", strategies.LAYOUTS)
@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (0, 3), (2, 3, 4, 5)])
def test_layouts_keep_the_elements(layout: str, shape: tuple[int, ...]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape)
    view = strategies.relaid(array, layout)
    assert view.dtype == array.dtype
    assert view.shape == array.shape
    np.testing.assert_array_equal(view, array)


def test_layouts_are_really_different() -> None:
    array = np.arange(12).reshape(3, 4)
    contiguous = {
        name: strategies.relaid(array, name).flags.c_contiguous for name in strategies.LAYOUTS
    }
    assert [name for name, dense in contiguous.items() if dense] == [
        "contiguous",
        "readonly",
        "unaligned",
    ]
    assert not strategies.relaid(array, "unaligned").flags.aligned
    with pytest.raises(ValueError, match="layout"):
        strategies.relaid(array, "sideways")


@given(strategies.linear_cases())
def test_linear_cases_fit_the_accumulator(case: strategies.LinearCase) -> None:
    lo, hi = (0, 2**case.x_bits - 1)
    if case.x.dtype.kind == "i":
        info = np.iinfo(case.x.dtype)
        lo, hi = max(-hi, int(info.min)), min(hi, int(info.max))
    low, high = oracle.accumulator_bound(case.weight, case.bias, lo, hi)
    assert (low >= INT32[0]).all()
    assert (high <= INT32[1]).all()
    assert case.x.size == 0 or (case.x.min() >= lo and case.x.max() <= hi)


@given(strategies.wide_cases())
def test_wide_cases_have_wide_inputs(case: strategies.LinearCase) -> None:
    assert 9 <= case.x_bits <= 12
    assert case.x.size == 0 or abs(case.x.astype(int)).max() < 2**case.x_bits


@given(strategies.conv_cases())
@settings(max_examples=30)
def test_conv_cases_are_possible(case: strategies.ConvCase) -> None:
    acc = oracle.conv2d(case.x, case.weight, case.bias, **case.geometry)
    assert acc.shape[:2] == (len(case.x), len(case.weight))
    assert acc.size == 0 or (acc.min() >= INT32[0] and acc.max() <= INT32[1])


@given(strategies.conv_transpose_cases())
@settings(max_examples=30)
def test_conv_transpose_cases_are_possible(case: strategies.ConvCase) -> None:
    acc = oracle.conv_transpose2d(case.x, case.weight, case.bias, **case.geometry)
    assert acc.shape[:2] == (len(case.x), case.weight.shape[1])
    assert acc.size == 0 or (acc.min() >= INT32[0] and acc.max() <= INT32[1])


@given(st.data())
def test_requantiser_cases_carry_their_twin(data: st.DataObject) -> None:
    case = data.draw(strategies.requantiser_cases(channels=3))
    acc = np.zeros((2, 3), np.int32)
    codes = case.rule()(acc)
    assert codes.shape == acc.shape
    assert case.requant.lo <= codes.min() <= codes.max() <= case.requant.hi
    assert case.channels in (1, 3)
    assert case.rule(trailing_axes=2)(acc[:, :, None, None]).shape == (2, 3, 1, 1)


@pytest.mark.parametrize("kind", strategies.KINDS)
def test_every_kind_of_requantiser_can_be_drawn(kind: str) -> None:
    import bittwin

    found = find(strategies.requantisers(kinds=(kind,)), lambda requant: True)
    assert isinstance(found, bittwin.Requant)


_WITHOUT_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None
import bittwin.testing
assert bittwin.testing.oracle.readout(128, 256) == 1
try:
    bittwin.testing.strategies
except ImportError as error:
    assert "bittwin[dev]" in str(error), error
else:
    raise AssertionError("no ImportError")
"""


def test_missing_hypothesis_is_named_only_when_it_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_HYPOTHESIS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_unknown_names_of_the_testing_module_are_refused() -> None:
    import bittwin.testing

    assert {"oracle", "strategies"} <= set(dir(bittwin.testing))
    with pytest.raises(AttributeError, match="oracles"):
        _ = bittwin.testing.oracles
