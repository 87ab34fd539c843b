# SPDX-License-Identifier: Apache-2.0
"""Everything there is: all 2^32 accumulators, all products of two bytes (`make test-exhaustive`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from thresholds import readout_block

import bittwin

pytestmark = pytest.mark.exhaustive

BLOCK = 1 << 24
GAINS = (256, 512, 1024, 2048, 4096, 8192)
BYTES = np.arange(256)


@pytest.mark.parametrize("gain", GAINS)
def test_readout_of_all_accumulators_equals_the_thresholds(gain: int) -> None:
    requant = bittwin.readout(gain)
    acc = np.arange(-(1 << 31), -(1 << 31) + BLOCK, dtype=np.int32)
    codes = np.empty(BLOCK, np.int8)
    for start in range(-(1 << 31), 1 << 31, BLOCK):
        bittwin.requantize(acc, requant, out=codes)
        wanted = readout_block(start, start + BLOCK, gain)
        if not np.array_equal(codes, wanted):
            at = int(np.flatnonzero(codes != wanted)[0])
            pytest.fail(f"gain {gain}: acc {acc[at]} gave {codes[at]}, wanted {wanted[at]}")
        if start + BLOCK < 1 << 31:
            acc += np.int32(BLOCK)


@pytest.mark.parametrize("x_dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("w_dtype", [np.int8, np.int16])
def test_all_products_of_two_bytes_are_exact(x_dtype: Any, w_dtype: Any) -> None:
    x = BYTES.astype(np.uint8).view(x_dtype)
    weight = BYTES.astype(np.uint8).view(np.int8).astype(w_dtype)
    got = bittwin.accumulate(x[:, None], weight[:, None])
    wanted = [[int(a) * int(b) for b in weight] for a in x]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("x_dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("lane", range(0, 64, 7))
def test_all_products_are_exact_in_every_lane(x_dtype: Any, lane: int) -> None:
    """Neighbours at their extremes: a kernel that adds in saturating pairs cannot pass."""
    x = BYTES.astype(np.uint8).view(x_dtype)
    weight = BYTES.astype(np.uint8).view(np.int8)
    hi, lo = int(np.iinfo(x_dtype).max), -128
    codes = np.full((256, 64), hi, x_dtype)
    codes[:, lane] = x
    for neighbour in (127, lo):
        cells = np.full((256, 64), neighbour, np.int8)
        cells[:, lane] = weight
        rest = 63 * hi * neighbour
        wanted = np.multiply.outer(x.astype(np.int64), weight.astype(np.int64)) + rest
        np.testing.assert_array_equal(bittwin.accumulate(codes, cells), wanted)


@pytest.mark.parametrize("weight_sign", [-1, 1])
def test_all_inputs_of_16_bits_are_exact(weight_sign: int) -> None:
    weight = np.array([[weight_sign * 32767], [weight_sign], [275 * weight_sign]], np.int16)
    for dtype in (np.uint16, np.int16):
        x = np.arange(1 << 16).astype(np.uint16).view(dtype)
        got = bittwin.accumulate(x[:, None], weight, x_bits=16)
        np.testing.assert_array_equal(got, np.multiply.outer(x.astype(np.int64), weight[:, 0]))
