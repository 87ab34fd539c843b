# SPDX-License-Identifier: Apache-2.0
"""The training tool's operators on codes: equal to a number-by-number model, as functions and as layers.

The model is written from docs/spec/digital_training.md: exact integers and fractions, float32 only where the
page names a float32 step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin.digital import simulated
from bittwin.network import (
    Divide,
    FactorOffset,
    Hypot,
    InvSqrt,
    LayerNorm,
    MatMul,
    Network,
    Operation,
    PRelu,
    Sqrt,
    layer_from_config,
)
from bittwin.network.simulated import SIMULATED

F = np.float32
Model = Callable[..., Any]


def out(v: Any, units: float, bits: int, signed: bool = True) -> int:
    """The output quantiser of one float32 number; Python rounds a fraction half even."""
    code = round(Fraction(float(F(v) * F(units))))
    low = -(1 << (bits - 1)) if signed else 0
    return min(max(code, low), (1 << (bits - signed)) - 1)


def limited(v: Any, limit: float | None) -> Any:
    return v if limit is None else min(max(F(v), -F(limit)), F(limit))


def divide(a: int, b: int, ua: float, ub: float, uy: float, bits: int, limit: float | None) -> int:
    # One float32 quotient, then half even.
    whole = round(Fraction(float(F(a) / F(b or 1e-8))))
    v = min(max(F(F(whole) / F(ua)) * F(ub), F(-8)), F(8))
    return out(limited(v, limit), uy, bits)


def root(n: int, shift: int) -> int:
    return math.isqrt(n << shift)


def sqrt(x: int, ux: float, uy: float, shift: int, bits: int, limit: float | None) -> int:
    v = F(root(x, shift)) / F(2 ** (shift // 2)) / F(math.sqrt(ux))
    return out(limited(v, limit), uy, bits, False)


def inv_sqrt(x: int, ux: float, uy: float, shift: int, bits: int, limit: float | None) -> int:
    i = root(x, shift)
    v = F(1) / F(i) * F(math.sqrt(ux * 2**shift)) if i else F(0)
    return out(limited(v, limit), uy, bits, False)


def hypot(a: int, b: int, ux: float, uy: float, shift: int, bits: int, limit: float | None) -> int:
    v = F(root(a * a + b * b, shift)) / F(2 ** (shift // 2)) / F(ux)
    return out(limited(v, limit), uy, bits, False)


def prelu(x: int, w: int, ux: float, uw: float, uy: float, bits: int, limit: float | None) -> int:
    v = F(x) / F(ux)
    if not v > 0:
        v = v * (F(w) / F(uw))
    return out(limited(v, limit), uy, bits)


def factor_offset(x: int, f: int, o: int, units: float, uy: float, bits: int) -> int:
    code = round(Fraction(float(F(x * f + o) / F(units / uy))))
    return min(max(code, -(1 << (bits - 1))), (1 << (bits - 1)) - 1)


def mean(codes: list[int], sum_bits: int) -> int:
    half = 1 << (sum_bits - 1)
    total = min(max(sum(codes), -half), half - 1)
    return round(Fraction(float(F(total) / F(len(codes)))))


def layer_norm(
    codes: list[int], uy: float, shift: int, sums: int, simple: bool, bits: int, limit: float | None
) -> list[int]:
    mu = 0 if simple else mean(codes, sums)
    d = [c - mu for c in codes]
    i = root(mean([v * v for v in d], sums), shift)
    inverse = F(1) / F(i) * F(2 ** (shift // 2)) if i else F(0)
    return [out(limited(F(v) * inverse, limit), uy, bits) for v in d]


def corners(rng: np.random.Generator, shape: Any, bits: int, signed: bool = True) -> np.ndarray:
    """Codes of which most are ends, zeros and neighbours of both."""
    low = -(1 << (bits - 1)) if signed else 0
    high = (1 << (bits - signed)) - 1
    ends = [low, low + 1, 0, 1, 2, high // 2, high - 1, high] + ([-1, -2] if signed else [])
    found = np.where(
        rng.random(shape) < 0.6, rng.choice(ends, shape), rng.integers(low, high + 1, shape)
    )
    word = "int8" if signed and bits == 8 else "uint8" if bits == 8 else "int16"
    return found.astype(word)


UNITS = (1.0, 2.0, 16.0, 100.0, 0.3)
SEEDS = range(12)


def drawn(seed: int) -> tuple[np.random.Generator, list[float], int, float | None]:
    rng = np.random.default_rng(seed)
    units = [float(rng.choice(UNITS)) for _ in range(3)]
    return rng, units, int(rng.integers(8, 13)), [None, 0.7, 3.3][seed % 3]


@pytest.mark.parametrize("seed", SEEDS)
def test_divide(seed: int) -> None:
    rng, (ua, ub, uy), bits, limit = drawn(seed)
    a, b = (corners(rng, (4, 50), bits) for _ in range(2))
    got = simulated.divide(a, b, units_a=ua, units_b=ub, units_y=uy, y_bits=bits, limit=limit)
    wanted = [
        divide(int(x), int(y), ua, ub, uy, bits, limit) for x, y in zip(a.flat, b.flat, strict=True)
    ]
    assert got.ravel().tolist() == wanted


@pytest.mark.parametrize("seed", SEEDS)
def test_roots(seed: int) -> None:
    rng, (ux, uy, _), bits, limit = drawn(seed)
    shift = (0, 4, 8, 12, 16)[seed % 5]
    x = corners(rng, (3, 70), bits, signed=False)
    same = {"units_x": ux, "units_y": uy, "x_bits": bits, "y_bits": bits, "limit": limit}
    for function, model in ((simulated.sqrt, sqrt), (simulated.inv_sqrt, inv_sqrt)):
        got = function(x, shift_bits=shift, **same)  # type: ignore[operator]
        assert got.ravel().tolist() == [model(int(v), ux, uy, shift, bits, limit) for v in x.flat]
    shift = min(shift, 32 - 2 * bits) // 4 * 4
    a, b = corners(rng, (3, 70), bits), corners(rng, (3, 70), bits)
    got = simulated.hypot(a, b, shift_bits=shift, **same)  # type: ignore[arg-type]
    wanted = [
        hypot(int(v), int(w), ux, uy, shift, bits, limit)
        for v, w in zip(a.flat, b.flat, strict=True)
    ]
    assert got.ravel().tolist() == wanted


@pytest.mark.parametrize("seed", SEEDS)
def test_matmul(seed: int) -> None:
    rng, (ua, ub, uy), bits, _ = drawn(seed)
    a, b = corners(rng, (2, 3, 40), bits), corners(rng, (2, 40, 4), bits)
    got = simulated.matmul(a, b, units_a=ua, units_b=ub, units_y=uy, y_bits=bits)
    for frame in range(2):
        for i in range(3):
            for j in range(4):
                acc = sum(int(p) * int(q) for p, q in zip(a[frame, i], b[frame, :, j], strict=True))
                assert got[frame, i, j] == out(F(F(acc) / F(ua)) / F(ub), uy, bits)


@pytest.mark.parametrize("seed", SEEDS)
def test_channels(seed: int) -> None:
    rng, (ux, uw, uy), bits, limit = drawn(seed)
    x = corners(rng, (4, 3, 5, 2), bits)
    w = corners(rng, 3, bits)
    got = simulated.prelu(x, w, units_x=ux, units_w=uw, units_y=uy, y_bits=bits, limit=limit)
    o = rng.integers(-(1 << 23), 1 << 23, 3).astype(np.int32)
    folded = simulated.factor_and_offset(x, w, o, units=ux * uw, units_y=uy, y_bits=bits)
    for place in np.ndindex(x.shape):
        code, slope = int(x[place]), int(w[place[1]])
        assert got[place] == prelu(code, slope, ux, uw, uy, bits, limit)
        assert folded[place] == factor_offset(code, slope, int(o[place[1]]), ux * uw, uy, bits)


@pytest.mark.parametrize("seed", SEEDS)
def test_layer_norm(seed: int) -> None:
    rng, (_, _, uy), bits, limit = drawn(seed)
    shift = min((0, 4, 8, 12, 16)[seed % 5], 32 - 2 * bits) // 4 * 4
    simple, sums = seed % 2 == 0, (55, 20, 14)[seed % 3]
    x = corners(rng, (3, 4, 2, 5), bits)
    x[1] = 3  # a variance of 0
    got = simulated.layer_norm(x, units_y=uy, shift_bits=shift, sum_bits=sums, simple=simple, x_bits=bits,
                               y_bits=bits, limit=limit)  # fmt: skip
    for frame in range(3):
        for t in range(2):
            codes = [int(v) for v in x[frame, :, t].flat]
            wanted = layer_norm(codes, uy, shift, sums, simple, bits, limit)
            assert got[frame, :, t].ravel().tolist() == wanted


# -- layers -----------------------------------------------------------------------------------

FACTOR, OFFSET = np.array([3, -5, 127], np.int8), np.array([100, -100, 1 << 20], np.int32)
LAYERS: dict[str, tuple[Operation, tuple[int, ...], tuple[int, ...] | None]] = {
    "divide": (Divide("l", 16.0, 8.0, 4.0, limit=2.0), (5,), (5,)),
    "matmul": (MatMul("l", 16.0, 8.0, 4.0), (2, 3), (3, 4)),
    "hypot": (Hypot("l", 16.0, 8.0), (3, 5), (3, 1)),
    "sqrt": (Sqrt("l", 16.0, 64.0), (5,), None),
    "inv_sqrt": (InvSqrt("l", 16.0, 64.0), (5,), None),
    "factor_offset": (FactorOffset("l", FACTOR, OFFSET, 256.0, 16.0), (3, 2, 2), None),
    "layer_norm": (LayerNorm("l", 32.0), (3, 2, 4), None),
    "prelu": (PRelu("l", FACTOR, 16.0, 64.0, 16.0), (3, 2), None),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers(kind: str, tmp_path: Path) -> None:
    layer, first, second = LAYERS[kind]
    assert layer.kind == kind
    rng = np.random.default_rng(1)
    shapes = [s for s in (first, second) if s is not None]
    xs = [corners(rng, (3, *s), 8, signed="sqrt" not in kind) for s in shapes]
    wanted = type(layer).function(*xs, **layer.options())
    got = layer.run_many(*xs)
    np.testing.assert_array_equal(got, wanted)
    assert layer.output_shape_many(*shapes) == wanted.shape[1:]
    assert layer.run_many(*(x[:0] for x in xs)).shape == (0, *wanted.shape[1:])
    strided = [np.repeat(x, 2, axis=0)[::2] for x in xs]
    np.testing.assert_array_equal(layer.run_many(*strided), wanted)
    names = ["p", "q"][: len(shapes)]
    net = Network([layer], inputs={"l": names}, input_shapes=dict(zip(names, shapes, strict=True)))
    net.save(tmp_path / "net.npz")
    assert bittwin.load_network(tmp_path / "net.npz") == net
    text = json.dumps(layer.to_config())
    assert layer_from_config(json.loads(text), layer.arrays()) == layer


def test_every_layer_is_tested() -> None:
    assert {cls.kind for cls in SIMULATED} == set(LAYERS)


X = np.zeros((2, 3), np.int8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulated.divide(X.astype(np.int32), X, units_a=1, units_b=1, units_y=1),
         "a: found dtype int32"),
        (lambda: simulated.divide(X, np.full((2, 3), 2048, np.int16), units_a=1, units_b=1, units_y=1),
         r"b: found 2048\.\.2048, wanted -2048\.\.2047"),
        (lambda: simulated.divide(X, X, units_a=0, units_b=1, units_y=1), "units_a: found 0"),
        (lambda: simulated.divide(X, X, units_a=1, units_b=1, units_y=1, limit=-1.0), "limit: found -1"),
        (lambda: simulated.matmul(X, X, units_a=1, units_b=1, units_y=1), r"wanted \[frames, ..., rows"),
        (lambda: simulated.matmul(X[None], X[None], units_a=1, units_b=1, units_y=1), "wanted 3 rows"),
        (lambda: simulated.sqrt(X - 1, units_x=1, units_y=1), "x: found -1..-1, wanted 0..255"),
        (lambda: simulated.sqrt(X, units_x=1, units_y=1, shift_bits=3), "shift_bits: found 3"),
        (lambda: simulated.hypot(X, X, units_x=1, units_y=1, x_bits=12, shift_bits=12), "wanted 32 in all"),
        (lambda: simulated.prelu(X, FACTOR[:2], units_x=1, units_w=1, units_y=1), "with 2 slopes"),
        (lambda: simulated.factor_and_offset(X, FACTOR, OFFSET[:2], units=1, units_y=1), "2 offsets"),
        (lambda: simulated.factor_and_offset(X, FACTOR, OFFSET * 100, units=1, units_y=1), "at most 2\\^23"),
        (lambda: simulated.layer_norm(X, units_y=1), r"wanted \[frames, c, t, f\]"),
        (lambda: simulated.layer_norm(X.reshape(1, 2, 3, 1), units_y=1, sum_bits=7), "sum_bits: found 7"),
        (lambda: simulated.layer_norm(X.reshape(1, 2, 3, 1), units_y=1, y_bits=20), "y_bits: found 20"),
        (lambda: Divide("l", 1.0, -1.0, 1.0), "units_b: found -1"),
        (lambda: LayerNorm("l", 1.0, simple=1), "simple: found 1"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_refusals(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
