# SPDX-License-Identifier: Apache-2.0
"""Digital operations: every wrong argument is refused by name, and the odd shapes work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bittwin import digital as d

X = np.zeros((2, 3), np.int8)
U = np.zeros((2, 3), np.uint8)
P = np.zeros((1, 2, 4, 5), np.int8)
F = np.ones(3, np.float32)
ONES = np.ones((2, 3), np.int8)
P16 = P.astype(np.int16)
OVERFLOWING: dict[str, Any] = {"scale_in": 1e38, "scale_out": 1.0, "subtract_max": False}

CASES: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "float a": (TypeError, "a: found dtype float64", lambda: d.add(X.astype(float), X)),
    "uint16 b": (TypeError, "b: found dtype uint16", lambda: d.mul(X, X.astype(np.uint16))),
    "list": (TypeError, "a: found list", lambda: d.add([1], X)),  # type: ignore[arg-type]
    "shift": (ValueError, "shift_bit: found 16", lambda: d.add(X, X, 16)),
    "bool shift": (TypeError, "shift_bit: found True", lambda: d.add(X, X, True)),
    "bits": (ValueError, "bits: found 9, wanted 8 or 16", lambda: d.add(X, X, bits=9)),
    "wrap of 8": (ValueError, "'wrap16' with 8 bits", lambda: d.mul(X, X, overflow="wrap16")),
    "overflow": (ValueError, "overflow: found 'wrap'", lambda: d.add(X, X, overflow="wrap")),
    "rounding": (ValueError, "rounding: found 'up'", lambda: d.add(X, X, -1, rounding="up")),
    "broadcast": (ValueError, "broadcast: found", lambda: d.add(X, X, broadcast="any")),
    "shapes": (ValueError, r"b: found shape \(3, 2\)", lambda: d.add(X, X.T)),
    "numpy shapes": (ValueError, "does not go with", lambda: d.add(X, X.T, broadcast="numpy")),
    "factor 3/8": (ValueError, "factor: found 0.375", lambda: d.scale(X, 0.375)),
    "factor 2^-14": (ValueError, "wanted 2\\^-n", lambda: d.scale(X, 2.0**-14)),
    "factor 128": (ValueError, "factor: found 128", lambda: d.scale(X, 128)),
    "factor nan": (ValueError, "factor: found nan", lambda: d.scale(X, float("nan"))),
    "factor inf": (ValueError, "factor: found inf", lambda: d.scale(X, float("inf"))),
    "factor text": (TypeError, "factor: found '2'", lambda: d.scale(X, "2")),  # type: ignore[arg-type]
    "number": (ValueError, "number: found 32768", lambda: d.scalar(X, 32768)),
    "float number": (TypeError, "number: found 2.0", lambda: d.scalar(X, 2.0)),  # type: ignore[arg-type]
    "op": (ValueError, "op: found 'div'", lambda: d.scalar(X, 1, op="div")),
    "low bits": (ValueError, "bits: found 8", lambda: d.clear_low_bits(X, 8)),
    "negative": (ValueError, "negative: found", lambda: d.clear_low_bits(X, 1, negative="x")),
    "zero scale": (ValueError, "factor: found 0", lambda: d.float_scale(X, 0.0)),
    "nan scale": (ValueError, "factor: found nan", lambda: d.float_scale(X, float("nan"))),
    "clip_bits": (ValueError, "clip_bits: found 16", lambda: d.float_scale(X, 1.0, clip_bits=16)),
    "gamma dtype": (TypeError, "gamma: found dtype float64", lambda: d.batch_norm(X, F.astype(float), F)),
    "beta size": (ValueError, "beta: found 2 channels, wanted 3", lambda: d.batch_norm(X, F, F[:2])),
    "bn axis": (ValueError, "axis: found 2", lambda: d.batch_norm(X, F, F, axis=2)),
    "bn nan": (ValueError, "x: found a NaN on the way", lambda: d.batch_norm(X, F * np.nan, F)),
    "bn scale": (ValueError, "scale_out: found 0", lambda: d.batch_norm(X, F, F, scale_out=0.0)),
    "bn dtype": (ValueError, "dtype: found 'int16'", lambda: d.batch_norm(X, F, F, dtype="int16")),
    "bn int16": (TypeError, "x: found dtype int16", lambda: d.batch_norm(X.astype(np.int16), F, F)),
    "fold var": (ValueError, "var: found -1", lambda: d.fold_batch_norm(F, F, F, -F)),
    "fold nan": (ValueError, "mean: found a number", lambda: d.fold_batch_norm(F, F, F * np.inf, F)),
    "fold sizes": (ValueError, "bias: found 2 channels", lambda: d.fold_batch_norm(F, F[:2], F, F)),
    "fold range": (ValueError, "leave float32", lambda: d.fold_batch_norm(F.astype(float) * 1e300, F, F, F)),
    "kernel": (ValueError, r"found \(5, 1\), the padded picture is \(4, 5\)", lambda: d.max_pool(P, (5, 1))),
    "kernel 0": (ValueError, "kernel: found 0", lambda: d.average_pool(P, 0)),
    "stride": (ValueError, "stride: found 0", lambda: d.min_pool(P, 2, 0)),
    "padding": (ValueError, "padding: found", lambda: d.max_pool(P, 2, 2, (1, 2, 3))),
    "round padding": (ValueError, "'round' has none", lambda: d.max_pool(P, 2, 2, 1, unit="round")),
    "unit": (ValueError, "unit: found", lambda: d.max_pool(P, 2, unit="cpu")),
    "pad_code": (ValueError, "pad_code: found 128", lambda: d.max_pool(P, 2, 2, 1, pad_code=128)),
    "vector": (ValueError, r"wanted \[..., height, width\]", lambda: d.max_pool(X[0], 1)),
    "padding alone": (ValueError, "padding alone", lambda: d.average_pool(P, 2, 2, 2, count_padding=False)),
    "cmodel int16": (TypeError, "x: found dtype int16", lambda: d.max_pool(P16, 2, cmodel=True)),
    "far mean": (ValueError, "a mean of 32767", lambda: d.average_pool(ONES, 1, scale_in=4e4, cmodel=True)),
    "global empty": (ValueError, "neither of them 0", lambda: d.global_average_pool(P[..., :0])),
    "axes": (ValueError, "axes: found 2", lambda: d.reduce_mean(X, 2)),
    "no axes": (ValueError, "at least one axis", lambda: d.reduce_mean(X, ())),
    "axes twice": (ValueError, "none twice", lambda: d.reduce_mean(X, (1, -1))),
    "empty mean": (ValueError, "no mean", lambda: d.reduce_mean(X[:0], 0)),
    "empty softmax": (ValueError, "empty along axis 1", lambda: d.softmax(X[:, :0], scale_out=1.0)),
    "softmax nan": (ValueError, "NaN", lambda: d.softmax(ONES, **OVERFLOWING)),
    "zero sum": (ValueError, "found a sum of 0", lambda: d.sum_norm(X, scale_out=1.0)),
    "zero_sum": (ValueError, "zero_sum: found", lambda: d.sum_norm(X, scale_out=1.0, zero_sum="x")),
    "groups": (ValueError, "num_groups: found 2", lambda: d.group_norm(X, F, F, 2)),
    "alpha": (ValueError, "alpha: found 2 channels", lambda: d.group_norm(X, F[:2], F, 1)),
    "epsilon": (ValueError, "epsilon: found 0", lambda: d.group_norm(X, F, F, 1, epsilon=0.0)),
    "concat none": (ValueError, "parts: found none", lambda: d.concat([])),
    "concat dtypes": (TypeError, "part 1: found uint8, part 0 has int8", lambda: d.concat([X, U])),
    "concat shapes": (ValueError, "part 1: found shape", lambda: d.concat([X, X[:1]])),
    "slice counts": (ValueError, "found 1, 2, 1 and 1", lambda: d.slice(X, [0], [1, 2])),
    "slice step": (ValueError, "steps: found 0", lambda: d.slice(X, [0], [1], [1], [0])),
    "slice twice": (ValueError, "none twice", lambda: d.slice(X, [0, 0], [1, 1], [1, -1])),
    "split uneven": (ValueError, "add up to 3", lambda: d.split(X, 2, 1)),
    "split sizes": (ValueError, "add up to 3", lambda: d.split(X, [1, 1], 1)),
    "permute": (ValueError, "each of the 2 axes once", lambda: d.permute(X, [0, 0])),
    "reshape": (ValueError, "holds the 6 codes", lambda: d.reshape(X, [4, -1])),
    "reshape twice": (ValueError, "-1 once", lambda: d.reshape(X, [-1, -1])),
    "reshape keep": (ValueError, "axis 2 to keep", lambda: d.reshape(X, [2, 3, 0])),
    "order": (ValueError, "order: found", lambda: d.reshape(X, [6], order="c")),
    "flatten chip": (ValueError, "wanted 4 axes", lambda: d.flatten(X, order="chip")),
    "pn uint8": (TypeError, "x: found dtype uint8", lambda: d.pn_split(U)),  # type: ignore[arg-type]
    "pn count": (ValueError, "count: found 4", lambda: d.pn_split(X, 4)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_wrong_arguments_are_refused(name: str) -> None:
    error, message, call = CASES[name]
    with pytest.raises(error, match=message):
        call()


def test_nothing_in_gives_nothing_out() -> None:
    none = X[:0]
    for y in (
        d.add(none, none), d.mul(none, none), d.scale(none, 0.5),
        d.scalar(none, 2), d.clear_low_bits(none, 1), d.float_scale(none, 2.0),
        d.batch_norm(none, F, F), d.softmax(none, scale_out=1.0),
        d.sum_norm(none, scale_out=1.0), d.group_norm(none, F, F, 3),
        d.pn_split(none),
    ):  # fmt: skip
        assert y.shape == (0, 3)
    assert d.average_pool(P[:0], 2).shape == (0, 2, 2, 2)
    assert d.max_pool(P[:0], 2).shape == (0, 2, 2, 2)
    assert d.reduce_mean(none, 1).shape == (0,)


def test_one_code_alone() -> None:
    one = np.array(100, np.int8)
    assert d.add(one, one).tolist() == 127
    assert d.scale(one, 2.0**-3).tolist() == 13
    assert d.clear_low_bits(one, 3).tolist() == 96
    assert d.float_scale(one, -1.0).tolist() == -100


def test_infinities_on_the_way_saturate() -> None:
    y = d.batch_norm(ONES, F * np.float32(3e38), F, scale_in=100.0)
    assert (y == 127).all()
    y = d.average_pool(-ONES, 1, scale_in=1e38, scale_out=1e-37)
    assert (y == -128).all()


def test_inputs_stay_as_they_are() -> None:
    x = np.array([[1, -2, 3]], np.int8)
    kept = x.copy()
    x.flags.writeable = False
    d.max_pool(x, (1, 2), 1)
    d.max_pool(x, 1, unit="round", cmodel=True)
    d.add(x, x, 1)
    d.clear_low_bits(x, 2)
    np.testing.assert_array_equal(x, kept)
