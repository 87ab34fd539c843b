# SPDX-License-Identifier: Apache-2.0
"""Convolutions of every kernel equal numpy's int64, whatever the geometry, layout and padding code."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from contract.kernel_cases import (
    W_TYPES,
    X_TYPES,
    Call,
    Geometry,
    assert_equal,
    every_kernel,
    model,
)
from contract.product_checks import corner_weighted
from hypothesis import given, settings
from hypothesis import strategies as st

from bittwin import _core
from bittwin.testing import strategies

small = st.integers(1, 4)
channels = st.one_of(st.integers(0, 9), st.sampled_from([15, 16, 17, 31, 33, 64, 65]))


@st.composite
def conv_calls(draw: Any, op: str | None = None) -> Call:
    """Any convolution that has an output: sizes, strides and paddings drawn side by side, not square."""
    op = op or draw(st.sampled_from(["conv2d", "conv_transpose2d"]))
    transposed = op == "conv_transpose2d"
    kernel = (draw(small), draw(small))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    sides = [draw(st.integers(0, r)) for r in (*reach, *reach)]
    # A convolution wants a padded input as large as the kernel's reach; a transposed one an output.
    size = [
        draw(st.integers(1 if transposed else max(1, r - before - after), 11))
        for r, before, after in zip(reach, sides[:2], sides[2:], strict=True)
    ]
    more = (draw(st.integers(0, stride[0] - 1)), draw(st.integers(0, stride[1] - 1)))
    if transposed:
        for i in (0, 1):
            full = (size[i] - 1) * stride[i] + reach[i] + more[i]
            sides[i] = min(sides[i], full)
            sides[i + 2] = min(sides[i + 2], full - sides[i])
    groups = 1 if transposed else draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    per_group, out_per_group = draw(channels), draw(channels)
    if groups > 1:
        per_group, out_per_group = 1 + per_group % 9, 1 + out_per_group % 9
    if (
        not transposed and draw(st.integers(0, 3)) == 0
    ):  # depthwise, past a chunk of 64 channels too
        groups = draw(st.sampled_from([2, 3, 16, 63, 64, 65, 130]))
        per_group, out_per_group = 1, draw(st.sampled_from([1, 1, 1, 2]))
    x_type, w_type = draw(st.sampled_from(X_TYPES)), draw(st.sampled_from(W_TYPES))
    x = draw(strategies.codes(x_type, (draw(st.integers(0, 3)), groups * per_group, *size)))
    outputs = groups * out_per_group
    w_shape = (per_group, outputs, *kernel) if transposed else (outputs, per_group, *kernel)
    geometry = Geometry(
        stride,
        (sides[0], sides[1], sides[2], sides[3]),
        dilation,
        more if transposed else (0, 0),
        groups,
    )
    info = np.iinfo(x_type)
    pad_code = 0 if transposed else draw(st.sampled_from([0, 0, 1, info.min, info.max, 100]))
    return Call(
        op,
        x,
        draw(strategies.codes(w_type, w_shape)),
        draw(st.one_of(st.none(), strategies.codes(np.int32, (outputs,)))),
        geometry,
        draw(st.booleans()),
        int(pad_code),
    )


@every_kernel
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
@given(st.data())
@settings(max_examples=250)
def test_accumulators_equal_the_model(kernel: str, op: str, data: st.DataObject) -> None:
    call = data.draw(conv_calls(op))
    packed = _core.PackedWeight(call.weight) if data.draw(st.booleans()) else None
    assert_equal(call.run(kernel, packed=packed), model(call), call)


@every_kernel
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (4, 1), (3, 5)])
def test_every_phase_of_a_transposed_convolution_is_exact(
    kernel: str, stride: tuple[int, int], channels_last: bool
) -> None:
    """Strides above, at and below the kernel; crops; outputs that no input reaches."""
    rng = np.random.default_rng(50)
    for kh, kw, dilation in product((1, 2, 3), (1, 2, 4), ((1, 1), (2, 3))):
        for crops in ((0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 1, 1)):
            for more in {(0, 0), (stride[0] - 1, stride[1] - 1)}:
                x = corner_weighted(rng, (2, 2, 4, 5), np.uint8)
                weight = corner_weighted(rng, (2, 3, kh, kw), np.int8)
                at = Geometry(stride, crops, dilation, more)
                bias = np.array([5, -(2**31), 2**31 - 1], np.int32)
                call = Call("conv_transpose2d", x, weight, bias, at, channels_last)
                assert_equal(call.run(kernel), model(call), at)


@every_kernel
@pytest.mark.parametrize("x_type", X_TYPES)
@pytest.mark.parametrize("w_type", W_TYPES)
def test_depthwise_is_exact(kernel: str, x_type: Any, w_type: Any) -> None:
    """Every kernel size up to 9 x 9, chunks of 64 channels with tails, both ends of all codes."""
    rng = np.random.default_rng(51)
    sizes = [(1, 1), (1, 2), (1, 3), (2, 2), (1, 5), (3, 3), (2, 5), (5, 5), (7, 3), (9, 9)]
    for (kh, kw), count in product(sizes, (2, 15, 16, 17, 63, 64, 65, 128, 130)):
        weight = corner_weighted(rng, (count, 1, kh, kw), w_type)
        x = corner_weighted(rng, (1, count, 9, 11), x_type)
        at = Geometry(groups=count, padding=(kh // 2, kw // 2, kh // 2, kw // 2))
        last = bool((kh + count) % 2)
        bias = corner_weighted(rng, (count,), np.int32)
        call = Call("conv2d", x, weight, bias, at, last, int(np.iinfo(x_type).max))
        assert_equal(call.run(kernel), model(call), (kh, kw, count))


@every_kernel
@pytest.mark.parametrize("transposed", [False, True])
def test_a_packed_weight_serves_other_geometries(kernel: str, transposed: bool) -> None:
    """One packed weight for every stride, dilation, padding, input size and type."""
    rng = np.random.default_rng(52)
    weight = corner_weighted(rng, (6, 6, 3, 2), np.int8)
    packed = _core.PackedWeight(weight)
    op = "conv_transpose2d" if transposed else "conv2d"
    for stride, dilation, pad in product(((1, 1), (2, 1), (1, 3)), ((1, 1), (2, 2)), (0, 1)):
        for x_type, size in ((np.uint8, 7), (np.int8, 8), (np.int16, 7)):
            at = Geometry(stride, (pad, 0, pad, 0), dilation)
            x = corner_weighted(rng, (1, 6, size, size), x_type)
            call = Call(op, x, weight, None, at, bool(pad))
            assert_equal(call.run(kernel, packed=packed), model(call), at)


@every_kernel
@pytest.mark.parametrize("shape", [(0, 2, 3), (1, 0, 3), (1, 2, 0), (0, 0, 0)])
def test_empty_axes_give_the_bias_or_nothing(kernel: str, shape: tuple[int, int, int]) -> None:
    batch, inputs, outputs = shape
    x = np.ones((batch, inputs, 4, 5), np.uint8)
    bias = np.arange(outputs, dtype=np.int32)
    for last in (False, True):
        call = Call(
            "conv2d", x, np.ones((outputs, inputs, 3, 2), np.int8), bias, channels_last=last
        )
        assert_equal(call.run(kernel), model(call), shape)
        turned = np.ones((inputs, outputs, 3, 2), np.int8)
        call = Call("conv_transpose2d", x, turned, bias, channels_last=last)
        assert_equal(call.run(kernel), model(call), shape)
