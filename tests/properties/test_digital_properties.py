# SPDX-License-Identifier: Apache-2.0
"""Digital operations on codes equal the plain model, element by element."""

from __future__ import annotations

from typing import Any

import digital_operation_model as model
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittwin import digital
from bittwin.requant import ROUNDINGS
from bittwin.testing import strategies

OPERANDS = st.sampled_from(("int8", "uint8", "int16"))
SHIFTS = st.one_of(st.integers(-9, 8), st.integers(-31, 15))
MODES = st.sampled_from(ROUNDINGS)
SHAPES = st.sampled_from(((0,), (1,), (5,), (3, 4), (2, 3, 2)))


def wider(dtype: str, values: Any) -> np.ndarray:
    return np.array(values, dtype=np.int64).astype(dtype)


@given(st.data(), st.sampled_from(("add", "mul")), OPERANDS, OPERANDS, SHAPES, SHIFTS, MODES)
def test_add_and_mul_equal_the_model(
    data: Any, name: str, left: str, right: str, shape: tuple[int, ...], bits: int, mode: str
) -> None:
    a, b = data.draw(strategies.codes(left, shape)), data.draw(strategies.codes(right, shape))
    width = data.draw(st.sampled_from((8, 16)))
    overflow = data.draw(st.sampled_from(("saturate", "wrap16") if width == 16 else ("saturate",)))
    function = getattr(digital, name)
    y = function(a, b, bits, bits=width, rounding=mode, overflow=overflow)
    assert y.dtype == f"int{width}"
    assert y.shape == shape
    pairs = zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    exact = [p + q if name == "add" else p * q for p, q in pairs]
    wanted = [model.store(model.shift(v, bits, mode), width, overflow) for v in exact]
    assert y.ravel().tolist() == wanted


@given(st.data(), st.sampled_from(("add", "mul")))
def test_operands_go_together_as_documented(data: Any, name: str) -> None:
    function = getattr(digital, name)
    a = data.draw(strategies.codes("int8", (3, 4, 2)))
    for shape in ((), (1,), (1, 1, 1), (3, 1, 1), (4, 2)):
        b = data.draw(strategies.codes("int8", shape))
        whole = np.ascontiguousarray(np.broadcast_to(b, a.shape))
        wanted = function(a, whole, -1)
        np.testing.assert_array_equal(function(a, b, -1), wanted)
        np.testing.assert_array_equal(function(b, a, -1), wanted)
    for shape in ((2,), (4, 1), (1, 4, 2), (3, 4, 1), (3,)):
        b = data.draw(strategies.codes("int8", shape))
        with pytest.raises(ValueError, match="wanted equal shapes, one number"):
            function(a, b)
        if shape != (3,):
            whole = np.ascontiguousarray(np.broadcast_to(b, a.shape))
            got = function(a, b, broadcast="numpy")
            np.testing.assert_array_equal(got, function(a, whole))


@given(st.data(), st.sampled_from(("chip", "numpy")), st.sampled_from(strategies.LAYOUTS))
def test_layout_changes_nothing(data: Any, broadcast: str, layout: str) -> None:
    a = data.draw(strategies.codes("int8", (3, 4)))
    b = data.draw(strategies.codes("int16", (3, 4)))
    relaid = strategies.relaid(a, layout)
    np.testing.assert_array_equal(digital.add(relaid, b), digital.add(a, b))
    np.testing.assert_array_equal(
        digital.mul(b, relaid, -3, broadcast=broadcast), digital.mul(a, b, -3)
    )


@given(st.data(), OPERANDS, SHAPES, MODES, st.sampled_from((8, 16)))
def test_scale_and_scalar_equal_the_model(
    data: Any, dtype: str, shape: tuple[int, ...], mode: str, width: int
) -> None:
    x = data.draw(strategies.codes(dtype, shape))
    flat = x.ravel().tolist()
    n, whole = data.draw(st.integers(0, 13)), data.draw(strategies.code(-128, 127))
    for factor, multiplier, bits in ((2.0**-n, 1, -n), (whole, whole, 0), (float(whole), whole, 0)):
        y = digital.scale(x, factor, rounding=mode, bits=width)
        wanted = [
            model.store(model.shift(v * multiplier, bits, mode), width, "saturate") for v in flat
        ]
        assert y.ravel().tolist() == wanted
    number, bits = data.draw(strategies.code(-(2**15), 2**15 - 1)), data.draw(SHIFTS)
    for op in ("mul", "add"):
        y = digital.scalar(x, number, bits, op=op, rounding=mode, bits=width)
        exact = [v * number if op == "mul" else v + number for v in flat]
        wanted = [model.store(model.shift(v, bits, mode), width, "saturate") for v in exact]
        assert y.ravel().tolist() == wanted


@given(st.data(), OPERANDS, st.integers(0, 15))
def test_clear_low_bits_equals_the_model(data: Any, dtype: str, bits: int) -> None:
    bits = min(bits, 8 * np.dtype(dtype).itemsize - 1)
    x = data.draw(strategies.codes(dtype, (6, 5)))
    step = 2**bits
    down = [(v // step) * step for v in x.ravel().tolist()]
    toward_zero = [(abs(v) // step) * step * (1 if v > 0 else -1) for v in x.ravel().tolist()]
    y = digital.clear_low_bits(x, bits)
    assert (y.dtype, y.ravel().tolist()) == (x.dtype, wider(dtype, down).tolist())
    y = digital.clear_low_bits(x, bits, negative="magnitude")
    assert y.ravel().tolist() == wider(dtype, toward_zero).tolist()


@given(
    st.data(),
    st.one_of(st.sampled_from((0.5, 1.5, -2.5, 4.28, 11.5)), st.floats(-300, 300, width=32)),
    st.integers(0, 15),
    MODES,
)
def test_float_scale_equals_the_model(data: Any, factor: float, bits: int, mode: str) -> None:
    if abs(factor) < 1e-30:
        factor = 0.125
    x = data.draw(strategies.codes("int16", (20,)))
    y = digital.float_scale(x, factor, clip_bits=bits, rounding=mode)
    low, high = -(2**bits), 2**bits - 1
    exact = [model.fl32(v * model.exact(factor)) for v in x.tolist()]
    wanted = [min(max(model.oracle.round_fraction(v, mode), low), high) for v in exact]
    assert y.tolist() == wanted
    assert y.dtype == ("int8" if bits <= 7 else "int16")


@given(st.data(), st.integers(-1, 6), st.integers(0, 2))
def test_pn_split_equals_the_model(data: Any, count: int, axis: int) -> None:
    x = data.draw(strategies.codes("int8", (2, 6, 6)))
    moved = np.moveaxis(x, axis, -1)
    count = min(count, moved.shape[-1])
    y = np.moveaxis(digital.pn_split(x, count, axis), axis, -1)
    rows = [model.pn_split(row, count) for row in moved.reshape(-1, moved.shape[-1]).tolist()]
    assert y.reshape(len(rows), -1).tolist() == rows


def test_pn_split_gives_the_signed_product() -> None:
    """Halves against [W, -W] and x + 128 against a smaller bias: the accumulator of signed codes."""
    rng = np.random.default_rng(3)
    x = rng.integers(-128, 128, (50, 9)).astype(np.int8)
    w = rng.integers(-128, 128, (9, 4)).astype(np.int64)
    for count in (-1, 0, 4, 9):
        n = max(count, 0)
        rows = np.concatenate([w[:n], w[n:], -w[:n]])
        acc = digital.pn_split(x, count).astype(np.int64) @ rows - 128 * w[n:].sum(axis=0)
        np.testing.assert_array_equal(acc, x.astype(np.int64) @ w)


@given(st.data())
def test_movement_keeps_every_code(data: Any) -> None:
    x = data.draw(strategies.codes("int8", (2, 6, 3, 4)))
    sizes = data.draw(st.sampled_from(((6,), (1, 5), (2, 0, 4), (1, 2, 3))))
    parts = digital.split(x, sizes, 1)
    assert [p.shape[1] for p in parts] == list(sizes)
    np.testing.assert_array_equal(digital.concat(parts, 1), x)
    np.testing.assert_array_equal(digital.concat(digital.split(x, 3, 1), 1), x)
    start, stop = data.draw(st.integers(-8, 8)), data.draw(st.integers(-8, 8))
    step = data.draw(st.integers(1, 3))
    got = digital.slice(x, [start], [stop], [-3], [step])
    np.testing.assert_array_equal(got, x[:, start:stop:step])
    dims = data.draw(st.permutations(range(4)))
    moved = digital.permute(x, dims)
    for at in ((0, 0, 0, 0), (1, 5, 2, 3), (1, 2, 0, 3)):
        assert moved[tuple(at[d] for d in dims)] == x[at]
    back = digital.permute(moved, np.argsort(dims).tolist())
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(digital.transpose(x), x.transpose())


def test_chip_order_stores_width_then_height_then_channel() -> None:
    x = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    flat = digital.reshape(x, (2, -1), order="chip")
    for n, c, h, w in ((0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)):
        assert flat[n, (w * 4 + h) * 3 + c] == x[n, c, h, w]
    np.testing.assert_array_equal(digital.flatten(x, order="chip"), flat)
    np.testing.assert_array_equal(digital.reshape(flat, (2, 3, 4, 5), order="chip"), x)
    np.testing.assert_array_equal(
        digital.reshape(x, (0, 6, 2, -1), order="chip"),
        digital.reshape(flat, (2, 6, 2, 5), order="chip"),
    )
    np.testing.assert_array_equal(digital.reshape(x, (0, -1)), x.reshape(2, -1))
