# SPDX-License-Identifier: Apache-2.0
"""The big-integer oracle's layers and activations against constants worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bittwin.testing import oracle


def test_split_keeps_sign_and_magnitude() -> None:
    assert oracle.split_input(-1) == (-1, 0)  # floor would give (255, -1)
    assert oracle.split_input(-256) == (0, -1)
    x = np.arange(-4095, 4096)
    low, high = oracle.split_input(x)
    np.testing.assert_array_equal(low + 256 * high, x)
    assert abs(low).max() == 255
    assert set(np.sign(low * x)) <= {0, 1}


def _parts(low: int, high: int, **options: Any) -> int:
    """One output whose low and high accumulators are the given ones, by biases alone."""
    return int(oracle.split_linear([[0]], [[1]], [low], bias_digital=[high], **options)[0, 0])


def test_worked_split_examples_of_the_training_tool() -> None:
    assert _parts(256, 256, rule="half_even", gain=512) == 0  # 0 + 0; joint rounding gives 1
    assert _parts(768, 512, rule="half_even", gain=512) == 3  # 2 + 1
    assert _parts(200000, -256, rule="half_even", gain=16, bits=10) == 495  # 511 - 16
    f32 = {"rule": "half_even_f32", "scale_product": 16.0, "codes_per_unit": 1.0}
    assert _parts(200000, -256, bits=10, **f32) == 495


def test_split_clamps_the_low_part_for_half_even_and_not_for_the_readout() -> None:
    assert _parts(300 * 256, -200 * 256, rule="half_even", gain=256) == 127 - 200
    assert _parts(300 * 256, -200 * 256, rule="readout", gain=256) == 100
    assert _parts(300 * 256, -200 * 256, rule="readout", gain=256, low_bits=8) == 127 - 200
    assert _parts(300 * 256, -200 * 256, rule="half_even", gain=256, low_bits=None) == 100


def test_split_divides_the_high_part_by_the_rounded_gain() -> None:
    # G = 9.23: the low part is divided by 9.23, the high part by 9.
    f32 = {"rule": "half_even_f32", "scale_product": 9.23, "codes_per_unit": 1.0}
    assert _parts(0, 900, **f32) == 100
    assert _parts(900, 0, **f32) == 98
    with pytest.raises(ValueError, match="rounds to 0"):
        _parts(0, 0, rule="half_even_f32", scale_product=0.25, codes_per_unit=1.0)


def test_high_round_counts_256_times() -> None:
    got = oracle.split_linear([[-513]], [[3]], None, rule="readout", gain=256, bits=12)
    assert got.tolist() == [[-6]]  # low -1*3 -> 0, high -2*3*256/256


def test_accumulate_is_exact_beyond_int32() -> None:
    acc = oracle.accumulate(np.full((1, 3), 65535, np.uint16), np.full((1, 3), 32767, np.int16))
    assert acc.tolist() == [[3 * 65535 * 32767]]
    assert oracle.wrap32(acc).tolist() == [[3 * 65535 * 32767 - 2**32]]


@pytest.mark.parametrize(("frames", "k", "columns"), [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0)])
def test_zero_sizes_give_the_bias_or_nothing(frames: int, k: int, columns: int) -> None:
    bias = list(range(columns))
    acc = oracle.accumulate(np.zeros((frames, k), int), np.zeros((columns, k), int), bias)
    assert acc.shape == (frames, columns)
    assert acc.tolist() == [bias] * frames


def test_conv2d_of_one_pixel_is_linear() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.integers(0, 256, (2, 5, 1, 1)), rng.integers(-128, 128, (3, 5, 1, 1))
    flat = oracle.accumulate(x[..., 0, 0], w[..., 0, 0], [1, 2, 3])
    np.testing.assert_array_equal(oracle.conv2d(x, w, [1, 2, 3])[..., 0, 0], flat)


def test_conv2d_pads_each_side_on_its_own() -> None:
    x = np.arange(1, 7).reshape(1, 1, 2, 3)
    w = np.array([1, 10, 100, 1000]).reshape(1, 1, 2, 2)
    got = oracle.conv2d(x, w, padding=(1, 0, 0, 2), pad_value=9, stride=(2, 2))
    # Padded picture: rows 9 9 9 9 9 / 1 2 3 9 9 / 4 5 6 9 9; only the top row position fits once.
    assert got.tolist() == [[[[2199, 9399]]]]


def test_conv2d_groups_and_dilation() -> None:
    x = np.arange(10).reshape(1, 2, 1, 5)
    w = np.array([[[[1, 100]]], [[[1, 100]]]])
    got = oracle.conv2d(x, w, groups=2, dilation=(1, 3))
    assert got.tolist() == [[[[300, 401]], [[805, 906]]]]


def test_conv_transpose2d_is_the_adjoint_of_conv2d() -> None:
    rng = np.random.default_rng(2)
    weight = rng.integers(-128, 128, (3, 2, 3, 2))  # [O, C, kh, kw] of conv2d
    geometry: dict[str, Any] = {
        "stride": (2, 1),
        "padding": (1, 0, 0, 1),
        "dilation": (1, 2),
    }
    x = rng.integers(-128, 128, (1, 2, 7, 6))
    y = oracle.conv2d(x, weight, **geometry)
    z = rng.integers(-128, 128, y.shape)
    back = oracle.conv_transpose2d(z, weight, output_padding=(1, 0), **geometry)
    assert back.shape == x.shape
    assert (y * z).sum() == (x * back).sum()  # <conv(x), z> = <x, conv_transpose(z)>


def test_conv_transpose2d_output_padding_adds_rows_at_the_bottom() -> None:
    got = oracle.conv_transpose2d([[[[1]]]], [[[[2]]]], [5], output_padding=(2, 1))
    assert got.tolist() == [[[[7, 5], [5, 5], [5, 5]]]]


def test_accumulator_bound_is_reached() -> None:
    low, high = oracle.accumulator_bound([[127, -128], [1, 1]], [10, -10], -128, 127)
    assert low.tolist() == [10 - 127 * 128 - 128 * 127, -10 - 256]
    assert high.tolist() == [10 + 127 * 127 + 128 * 128, -10 + 254]


def test_dac_matches_its_definition_for_all_bytes() -> None:
    byte = np.arange(256)
    signed = byte.astype(np.uint8).view(np.int8).astype(int)
    expected = {
        ("unsigned", False): byte,
        ("unsigned", True): (256 - byte) & 255,
        ("signed", False): np.maximum(signed, 0),
        ("signed", True): np.where(signed == -128, 0, np.maximum(-signed, 0)),
    }
    for (kind, invert), wanted in expected.items():
        for double in (False, True):
            got = oracle.dac(byte, kind, invert=invert, double=double)
            np.testing.assert_array_equal(got, wanted * (2 if double else 1))


def test_activations_match_their_definitions() -> None:
    y = np.arange(-128, 128)
    np.testing.assert_array_equal(oracle.relu(y, 2), 2 * np.maximum(y, 0))
    np.testing.assert_array_equal(oracle.clip(y, 200), np.clip(y, 0, 200))
    table = np.arange(1024) * 3
    np.testing.assert_array_equal(oracle.lookup(y, table), table[(2 * y) & 1023])
    np.testing.assert_array_equal(oracle.lookup(y, table[:256]), table[y & 255])
    assert oracle.unsigned_store(600 * 64, 256) == 150  # t = 600: not clipped to 512 first
    assert oracle.unsigned_store(-256, 256) == 255
    assert oracle.post_adder_shift(-128, 0) == 127
