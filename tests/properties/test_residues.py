# SPDX-License-Identifier: Apache-2.0
"""Every residue of every gain, around zero and around both ends of the codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from thresholds import readout_block, readout_codes

import bittwin
from bittwin.testing import oracle

WINDOWS = (0, -128, 127, 64, -65)  # codes round which all residues are tried, 2 gains either side


def _window(gain: int, centre: int) -> Any:
    return np.arange((centre - 2) * gain, (centre + 2) * gain, dtype=np.int32)


@pytest.mark.parametrize("gain", oracle.READOUT_GAINS)
def test_readout_of_every_residue_equals_the_thresholds(gain: int) -> None:
    for centre in WINDOWS:
        acc = _window(gain, centre)
        got = bittwin.requantize(acc, bittwin.readout(gain))
        np.testing.assert_array_equal(got, readout_codes(acc, gain))
        np.testing.assert_array_equal(got, readout_block(int(acc[0]), int(acc[-1]) + 1, gain))


@pytest.mark.parametrize("gain", oracle.READOUT_GAINS)
def test_readout_of_residues_equals_the_oracle(gain: int) -> None:
    """All residues for small gains; for large ones all that lie near a quarter step, and others."""
    for centre in WINDOWS:
        acc = _window(gain, centre)
        if gain > 1024:
            quarter = np.abs((acc + gain // 8) % (gain // 4) - gain // 8)
            acc = acc[(quarter < 24) | (acc % 61 == 0)]
        got = bittwin.requantize(acc, bittwin.readout(gain))
        np.testing.assert_array_equal(got, oracle.readout(acc, gain))


@pytest.mark.parametrize("bits", [2, 9, 12, 16])
def test_readout_of_other_widths_equals_the_thresholds(bits: int) -> None:
    lo, hi = oracle.code_range(bits)
    acc = np.concatenate([_window(512, centre) for centre in (lo, -1, 0, hi)])
    got = bittwin.requantize(acc, bittwin.readout(512, bits=bits))
    np.testing.assert_array_equal(got, readout_codes(acc, 512, lo, hi))


@pytest.mark.parametrize("gain", [256, 512, 1024, 2048, 4096, 8192])
def test_half_even_of_every_residue_equals_floats(gain: int) -> None:
    for centre in WINDOWS:
        acc = _window(gain, centre)
        got = bittwin.requantize(acc, bittwin.half_even(gain))
        # acc / gain is exact in float64 and numpy's rint takes ties to even.
        np.testing.assert_array_equal(got, np.clip(np.rint(acc / gain), -128, 127))
        f32 = bittwin.requantize(acc, bittwin.half_even_f32(float(gain), 1.0))
        np.testing.assert_array_equal(got, f32)


@pytest.mark.parametrize("gain", [256, 8192])
def test_wrap_of_the_converter_code_equals_the_oracle(gain: int) -> None:
    for turn in (8192, -8192):
        acc = np.arange(turn * gain - gain, turn * gain + gain, dtype=np.int32)[:: gain // 256]
        got = bittwin.requantize(acc, bittwin.readout(gain, overflow="wrap16"))
        np.testing.assert_array_equal(got, oracle.readout(acc, gain, overflow="wrap16"))


def test_readout_and_half_even_differ_in_an_eighth_of_signed_codes() -> None:
    """The two rules differ for a quarter of the negative residues, and for no positive non-tie."""
    acc = np.arange(-64 * 1024, 64 * 1024, dtype=np.int32)
    readout = bittwin.requantize(acc, bittwin.readout(1024))
    even = bittwin.requantize(acc, bittwin.half_even(1024))
    different = readout != even
    assert abs(different.mean() - 0.125) < 0.001
    assert abs(readout.astype(int) - even)[different].max() == 1
    positive = different & (acc > 0)
    assert set((acc[positive] % 1024).tolist()) == {512}
