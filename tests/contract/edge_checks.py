# SPDX-License-Identifier: Apache-2.0
"""Checks of bias rows, the split of wide inputs and the activations against the oracle."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from bittwin.testing import oracle
from contract.implementation import Edges, Split
from contract.requant_checks import assert_same


def check_bias(impl: Edges) -> None:
    near = [128 * n + d for n in range(-6, 7) for d in (-65, -64, -63, -1, 0, 1, 63, 64, 65)]
    for rows in (1, 8, 32):
        ends = [
            128 * end * rows + d for end in (-128, 127) for d in (-200, -64, -1, 0, 64, 65, 200)
        ]
        bias = np.array(near + ends)
        wanted = oracle.quantize_bias(bias, rows=rows)
        assert_same(impl.quantize_bias(bias.astype(np.int32), rows), wanted, "bias units", bias)
        single = bias.astype(np.float32)
        assert_same(impl.quantize_bias(single, rows), wanted, "float32 bias", bias)
        fractions = (bias + 0.5).astype(np.float32)
        wanted = oracle.quantize_bias(fractions, rows=rows)
        assert_same(impl.quantize_bias(fractions, rows), wanted, "float32 bias", fractions)


SPLITS = (
    Split(),
    Split(gain=512),
    Split(gain=512, bits=12),
    Split(low_bits=8),
    Split("half_even", low_bits=8),
    Split("half_even", gain=512, bits=10, low_bits=10),
    Split("half_even", gain=512, bits=10),
    Split("half_even", gain=2048, bits=10, low_bits=10, high_rounding="half_up"),
    Split("half_even_f32", 0, 512.0, 1.0, bits=10, low_bits=10),
    Split("half_even_f32", 0, 9.23 * 37, 37.0, bits=12, low_bits=12),
    Split("half_even_f32", 0, 300.7, 1.6, bits=8, low_bits=8),
    Split("half_even_f32", 0, 2.0**25, 1.0, bits=8, low_bits=8),
)


def check_split(impl: Edges) -> None:
    """12-bit inputs of both signs; ties of the high part; a low part far beyond 8 bits."""
    corners = [-4095, -4094, -513, -512, -257, -256, -255, -129, -128, -2, -1]
    every = [*corners, 0, *(-c for c in corners)]
    x = np.array([[a, b] for a in every for b in (0, -1, 257, 4095)], dtype=np.int16)
    weight = np.array([[1, 0], [-128, 127], [127, 127], [3, -5]], dtype=np.int8)
    bias = np.array([0, 128, -32768, 60000], dtype=np.int32)
    digital = np.array([0, 128, -60000, 256], dtype=np.int32)
    no_float32 = np.array([2**24 + 1, -(2**24) - 1, 3 * 2**24 - 3, 2**30 + 1], dtype=np.int32)
    for how in SPLITS:
        for analog, high in ((None, None), (bias, None), (bias, digital), (None, no_float32)):
            got = impl.split_linear(x, weight, analog, high, how)
            wanted = oracle.split_linear(x, weight, analog, bias_digital=high, **asdict(how))
            assert_same(got, wanted, f"{how}")


def check_activations(impl: Edges) -> None:
    code = np.arange(-128, 128).astype(np.int8)
    for gain in (1, 2):
        assert_same(impl.relu(code, gain), oracle.relu(code, gain), f"relu gain {gain}", code)
    for limit in (0, 1, 90, 127):
        assert_same(impl.clip(code, limit), oracle.clip(code, limit), f"clip {limit}", code)
    rng = np.random.default_rng(30)
    for size in (256, 1024):
        table = rng.integers(-128, 128, size).astype(np.int8)
        wanted = oracle.lookup(code, table)
        assert_same(impl.lookup(code, table), wanted, f"table of {size}", code)


EDGE_CHECKS = (check_bias, check_split, check_activations)
