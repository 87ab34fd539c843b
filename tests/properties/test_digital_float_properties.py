# SPDX-License-Identifier: Apache-2.0
"""Pooling and normalisation equal the model of exact fractions with float32's rounding."""

from __future__ import annotations

from typing import Any

import digital_operation_model as model
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bittwin import digital
from bittwin.requant import ROUNDINGS
from bittwin.testing import strategies

BYTES = st.sampled_from(("int8", "uint8"))
MODES = st.sampled_from(ROUNDINGS)
#: Ties come from plain scales, float32 roundings from odd ones.
SCALES = st.one_of(
    st.sampled_from((1.0, 0.5, 0.25, 2.0, 0.1, 0.2, 0.7, 1 / 255)),
    st.floats(0.0078125, 8.0, width=32),
)
SIZE = st.tuples(st.integers(1, 3), st.integers(1, 3))
AROUND = st.one_of(st.just((0, 0, 0, 0)), st.tuples(*[st.integers(0, 2)] * 4))


@given(st.data(), BYTES, SIZE, SIZE, AROUND, SCALES, SCALES, MODES, BYTES)
def test_average_pool_equals_the_model(
    data: Any, dtype: str, kernel: Any, stride: Any, around: Any,
    s_in: float, s_out: float, mode: str, out: str,
) -> None:  # fmt: skip
    x = data.draw(strategies.codes(dtype, (2, 3, 5)))
    scales = {"scale_in": s_in, "scale_out": s_out}
    area = kernel[0] * kernel[1]
    y = digital.average_pool(x, kernel, stride, around, **scales, rounding=mode, dtype=out)
    for picture, codes in zip(x.tolist(), y.tolist(), strict=True):
        cells = model.windows(picture, kernel, stride, around)
        wanted = [
            [
                model.byte(model.average([v for _, v in w], area, s_in, s_out), mode, out)
                for w in row
            ]
            for row in cells
        ]
        assert codes == wanted
    if all(any(real for real, _ in w) for row in cells for w in row):
        y = digital.average_pool(x, kernel, stride, around, **scales, count_padding=False)
        wanted = [
            [
                model.byte(
                    model.average([v for _, v in w], sum(real for real, _ in w), s_in, s_out),
                    "half_away", "int8",
                )
                for w in row
            ]
            for row in model.windows(x[-1].tolist(), kernel, stride, around)
        ]  # fmt: skip
        assert y[-1].tolist() == wanted


@given(st.data(), BYTES, SIZE, SIZE, AROUND, SCALES, SCALES)
def test_average_pool_of_the_cmodel_equals_the_model(
    data: Any, dtype: str, kernel: Any, stride: Any, around: Any, s_in: float, s_out: float
) -> None:
    x = data.draw(strategies.codes(dtype, (3, 4)))
    top, left, bottom, right = around
    cells = model.windows(x.view(np.int8).tolist(), kernel, stride, (0, left, top + bottom, right))
    area = kernel[0] * kernel[1]
    wanted = [
        [
            model.oracle.wrap8(
                model.oracle.round_fraction(
                    model.average([v for _, v in w], area, s_in, s_out), "half_away"
                )
            )
            for w in row
        ]
        for row in cells
    ]
    if max(abs(v) for row in wanted for v in row) and 128 * s_in / s_out > 32766:
        return
    got = digital.average_pool(
        x, kernel, stride, around, scale_in=s_in, scale_out=s_out, cmodel=True
    )
    assert got.tolist() == wanted


@given(st.data(), st.sampled_from(("int8", "uint8", "int16", "uint16")), SIZE, SIZE, AROUND)
def test_extremes_equal_the_model(
    data: Any, dtype: str, kernel: Any, stride: Any, around: Any
) -> None:
    x = data.draw(strategies.codes(dtype, (4, 5)))
    cells = model.windows(x.tolist(), kernel, stride, around)
    for function, pick in ((digital.max_pool, max), (digital.min_pool, min)):
        got = function(x, kernel, stride, around)
        assert got.dtype == x.dtype
        assert got.tolist() == [[pick(v for _, v in w) for w in row] for row in cells]
        if all(any(real for real, _ in w) for row in cells for w in row):
            got = function(x, kernel, stride, around, pad_code=None)
            assert got.tolist() == [
                [pick(v for real, v in w if real) for w in row] for row in cells
            ]
    if dtype == "int8":
        cells = model.windows(x.tolist(), kernel, stride, (0, 0, 0, 0)) if _fits(x, kernel) else []
        if cells:
            got = digital.max_pool(x, kernel, stride, unit="round", cmodel=True)
            wanted = [[model.round_unit_max([v for _, v in w]) for w in row] for row in cells]
            assert got.tolist() == wanted


def _fits(x: np.ndarray, kernel: Any) -> bool:
    return bool(kernel[0] <= x.shape[-2] and kernel[1] <= x.shape[-1])


@given(st.data(), BYTES, MODES, BYTES, st.sampled_from((0, 1, 2, (0, 2), (1, 2), (0, 1, 2))))
def test_reduce_mean_equals_the_model(
    data: Any, dtype: str, mode: str, out: str, axes: Any
) -> None:
    x = data.draw(strategies.codes(dtype, (3, 4, 5)))
    y = digital.reduce_mean(x, axes, rounding=mode, dtype=out, keepdims=True)
    along = (axes,) if isinstance(axes, int) else axes
    for at in np.ndindex(y.shape):
        cut = tuple(slice(None) if a in along else i for a, i in enumerate(at))
        cells = x[cut].ravel().tolist()
        assert y[at] == model.byte(model.mean(cells, len(cells)), mode, out)
    flat = digital.reduce_mean(x, axes, rounding=mode, dtype=out)
    np.testing.assert_array_equal(flat, y.reshape(flat.shape))
    unsigned = digital.reduce_mean(x.view(np.uint8), axes)
    np.testing.assert_array_equal(digital.reduce_mean(x, axes, cmodel=True), unsigned)


@given(st.data(), BYTES, SCALES, SCALES, MODES, BYTES)
def test_batch_norm_equals_the_model(
    data: Any, dtype: str, s_in: float, s_out: float, mode: str, out: str
) -> None:
    x = data.draw(strategies.codes(dtype, (3, 4, 2)))
    numbers = st.floats(-8, 8, width=32, allow_subnormal=False)
    gamma, beta = (
        np.array(data.draw(st.lists(numbers, min_size=4, max_size=4)), np.float32) for _ in range(2)
    )
    y = digital.batch_norm(x, gamma, beta, scale_in=s_in, scale_out=s_out, rounding=mode, dtype=out)
    for at in np.ndindex(x.shape):
        value = model.batch_norm(int(x[at]), gamma[at[1]], beta[at[1]], s_in, s_out)
        assert y[at] == model.byte(value, mode, out)


@settings(max_examples=40)
@given(st.data(), BYTES, SCALES, MODES, BYTES, st.integers(1, 6))
def test_softmax_and_sum_norm_equal_the_model(
    data: Any, dtype: str, s_in: float, mode: str, out: str, length: int
) -> None:
    x = data.draw(strategies.codes(dtype, (2, length)))
    s_out = data.draw(st.sampled_from((1 / 255, 1 / 128, 0.004, 1.0)))
    given_: dict[str, Any] = {"scale_in": s_in, "scale_out": s_out, "rounding": mode, "dtype": out}
    y = digital.softmax(x, **given_)
    for row, codes in zip(x.tolist(), y.tolist(), strict=True):
        assert codes == [model.byte(v, mode, out) for v in model.softmax(row, s_in, s_out)]
    y = digital.sum_norm(x, **given_, zero_sum="zero")
    for row, codes in zip(x.tolist(), y.tolist(), strict=True):
        values = model.sum_norm(row, s_in, s_out)
        wanted = [0] * length if values is None else [model.byte(v, mode, out) for v in values]
        assert codes == wanted
    np.testing.assert_array_equal(digital.softmax(x.T, axis=0, **given_).T,
                                  digital.softmax(x, **given_))  # fmt: skip


@settings(max_examples=40)
@given(st.data(), BYTES, SCALES, MODES, st.sampled_from((1, 2, 4)))
def test_group_norm_equals_the_model(
    data: Any, dtype: str, s_out: float, mode: str, groups: int
) -> None:
    x = data.draw(strategies.codes(dtype, (2, 4, 3)))
    numbers = st.floats(-4, 4, width=32, allow_subnormal=False)
    alpha, beta = (
        np.array(data.draw(st.lists(numbers, min_size=4, max_size=4)), np.float32) for _ in range(2)
    )
    epsilon = data.draw(st.sampled_from((1e-5, 1.0)))
    y = digital.group_norm(x, alpha, beta, groups, scale_out=s_out, epsilon=epsilon, rounding=mode)
    size = 4 // groups
    for n in range(2):
        for g in range(groups):
            part = slice(g * size, (g + 1) * size)
            values = model.group_norm(
                x[n, part].ravel().tolist(),
                np.repeat(alpha[part], 3).tolist(),
                np.repeat(beta[part], 3).tolist(),
                s_out,
                epsilon,
            )
            wanted = [model.byte(v, mode, "int8") for v in values]
            assert y[n, part].ravel().tolist() == wanted


def test_a_sum_beyond_float32_is_rounded_before_the_division() -> None:
    """160,000 codes with the sum 127.5 * 160000 - 1: float32 makes the sum even, and the mean a tie."""
    x = np.full(160_000, 128, np.uint8)
    x[:80_001] = 127
    assert int(x.sum(dtype=np.int64)) == 20_399_999
    assert digital.reduce_mean(x, 0, dtype="uint8") == 128
    assert model.byte(model.mean(x.tolist(), x.size), "half_away", "uint8") == 128


@pytest.mark.parametrize("count_padding", [False, True])
def test_average_of_a_window_whose_sum_leaves_32_bits(count_padding: bool) -> None:
    """Nothing wraps: 9 million codes of 255 sum to more than 2^31."""
    x = np.full((1, 3000, 3000), 255, np.uint8)
    y = digital.average_pool(x, (2999, 2999), 1, dtype="uint8", count_padding=count_padding)
    assert y.tolist() == [[[255, 255], [255, 255]]]
