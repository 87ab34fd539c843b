# SPDX-License-Identifier: Apache-2.0
"""The big-integer oracle against constants worked out by hand from the specification."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from bittwin.testing import oracle

# Every rounding of v / 2 for v = -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5 (ties at the odd ones).
HALVES = {
    "half_even": [-2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2],
    "half_up": [-2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3],
    "half_away": [-3, -2, -2, -1, -1, 0, 1, 1, 2, 2, 3],
    "half_down": [-3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2],
    "half_to_zero": [-2, -2, -1, -1, 0, 0, 0, 1, 1, 2, 2],
    "half_to_odd": [-3, -2, -1, -1, -1, 0, 1, 1, 1, 2, 3],
    "toward_zero": [-2, -2, -1, -1, 0, 0, 0, 1, 1, 2, 2],
    "away": [-3, -2, -2, -1, -1, 0, 1, 1, 2, 2, 3],
    "floor": [-3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2],
    "ceil": [-2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3],
}
# The same for v / 4 at v = -7 .. 7, where quarters are no ties.
QUARTERS = {
    "half_even": [-2, -2, -1, -1, -1, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2],
    "half_up": [-2, -1, -1, -1, -1, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2],
    "toward_zero": [-1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1],
}


@pytest.mark.parametrize("mode", oracle.ROUNDINGS)
def test_rounding_shift_by_one_matches_the_hand_table(mode: str) -> None:
    assert [oracle.round_shift(v, 1, mode) for v in range(-5, 6)] == HALVES[mode]


@pytest.mark.parametrize("mode", sorted(QUARTERS))
def test_rounding_shift_by_two_matches_the_hand_table(mode: str) -> None:
    assert [oracle.round_shift(v, 2, mode) for v in range(-7, 8)] == QUARTERS[mode]


@pytest.mark.parametrize("mode", oracle.ROUNDINGS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_remainders_and_distances_give_the_same_rounding(mode: str, n: int) -> None:
    for v in range(-100, 101):
        assert oracle.round_shift(v, n, mode) == oracle.round_fraction(Fraction(v, 2**n), mode)


def test_shift_of_zero_or_less_is_exact() -> None:
    assert oracle.round_shift(-5, 0, "half_up") == -5
    assert oracle.round_shift(-5, -3, "half_up") == -40


def test_numbers_beyond_64_bits_stay_exact() -> None:
    assert oracle.round_shift(3 * 2**99, 100, "half_even") == 2
    assert oracle.round_shift(np.array([2**80], dtype=object), 1, "floor").tolist() == [2**79]


@pytest.mark.parametrize(
    ("acc", "code"),
    [
        (127, 0),
        (128, 1),
        (383, 1),
        (384, 2),
        (-128, 0),
        (-191, 0),
        (-192, -1),
        (-193, -1),
        (-447, -1),
        (-448, -2),
        (0, 0),
        (32511, 127),
        (10**6, 127),
        (-(10**6), -128),
    ],
)
def test_readout_at_gain_256_matches_the_hand_table(acc: int, code: int) -> None:
    assert oracle.readout(acc, 256) == code


@pytest.mark.parametrize("gain", oracle.READOUT_GAINS)
def test_readout_steps_where_the_specification_says(gain: int) -> None:
    assert oracle.readout(-2175 * gain // 100, gain) == -22  # -21.75 codes
    assert oracle.readout(-2174 * gain // 100 + 1, gain) == -21  # just above -21.74 codes
    for y in range(1, 128):  # a positive code is reached from (y - 1/2) * gain up
        first = (2 * y - 1) * gain // 2
        assert [oracle.readout(acc, gain) for acc in (first - 1, first)] == [y - 1, y]
    for y in range(-128, 0):  # a negative one from (y + 1/4) * gain down
        first = (4 * y + 1) * gain // 4
        assert [oracle.readout(acc, gain) for acc in (first, first + 1)] == [y, y + 1]


@pytest.mark.parametrize("gain", oracle.READOUT_GAINS)
def test_readout_is_the_two_stage_rule_it_is_said_to_be(gain: int) -> None:
    g = gain.bit_length() - 1
    acc = np.arange(-3 * gain, 3 * gain, max(1, gain // 512), dtype=np.int64)
    staged = oracle.two_stage(acc, 0, 1, g - 2, "toward_zero", 2, "half_up", 0, -128, 127)
    np.testing.assert_array_equal(oracle.readout(acc, gain), staged)


@pytest.mark.parametrize("gain", [256, 1024])
def test_wrap16_flips_the_sign_exactly_where_the_specification_says(gain: int) -> None:
    top, bottom = 8192 * gain, -(8192 * gain + gain // 4)
    wrapped = [oracle.readout(a, gain, overflow="wrap16") for a in (top - 1, top)]
    assert wrapped == [127, -128]
    wrapped = [oracle.readout(a, gain, overflow="wrap16") for a in (bottom + 1, bottom)]
    assert wrapped == [-128, 127]
    assert oracle.readout(top, gain) == 127
    assert oracle.readout(bottom, gain) == -128


def test_readout_width_only_moves_the_limits() -> None:
    assert oracle.readout(200 * 256, 256, bits=9) == 200
    assert oracle.readout(-(10**6), 256, bits=12) == -2048


def test_digital_part_is_added_before_the_one_clamp() -> None:
    assert oracle.readout(200 * 256, 256, high=-100) == 100
    assert oracle.half_even(200 * 256, 256, high=-100) == 100
    assert oracle.readout(np.array([25600, 0]), 256, high=np.array([27, -200])).tolist() == [
        127,
        -128,
    ]


@pytest.mark.parametrize(
    ("acc", "code"), [(128, 0), (384, 2), (640, 2), (-128, 0), (-384, -2), (129, 1), (-129, -1)]
)
def test_half_even_takes_ties_to_even(acc: int, code: int) -> None:
    assert oracle.half_even(acc, 256) == code
    assert oracle.one_stage(acc, 256, "half_even") == code
    assert oracle.half_even_f32(acc, 256.0, 1.0) == code


def test_half_even_f32_rounds_twice_in_float32() -> None:
    # 31 / 2 is a tie, which goes to 16; but fl32(31 / 7) * 3.5 = 15.499999, which goes to 15.
    assert oracle.half_even(31, 2) == 16
    assert oracle.half_even_f32(31, 7.0, 3.5) == 15
    assert oracle.half_even_f32(2**31 - 1, 1e-30, 1e30) == 127  # infinity saturates
    assert oracle.half_even_f32(-(2**31), 1e-30, 1e30) == -128
    # Dividing first matters: acc / 3 rounds to a float32 before it is tripled.
    assert oracle.half_even_f32(16777215, 3.0, 3.0, bits=26) == 16777215


def test_two_stage_does_its_steps_in_order() -> None:
    args: dict[str, Any] = {"zero_point": 3, "lo": -128, "hi": 127}
    # (5 << 1) * 3 = 30; 30 >> 2 half_up = 8; 8 >> 1 = 4; + 3
    assert oracle.two_stage(5, 1, 3, 2, "half_up", 1, "floor", **args) == 7
    assert oracle.two_stage(5, 1, 3, 2, "half_up", 1, "floor", middle=(-2, 2), **args) == 4
    assert oracle.two_stage(5, 1, 3, 2, "half_up", 1, "floor", high=-10, **args) == -3
    # Low clamp before the digital part, zero point after it.
    assert oracle.two_stage(
        5, 1, 3, 2, "half_up", 1, "floor", low_clamp=(-1, 1), high=9, **args
    ) == (1 + 9 + 3)
    assert oracle.two_stage(2**16, 0, 1, 0, "floor", 0, "floor", middle="wrap16", **args) == 3


def test_two_stage_refuses_a_left_shift_that_leaves_int32() -> None:
    assert oracle.two_stage(-(2**30), 1, 1, 31, "floor", 0, "floor", 0, -128, 127) == -1
    with pytest.raises(ValueError, match="int32"):
        oracle.two_stage(2**30, 1, 1, 31, "floor", 0, "floor", 0, -128, 127)


def test_two_stage_takes_parameters_per_channel() -> None:
    got = oracle.two_stage([[100, 100]], 0, [1, 3], [1, 2], "half_up", 0, "floor", 0, -128, 127)
    assert got.tolist() == [[50, 75]]


@pytest.mark.parametrize(
    ("value", "signed", "bits", "code"),
    [
        (0.5, False, 8, 0),
        (1.5, False, 8, 2),
        (2.5, False, 8, 2),
        (254.5, False, 8, 254),
        (-2.5, True, 8, -2),
        (300.0, False, 8, 255),
        (-1.0, False, 8, 0),
        (5000.0, False, 12, 4095),
        (float("inf"), True, 8, 127),
        (float("-inf"), True, 8, -128),
    ],
)
def test_quantize_matches_the_training_tool_examples(
    value: float, signed: bool, bits: int, code: int
) -> None:
    assert oracle.quantize(value, 1, bits=bits, signed=signed) == code
    single = np.array([value], np.float32)
    assert oracle.quantize(single, 1, bits=bits, signed=signed).tolist() == [code]


def test_quantize_multiplies_in_the_precision_of_the_array() -> None:
    value = 0.7  # 0.7 * 5 = 3.5 in both; 0.7f is 0.699999988, and 3.49999994 rounds up to 3.5
    exact = oracle.quantize(np.array([np.float32(value)], np.float64), 5, bits=8, signed=True)
    single = oracle.quantize(np.array([value], np.float32), 5, bits=8, signed=True)
    assert exact.tolist() == [3]
    assert single.tolist() == [round(float(np.float32(value) * np.float32(5)))]
    with pytest.raises(ValueError, match="NaN"):
        oracle.quantize(float("nan"), 1, bits=8, signed=True)


@pytest.mark.parametrize(
    ("bias", "rows", "units"),
    [
        (63, 1, 0),
        (64, 1, 0),
        (65, 1, 128),
        (192, 1, 256),
        (-64, 1, 0),
        (-192, 1, -256),
        (10**6, 1, 127 * 128),
        (-(10**6), 1, -128 * 128),
        (10**6, 16, 16 * 127 * 128),
    ],
)
def test_quantize_bias_counts_128s(bias: int, rows: int, units: int) -> None:
    assert oracle.quantize_bias(bias, rows=rows) == units
    assert oracle.quantize_bias(float(bias), rows=rows) == units


@pytest.mark.parametrize(
    "call",
    [
        lambda: oracle.readout(1, 100),
        lambda: oracle.readout(1, 128),
        lambda: oracle.readout(1, 256, overflow="wrap"),
        lambda: oracle.round_shift(1, 1, "round"),
        lambda: oracle.two_stage(1, 0, 1, 0, "floor", 0, "floor", 0, 0, 1, middle="wrap8"),
        lambda: oracle.accumulate([[1, 2]], [[1]]),
        lambda: oracle.accumulate([[1]], [[1]], [1, 2]),
        lambda: oracle.dac(256),
        lambda: oracle.relu(1, 3),
        lambda: oracle.clip(1, 256),
        lambda: oracle.lookup(1, [1, 2, 3]),
        lambda: oracle.half_even(1, 0),
        lambda: oracle.half_even_f32(1, 0.0, 1.0),
        lambda: oracle.quantize_bias(1, rows=0),
    ],
)
def test_wrong_arguments_are_refused(call: Any) -> None:
    with pytest.raises(ValueError, match="found"):
        call()


def test_fractions_of_codes_are_refused() -> None:
    with pytest.raises(TypeError, match="acc"):
        oracle.readout(np.array([1.0]), 256)
    with pytest.raises(TypeError, match="x"):
        oracle.accumulate([[True]], [[1]])
