# SPDX-License-Identifier: Apache-2.0
"""Every wrong argument is refused: the message names it, what was found and what was wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bittwin

X = np.zeros((2, 3), np.uint8)
W = np.zeros((4, 3), np.int8)
B = np.zeros(4, np.int32)
ACC = np.zeros((2, 4), np.int32)
R = bittwin.readout(256)
PICTURE = np.zeros((1, 2, 5, 5), np.uint8)
KERNEL = np.zeros((4, 2, 3, 3), np.int8)
TRANSPOSED = np.zeros((2, 4, 3, 3), np.int8)
WIDE = np.zeros((2, 3), np.uint16)

Call = Callable[[], Any]

# name of the case: (error, words that the message must contain, call)
TYPE_ERRORS: dict[str, tuple[list[str], Call]] = {
    "float x": (["x", "float64"], lambda: bittwin.linear(X.astype(float), W, B, R)),
    "int32 x": (["x", "int32"], lambda: bittwin.linear(X.astype(np.int32), W, B, R)),
    "bool x": (["x", "bool"], lambda: bittwin.linear(X.astype(bool), W, B, R)),
    "list x": (["x", "list"], lambda: bittwin.linear(X.tolist(), W, B, R)),  # type: ignore[arg-type]
    "swapped x": (["x", "byte"], lambda: bittwin.linear(X.astype(">u2"), W, B, R)),
    "uint8 weight": (["weight", "uint8"], lambda: bittwin.linear(X, W.astype(np.uint8), B, R)),
    "int64 weight": (["weight", "int64"], lambda: bittwin.linear(X, W.astype(np.int64), B, R)),
    "float bias": (["bias", "float64"], lambda: bittwin.linear(X, W, B.astype(float), R)),
    "int64 bias": (["bias", "int64"], lambda: bittwin.linear(X, W, B.astype(np.int64), R)),
    "gain for rule": (["requant", "int"], lambda: bittwin.linear(X, W, B, 256)),  # type: ignore[arg-type]
    "int64 acc": (["acc", "int64"], lambda: bittwin.requantize(ACC.astype(np.int64), R)),
    "float high": (["high", "float"], lambda: bittwin.requantize(ACC, R, high=ACC.astype(float))),
    "wrong out": (["out", "int32"], lambda: bittwin.requantize(ACC, R, out=ACC)),
    "float gain": (["gain", "256.0"], lambda: bittwin.readout(256.0)),  # type: ignore[arg-type]
    "text gain": (["gain", "256"], lambda: bittwin.readout("256")),  # type: ignore[arg-type]
    "bool gain": (["gain", "True"], lambda: bittwin.readout(True)),
    "float bits": (["bits", "8.0"], lambda: bittwin.readout(256, bits=8.0)),  # type: ignore[arg-type]
    "conv x": (["x", "float64"], lambda: bittwin.conv2d(PICTURE * 1.0, KERNEL, None, R)),
    "conv stride": (["stride"], lambda: bittwin.conv2d(PICTURE, KERNEL, None, R, stride=1.5)),  # type: ignore[arg-type]
    "split u8": (["x", "uint8"], lambda: bittwin.split_linear(X, W, B, R, x_bits=12)),
    "int values": (
        ["values", "int64"],
        lambda: bittwin.quantize(np.arange(3), 1.0, bits=8, signed=True),
    ),
    "float table": (["table"], lambda: bittwin.lookup(X, np.zeros(256))),
    "float codes": (["codes"], lambda: bittwin.dequantize(np.zeros(3), 1.0)),
    "relu gain 2": (["x", "int8"], lambda: bittwin.relu(X.astype(np.int16), 2)),
    "bias rows": (["rows"], lambda: bittwin.quantize_bias(B, rows=8.0)),  # type: ignore[arg-type]
    "bias dtype": (["bias", "int16"], lambda: bittwin.quantize_bias(B.astype(np.int16), rows=8)),
}
VALUE_ERRORS: dict[str, tuple[list[str], Call]] = {
    "inner size": (["x", "(2, 2)", "3"], lambda: bittwin.linear(X[:, :2], W, B, R)),
    "no axis": (["x"], lambda: bittwin.linear(np.zeros((), np.uint8), W, B, R)),
    "weight axes": (["weight", "2"], lambda: bittwin.linear(X, W[0], B, R)),
    "bias size": (["bias", "(3,)", "(4,)"], lambda: bittwin.linear(X, W, B[:3], R)),
    "high shape": (["high", "(4,)"], lambda: bittwin.linear(X, W, B, R, high=ACC[0])),
    "out shape": (
        ["out", "(2, 3)"],
        lambda: bittwin.linear(X, W, B, R, out=np.zeros((2, 3), np.int8)),
    ),
    "out strided": (
        ["out"],
        lambda: bittwin.linear(X, W, B, R, out=np.zeros((2, 8), np.int8)[:, ::2]),
    ),
    "overflow": (["overflow", "wrap"], lambda: bittwin.linear(X, W, B, R, overflow="wrap")),
    "x code": (
        ["x", "4096"],
        lambda: bittwin.linear(np.full((1, 3), 4096, np.uint16), W, B, R, x_bits=12),
    ),
    "x_bits": (["x_bits", "17"], lambda: bittwin.linear(X, W, B, R, x_bits=17)),
    "overflowing layer": (
        ["INT32", "column"],
        lambda: bittwin.linear(
            np.zeros((1, 300), np.uint8), np.full((1, 300), 32767, np.int16), None, R
        ),
    ),
    "overflowing bias": (
        ["INT32"],
        lambda: bittwin.linear(X, W + np.int8(1), B + np.int32(2**31 - 1), R),
    ),
    "gain not a power": (["gain", "300"], lambda: bittwin.readout(300)),
    "gain too small": (["gain", "128"], lambda: bittwin.readout(128)),
    "gain too large": (["gain", "65536"], lambda: bittwin.readout(65536)),
    "gain zero": (["gain", "0"], lambda: bittwin.half_even(0)),
    "gain nan": (["gain", "nan"], lambda: bittwin.half_even(float("nan"))),
    "gain inf": (["gain", "inf"], lambda: bittwin.half_even(float("inf"))),
    "gain tiny": (["gain", "1e-320"], lambda: bittwin.half_even(1e-320)),
    "gain below 2^-16": (["gain", "9.5"], lambda: bittwin.half_even(2.0**-20)),
    "gain of a file": (
        ["gain", "nan"],
        lambda: bittwin.Requant.from_config({"rule": "readout", "gain": float("nan")}),
    ),
    "dequantize scale": (
        ["codes_per_unit"],
        lambda: bittwin.dequantize(np.zeros(1, np.int8), 1e-46),
    ),
    "scale beyond float32": (["scale_product"], lambda: bittwin.half_even_f32(1e50, 1.0)),
    "gain odd fraction": (["gain", "0.3"], lambda: bittwin.half_even(0.3)),
    "readout overflow": (["overflow"], lambda: bittwin.readout(256, overflow="wrap32")),
    "scale zero": (["scale_product", "0"], lambda: bittwin.half_even_f32(0.0, 1.0)),
    "scale nan": (["codes_per_unit", "nan"], lambda: bittwin.half_even_f32(1.0, float("nan"))),
    "bits": (["bits", "17"], lambda: bittwin.readout(256, bits=17)),
    "rule name": (["rule", "round"], lambda: bittwin.requant.by_name("round", 256)),
    "rounding name": (["rounding1", "rint"], lambda: bittwin.requant.two_stage(rounding1="rint")),
    "shift": (["shift1", "63"], lambda: bittwin.requant.two_stage(shift1=63)),
    "multiplier": (["multiplier"], lambda: bittwin.requant.two_stage(multiplier=2**31)),
    "channel counts": (
        ["channel"],
        lambda: bittwin.requant.two_stage(multiplier=(1, 2), shift1=(1, 2, 3)),
    ),
    "channels of acc": (
        ["channels", "3"],
        lambda: bittwin.requantize(ACC, bittwin.requant.two_stage(multiplier=(1, 2, 3))),
    ),
    "axis": (
        ["axis", "5"],
        lambda: bittwin.requantize(ACC, bittwin.requant.two_stage(multiplier=(1, 2)), axis=5),
    ),
    "lsh overflow": (
        ["lsh"],
        lambda: bittwin.requantize(ACC + np.int32(2**30), bittwin.requant.two_stage(lsh=1)),
    ),
    "conv channels": (["x", "2"], lambda: bittwin.conv2d(PICTURE[:, :1], KERNEL, None, R)),
    "conv axes": (["x", "4"], lambda: bittwin.conv2d(PICTURE[0], KERNEL, None, R)),
    "conv kernel": (["x", "2"], lambda: bittwin.conv2d(PICTURE[:, :, :2], KERNEL, None, R)),
    "conv groups": (["groups"], lambda: bittwin.conv2d(PICTURE, KERNEL, None, R, groups=3)),
    "conv padding": (["padding"], lambda: bittwin.conv2d(PICTURE, KERNEL, None, R, padding=-1)),
    "conv sides": (
        ["padding"],
        lambda: bittwin.conv2d(PICTURE, KERNEL, None, R, padding=(1, 2, 3)),
    ),
    "conv dilation": (["dilation"], lambda: bittwin.conv2d(PICTURE, KERNEL, None, R, dilation=0)),
    "conv pad_value": (
        ["pad_value", "256"],
        lambda: bittwin.conv2d(PICTURE, KERNEL, None, R, padding=1, pad_value=256),
    ),
    "transpose channels": (
        ["x", "4"],
        lambda: bittwin.conv_transpose2d(PICTURE, KERNEL, None, R),
    ),
    "transpose padding": (
        ["padding"],
        lambda: bittwin.conv_transpose2d(PICTURE, TRANSPOSED, None, R, padding=9),
    ),
    "split x_bits": (["x_bits", "8"], lambda: bittwin.split_linear(WIDE, W, B, R, x_bits=8)),
    "split code": (
        ["x", "512"],
        lambda: bittwin.split_linear(WIDE + np.uint16(512), W, B, R, x_bits=9),
    ),
    "split rule": (
        ["requant"],
        lambda: bittwin.split_linear(
            WIDE, W, B, bittwin.requant.two_stage(multiplier=3, shift1=2), x_bits=12
        ),
    ),
    "split rounding": (
        ["high_rounding"],
        lambda: bittwin.split_linear(WIDE, W, B, R, x_bits=12, high_rounding="rint"),
    ),
    "split bias": (
        ["bias", "(3,)"],
        lambda: bittwin.split_linear(WIDE, W, B, R, x_bits=12, bias_digital=B[:3]),
    ),
    "nan": (["NaN"], lambda: bittwin.quantize(np.array([np.nan]), 1.0, bits=8, signed=True)),
    "scale": (
        ["codes_per_unit"],
        lambda: bittwin.quantize(np.zeros(1), -1.0, bits=8, signed=True),
    ),
    "rows": (["rows", "33"], lambda: bittwin.quantize_bias(B, rows=33)),
    "integer bias scale": (["codes_per_unit"], lambda: bittwin.quantize_bias(B, 2.0, rows=8)),
    "nan bias": (["NaN"], lambda: bittwin.quantize_bias(np.array([np.nan]), rows=8)),
    "table size": (["table", "100"], lambda: bittwin.lookup(X, np.zeros(100, np.int8))),
    "limit": (["limit", "256"], lambda: bittwin.clip(X, 256)),
    "relu gain": (["gain", "3"], lambda: bittwin.relu(X, 3)),
}


def _message(error: type[Exception], call: Call, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"


@pytest.mark.parametrize("name", TYPE_ERRORS)
def test_wrong_type_is_refused(name: str) -> None:
    words, call = TYPE_ERRORS[name]
    _message(TypeError, call, words)


@pytest.mark.parametrize("name", VALUE_ERRORS)
def test_wrong_value_is_refused(name: str) -> None:
    words, call = VALUE_ERRORS[name]
    _message(ValueError, call, words)


def test_the_last_layer_that_fits_is_not_refused() -> None:
    """255 x 32767 x 257 is the last sum of full-scale products below 2^31."""
    for rows, fits in ((257, True), (258, False)):
        weight = np.full((1, rows), 32767, np.int16)
        x = np.full((1, rows), 255, np.uint8)
        assert bittwin.accumulator_bound(weight).fits is fits
        if fits:
            assert bittwin.accumulate(x, weight).tolist() == [[255 * 32767 * rows]]
        else:
            with pytest.raises(ValueError, match="INT32"):
                bittwin.accumulate(x, weight)
            wrapped = bittwin.accumulate(x, weight, overflow="wrap32")
            assert wrapped.tolist() == [[255 * 32767 * rows - 2**32]]
