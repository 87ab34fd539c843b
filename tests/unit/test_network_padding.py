# SPDX-License-Identifier: Apache-2.0
"""Convolution layers whose padding holds a code other than 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin.errors import NetworkError
from bittwin.network import Conv2d, SplitConv2d, layer_from_config

RNG = np.random.default_rng(7)
WEIGHT = RNG.integers(-128, 128, (4, 1, 3, 2)).astype(np.int8)
GEOMETRY: dict[str, Any] = {"padding": (1, 2, 0, 1), "stride": (2, 1), "groups": 2}
AROUND = ((0, 0), (0, 0), (1, 0), (2, 1))


@pytest.mark.parametrize(("signed", "pad_value"), [(False, 200), (True, -3), (True, 200)])
def test_conv2d_pads_with_the_code(signed: bool, pad_value: int) -> None:
    rule = bittwin.readout(1024)
    layer = Conv2d("c", WEIGHT, None, rule, x_signed=signed, pad_value=pad_value, **GEOMETRY)
    x = RNG.integers(0, 128, (3, 2, 5, 6)).astype(np.int8 if signed else np.uint8)
    padded = np.pad(x.astype(np.int16), AROUND, constant_values=pad_value)
    wanted = bittwin.conv2d(padded, WEIGHT, None, rule, stride=(2, 1), groups=2)
    np.testing.assert_array_equal(layer.run(x), wanted)
    assert layer.output_shape((2, 5, 6)) == wanted.shape[1:]


def test_split_conv2d_splits_the_padding_too() -> None:
    rule = bittwin.readout(1024, bits=10)
    layer = SplitConv2d("c", WEIGHT, None, rule, x_bits=10, pad_value=515, **GEOMETRY)
    x = RNG.integers(0, 1024, (3, 2, 5, 6)).astype(np.uint16)
    padded = np.pad(x, AROUND, constant_values=515)
    wanted = bittwin.split_conv2d(padded, WEIGHT, None, rule, x_bits=10, stride=(2, 1), groups=2)
    np.testing.assert_array_equal(layer.run(x), wanted)


def test_older_files_pad_with_zeros() -> None:
    layer = Conv2d("c", WEIGHT, None, bittwin.readout(1024), pad_value=9, **GEOMETRY)
    config = layer.to_config()
    assert layer_from_config(config, layer.arrays()) == layer
    del config["pad_value"]
    older = layer_from_config(config, layer.arrays())
    assert isinstance(older, Conv2d)
    assert older.pad_value == 0


@pytest.mark.parametrize("pad_value", [-1, 256, 1.5])
def test_impossible_codes_are_refused(pad_value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="pad_value"):
        Conv2d("c", WEIGHT, None, bittwin.readout(1024), pad_value=pad_value)
    config = Conv2d("c", WEIGHT, None, bittwin.readout(1024)).to_config() | {"pad_value": pad_value}
    with pytest.raises(NetworkError, match="pad_value"):
        layer_from_config(config, {"weight": WEIGHT})
