# SPDX-License-Identifier: Apache-2.0
"""The limits of the mapper's optimisations, each refused with the number found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin.chips import WTM2101
from bittwin.optimize import (
    Limits,
    Optimization,
    exponent,
    optimize_input,
    optimize_layer,
    repeated_output,
    restore_layer,
    saturates,
    signed_codes,
    signed_layer,
    signed_rows,
    sparse_linear,
    split_weight,
)

W = np.array([[64, -64]], np.int16)
B = np.array([400_000], np.int32)
ROWS = np.zeros((1, 113), np.int8)
X = np.array([[1, 2]], np.uint8)
R = bittwin.readout(256)
F32 = bittwin.half_even_f32(3.0, 1.0)


def test_the_default_limits_are_the_optimisers() -> None:
    assert Limits() == Limits(256, 8192, 256, 563_200, 896)
    assert WTM2101.rows_per_half == 896


def test_what_just_fits_is_taken() -> None:
    plan = Optimization(weight_shift=2, duplicate=3)
    weight = np.full((1, 112), 64, np.int8)
    w, b, g = optimize_layer(weight, np.array([17_600], np.int32), 256, plan)
    assert (w.shape, int(w.max()), g) == ((1, 896), 256, 8192)
    assert b is not None
    assert b.tolist() == [563_200]
    assert w.dtype == np.int16
    assert b.dtype == np.int32


def test_a_front_scale_and_a_magnify_divide_the_gain() -> None:
    assert optimize_layer(W, None, 2048, Optimization(magnify=1, front_scale=2))[2] == 256


@pytest.mark.parametrize(
    ("n", "minus_one", "wanted"),
    [(0, "shifted", 0), (3, "shifted", 3), (-1, "shifted", 0), (-1, "split", 5)],
)
def test_minus_one_is_a_named_choice(n: int, minus_one: str, wanted: int) -> None:
    assert signed_rows(n, 5, minus_one=minus_one) == wanted


def test_the_cmodels_event_makes_bytes_of_signed_codes() -> None:
    """N = 0 shifts all codes; -128 in the negative half is 128."""
    x = np.array([-128, -1, 0, 127], np.int8)
    assert signed_codes(x, 0).tolist() == [0, 127, 128, 255]
    assert signed_codes(x, 4).tolist() == [0, 0, 0, 127, 128, 1, 0, 0]
    assert signed_codes(x, 4, cmodel=True).tolist() == [0, 0, 0, 127, 127, 1, 0, 0]


def test_exponent_flags() -> None:
    assert [exponent(*pair) for pair in ((1, 2), (2, 2), (10, 0), (0, 3))] == [2, 2, 0, 0]
    assert exponent(3, 1, flags="exponent is shift") == 3
    with pytest.raises(ValueError, match="flags: found 'x'"):
        exponent(1, 1, flags="x")
    with pytest.raises(ValueError, match="num: found -1"):
        exponent(1, -1)


def test_mix_is_not_the_plain_product_where_rounding_shows() -> None:
    """-129 = 127 - 256: two roundings instead of one."""
    x, w = np.array([[1]], np.uint8), np.array([[-129]], np.int16)
    plain = bittwin.linear(x, w, None, R)
    mix = sparse_linear(x, w, None, R, mode="MIX")
    assert (plain.item(), mix.item()) == (0, -1)


def plan(**exponents: int) -> Optimization:
    return Optimization(**exponents)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan(input_shift=9), "input_shift: found 9"),
        (lambda: plan(duplicate=-1), "duplicate: found -1"),
        (lambda: plan(magnify=True), "magnify: found True"),
        (lambda: optimize_layer(W, None, 256, plan(weight_shift=3)), r"weight: found 512 .* -256\.\.256"),
        (lambda: optimize_layer(-W, None, 256, plan(weight_shift=3)), "weight: found -512"),
        (lambda: optimize_layer(W, B, 256, plan(weight_shift=1)), "bias: found 800000"),
        (lambda: optimize_layer(ROWS, None, 256, plan(duplicate=3)), "weight: found 904 rows"),
        (lambda: optimize_layer(W, None, 4096, plan(weight_shift=2)), r"found 16384 .* wanted 256\.\.8192"),
        (lambda: optimize_layer(W, None, 256, plan(magnify=1)), "gain: found 128 once optimised"),
        (lambda: optimize_layer(W, None, 256, plan(magnify=8, front_scale=1)), r"gain: found 0\.5"),
        (lambda: optimize_layer(W, None, 300, plan()), "gain: found 300"),
        (lambda: optimize_layer(W, None, 256, None), "plan: found NoneType"),
        (lambda: optimize_layer(W, None, 256, plan(), shifted_inputs=3), "shifted_inputs: found 3"),
        (lambda: restore_layer(W, None, 512, plan(weight_shift=7)), "found 64, wanted a multiple of 128"),
        (lambda: restore_layer(W, None, 512, plan(duplicate=1)), "not 2 copies"),
        (lambda: restore_layer(W[:, :1], None, 512, plan(duplicate=1)), "found 1 rows, wanted a multiple"),
        (lambda: restore_layer(W, np.array([3], np.int32), 512, plan(input_shift=1)), "bias: found 3"),
        (lambda: restore_layer(W, None, 256, plan(input_shift=1)), "gain: found 128"),
        (lambda: optimize_input(X.astype(np.int8), plan()), "x: found dtype int8"),
        (lambda: optimize_input(np.array(3, np.uint8), plan()), "found a single code"),
        (lambda: saturates(X.astype(np.int16), plan()), "x: found dtype int16"),
        (lambda: repeated_output([]), "copies: found 0"),
        (lambda: repeated_output([np.zeros(1, np.int8)] * 3), "found 3, wanted a power of two"),
        (lambda: repeated_output([np.zeros(1, np.int8), np.zeros(2, np.int8)]), "found shapes"),
        (lambda: signed_rows(6, 5), r"signed_input: found 6, wanted an integer in -1\.\.5"),
        (lambda: signed_rows(-1, 5, minus_one="x"), "minus_one: found 'x'"),
        (lambda: signed_layer(W, None, 3), "n: found 3"),
        (lambda: signed_layer(W[0], None, 1), r"weight: found shape \(2,\)"),
        (lambda: signed_layer(np.ones((1, 449), np.int8), None, 449), "found 898 rows"),
        (lambda: signed_layer(np.full((1, 40), 127, np.int8), None, 0), "bias: found -650240"),
        (lambda: signed_codes(X, 1), "x: found dtype uint8"),
        (lambda: split_weight(W, 9), "bits: found 9"),
        (lambda: split_weight(W, 8, low="x"), "low: found 'x'"),
        (lambda: sparse_linear(X, W, None, R, mode="ALL"), "mode: found 'ALL'"),
        (lambda: sparse_linear(X, W + 212, None, R), r"found code 276 .* -275\.\.275"),
        (lambda: sparse_linear(X, W + 64, None, R, mode="DIG"), r"wanted -128\.\.127"),
        (lambda: sparse_linear(X, W, None, R, mode="MIX", add="x"), "add: found 'x'"),
        (lambda: sparse_linear(X, W, None, R, mode="MIX", bias_side="x"), "bias_side: found 'x'"),
        (lambda: sparse_linear(X, W, None, R, mode="MIX", high_rounding="x"), "high_rounding: found 'x'"),
        (lambda: sparse_linear(X, W, None, F32, mode="MIX"), "wanted readout or half_even"),
        (lambda: sparse_linear(X, W, None, bittwin.requant.bm1684x_conv(3, 4), mode="MIX"), "requant: found"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
