# SPDX-License-Identifier: Apache-2.0
"""The layers that ONNX files need beside the others: float32 steps, sparse weights. Against plain Python."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin.network import (
    DequantizeLinear,
    Layer,
    Linear,
    Network,
    QuantizeLinear,
    RequantizeLinear,
    SparseLinear,
    layer_from_config,
)
from bittwin.network.onnx_quantize import accumulator

ONE = np.array([0.75], np.float32)
THREE = np.array([0.5, 0.0371, 3.0], np.float32)
POINT = np.array([3], np.int32)
POINTS = np.array([-128, 0, 127], np.int32)
W = np.array([[200, -3, 40], [-256, 128, 7]], np.int16)

LAYERS: dict[str, Layer] = {
    "requantize": RequantizeLinear("l", ONE, POINT),
    "requantize channels": RequantizeLinear("l", THREE, POINTS, "int8", 2),
    "quantize": QuantizeLinear("l", ONE, POINT, "int8"),
    "quantize channels": QuantizeLinear("l", THREE, POINTS, "int8", 2),
    "dequantize": DequantizeLinear("l", ONE, POINT),
    "dequantize int32": DequantizeLinear("l", THREE, np.zeros(1, np.int32), "int32", 2),
    "sparse": SparseLinear(
        "l", W, np.array([128, 0], np.int32), bittwin.readout(256), mode="MIX", low="unsigned"
    ),
}


def half_even(value: Fraction) -> int:
    return round(value)  # Python's own, exact on fractions


def single(value: Fraction) -> Fraction:
    """One float32 rounding of an exact number."""
    number = np.float32(float(value))  # the doubles met here are exact, so there is one rounding
    return Fraction(float(number))


@pytest.mark.parametrize(
    "name", ["requantize", "requantize channels", "quantize", "quantize channels"]
)
def test_codes_by_hand(name: str) -> None:
    layer: Any = LAYERS[name]
    rng = np.random.default_rng(1)
    if name.startswith("re"):
        x = rng.integers(-400, 401, (20, 2, 3)).astype(np.int32)
        x[0] = [[0, 2, 4], [1 << 24, -(1 << 31), (1 << 31) - 1]]
    else:
        x = (rng.integers(-400, 401, (20, 2, 3)) * 0.375).astype(np.float32)
        x[0] = [[np.inf, -np.inf, 0], [3e38, -3e38, 1e-40]]
    y = layer.run(x)
    info = np.iinfo(layer.dtype)
    for at in np.ndindex(*x.shape):
        i = at[2] if layer.scale.size > 1 else 0
        scale, zero = Fraction(float(layer.scale[i])), int(layer.zero_point[i])
        if math.isinf(float(x[at])):
            wanted = info.max if x[at] > 0 else info.min
        else:
            number = Fraction(x[at].item())
            real = single(single(number) * scale) if name.startswith("re") else None
            if real is None:
                with np.errstate(over="ignore"):
                    quotient = np.float32(x[at]) / np.float32(layer.scale[i])
                real = Fraction(float(quotient)) if np.isfinite(quotient) else number * 4
            wanted = min(max(half_even(real) + zero, info.min), info.max)
        assert int(y[at]) == wanted, at
    assert y.dtype == np.dtype(layer.dtype)


def test_values_by_hand() -> None:
    x = np.array([[0, 3, 255]], np.uint8)
    np.testing.assert_array_equal(
        LAYERS["dequantize"].run(x), np.array([[-2.25, 0, 189]], np.float32)
    )
    x = np.array([[[1 << 24, -7, (1 << 31) - 1]]], np.int32)
    wanted = [[[2.0**23, float(np.float32(-7) * np.float32(0.0371)), 3 * 2.0**31]]]
    np.testing.assert_array_equal(LAYERS["dequantize int32"].run(x), np.array(wanted, np.float32))


def test_the_accumulator_is_kept() -> None:
    layer = Linear("l", W, np.array([5, -5], np.int32), accumulator(), x_signed=True)
    x = np.array([[-128, 127, 1], [255, 255, 255]], np.int16)
    y = layer.run(x)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, x.astype(int) @ W.T.astype(int) + [5, -5])


def test_sparse_layer_is_the_function() -> None:
    layer: Any = LAYERS["sparse"]
    x = np.random.default_rng(0).integers(0, 256, (50, 3)).astype(np.uint8)
    for mode in ("SIM", "MIX"):
        for add in ("after rounding", "before rounding"):
            other = SparseLinear("l", W, layer.bias, layer.requant, mode=mode, add=add)
            wanted = bittwin.optimize.sparse_linear(
                x, W, layer.bias, layer.requant, mode=mode, add=add
            )
            np.testing.assert_array_equal(other.run(x), wanted)
    with pytest.raises(ValueError, match="mode: found 'ALL'"):
        SparseLinear("l", W, None, bittwin.readout(256), mode="ALL")
    with pytest.raises(ValueError, match=r"wanted -128\.\.127"):
        SparseLinear("l", W, None, bittwin.readout(256), mode="DIG")


@pytest.mark.parametrize("name", LAYERS)
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    text = json.dumps(layer.to_config())
    assert layer_from_config(json.loads(text), layer.arrays()) == layer
    net = Network([layer], input_shape=[3] if name == "sparse" else [2, 3])
    net.save(tmp_path / "net.npz")
    assert bittwin.load_network(tmp_path / "net.npz") == net
    with pytest.raises(bittwin.NetworkError):
        layer_from_config({**layer.to_config(), "surprise": 1}, layer.arrays())


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: QuantizeLinear("l", np.array([0], np.float32), POINT), "finite numbers above 0"),
        (lambda: QuantizeLinear("l", np.array([np.nan], np.float32), POINT), "finite numbers above 0"),
        (lambda: QuantizeLinear("l", np.ones(1), POINT), "scale: found dtype float64"),
        (lambda: QuantizeLinear("l", ONE, POINT, "int16"), "dtype: found 'int16'"),
        (lambda: QuantizeLinear("l", ONE, np.array([-1], np.int32)), "zero_point: found -1"),
        (lambda: QuantizeLinear("l", THREE, POINTS[:2], "int8"), r"zero_point: found shape \(2,\)"),
        (lambda: QuantizeLinear("l", ONE, POINT, axis=0), "axis 0 counts frames"),
        (lambda: DequantizeLinear("l", ONE, POINT, "int32"), "wanted 0"),
        (lambda: LAYERS["quantize"].run(np.zeros((1, 3), np.int8)), "x: found dtype int8"),
        (lambda: LAYERS["quantize"].run(np.array([[np.nan]], np.float32)), "(?i)nan"),
        (lambda: LAYERS["dequantize"].run(np.zeros((1, 3), np.int8)), "wanted uint8"),
        (lambda: LAYERS["requantize channels"].run(np.zeros((1, 3, 2), np.int32)), "wanted 3 channels"),
        (lambda: LAYERS["requantize channels"].output_shape((3,)), "wanted 3 channels"),
    ],
)  # fmt: skip
def test_refusals(build: Any, match: str) -> None:
    with pytest.raises((TypeError, ValueError), match=match):
        build()
