# SPDX-License-Identifier: Apache-2.0
"""Packed weights as objects, and what `out` may not be."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin import _core

RNG = np.random.default_rng(20)
X = RNG.integers(0, 256, (5, 70)).astype(np.uint8)
W = RNG.integers(-128, 128, (33, 70)).astype(np.int8)
PACKED = bittwin.pack_weight(W)
RULE = bittwin.readout(4096)
IMAGE = RNG.integers(0, 256, (2, 4, 6, 5)).astype(np.uint8)
KERNEL = RNG.integers(-128, 128, (6, 4, 3, 3)).astype(np.int8)
WIDE = RNG.integers(0, 1024, (5, 70)).astype(np.uint16)
KERNELS = [k.name for k in bittwin.kernels() if k.available]


def test_a_packed_weight_says_what_it_is_and_never_changes() -> None:
    source = W.copy()
    packed = bittwin.pack_weight(source)
    assert isinstance(packed, bittwin.PackedWeight)
    assert (packed.shape, packed.dtype, packed.ndim) == (W.shape, W.dtype, 2)
    assert repr(packed) == "PackedWeight(shape=(33, 70), dtype=int8)"
    source[:] = 0
    np.testing.assert_array_equal(packed.codes, W)
    with pytest.raises(ValueError, match="read-only"):
        packed.codes[0, 0] = 1
    with pytest.raises(AttributeError, match="shape: a packed weight does not change"):
        packed.shape = (1, 1)
    with pytest.raises(AttributeError, match="core"):
        del packed.core


def test_packed_weights_are_equal_only_to_themselves() -> None:
    other = bittwin.pack_weight(W)
    assert other != PACKED
    assert PACKED == PACKED
    assert len({PACKED, other, PACKED}) == 2
    assert copy.copy(PACKED) is PACKED
    assert copy.deepcopy(PACKED) is PACKED


@pytest.mark.parametrize("weight", [W, W.astype(np.int16), KERNEL])
def test_a_pickle_holds_the_codes(weight: Any) -> None:
    back = pickle.loads(pickle.dumps(bittwin.pack_weight(weight)))
    assert isinstance(back, bittwin.PackedWeight)
    assert (back.dtype, back.shape) == (weight.dtype, weight.shape)
    np.testing.assert_array_equal(back.codes, weight)


@pytest.mark.parametrize(
    ("weight", "error", "words"),
    [
        (W.astype(np.uint8), TypeError, ["weight", "uint8"]),
        (W.tolist(), TypeError, ["weight", "list"]),
        (W.astype(">i2"), TypeError, ["weight", "byte-swapped"]),
        (W[0], ValueError, ["weight", "(70,)", "1 axes"]),
        (KERNEL[None], ValueError, ["weight", "5 axes"]),
        (PACKED, TypeError, ["weight", "PackedWeight"]),
    ],
)
def test_what_cannot_be_packed_is_refused(weight: Any, error: Any, words: list[str]) -> None:
    with pytest.raises(error) as caught:
        bittwin.pack_weight(weight)
    assert all(word in str(caught.value) for word in words)


def test_a_packed_weight_of_the_wrong_shape_is_refused_with_the_words_of_a_plain_one() -> None:
    packed_kernel = bittwin.pack_weight(KERNEL)
    for linear_weight, image_weight in ((W, KERNEL), (PACKED, packed_kernel)):
        with pytest.raises(ValueError, match=r"x: found shape \(5, 69\), wanted \[..., 70\]"):
            bittwin.linear(np.ascontiguousarray(X[:, :69]), linear_weight, None, RULE)
        with pytest.raises(ValueError, match=r"weight: found shape .* wanted 2 axes"):
            bittwin.linear(X, image_weight, None, RULE)
        with pytest.raises(ValueError, match=r"weight: found shape .* wanted 4 axes"):
            bittwin.conv2d(IMAGE, linear_weight, None, RULE)
        with pytest.raises(ValueError, match="x: found 4 channels, wanted 6"):
            bittwin.conv_transpose2d(IMAGE, image_weight, None, RULE)


def test_every_kernel_and_input_type_reads_one_packed_weight() -> None:
    """Also one that was packed for another kernel: layouts are kept per kernel and input type."""
    packed = bittwin.pack_weight(W)
    try:
        for kernel in [*KERNELS, *KERNELS]:
            _core.force_kernel(kernel)
            for dtype in (np.uint8, np.int8, np.uint16, np.int16):
                x = (X // 2).astype(dtype)
                wanted = x.astype(np.int64) @ W.astype(np.int64).T
                np.testing.assert_array_equal(bittwin.accumulate(x, packed), wanted)
    finally:
        _core.force_kernel("")


def test_one_packed_convolution_serves_any_geometry() -> None:
    packed = bittwin.pack_weight(KERNEL)
    square = RNG.integers(-128, 128, (4, 4, 3, 3)).astype(np.int8)
    both = bittwin.pack_weight(square)
    for how in ({}, {"stride": 2}, {"padding": 1}, {"dilation": 2}, {"stride": (1, 3)}):
        plain = bittwin.conv2d_accumulate(IMAGE, KERNEL, **how)
        np.testing.assert_array_equal(bittwin.conv2d_accumulate(IMAGE, packed, **how), plain)
        for function in (bittwin.conv2d_accumulate, bittwin.conv_transpose2d_accumulate):
            got = function(IMAGE, both, **how)
            np.testing.assert_array_equal(got, function(IMAGE, square, **how))


def test_threads_may_share_a_packed_weight_from_its_first_use() -> None:
    wanted = bittwin.conv2d(IMAGE, KERNEL, None, RULE, padding=1)
    for _ in range(20):
        packed = bittwin.pack_weight(KERNEL)
        with ThreadPoolExecutor(8) as pool:
            calls = [
                pool.submit(bittwin.conv2d, IMAGE, packed, None, RULE, padding=1) for _ in range(16)
            ]
            assert all(np.array_equal(c.result(), wanted) for c in calls)


def test_the_proof_of_a_packed_weight_is_that_of_a_plain_one() -> None:
    tall = np.full((2, 258), 32767, np.int16)
    tall[1] = -32767
    x = np.full((1, 258), 255, np.uint8)
    for weight in (tall, bittwin.pack_weight(tall)):
        with pytest.raises(ValueError, match="column 0 can leave INT32: found the bound"):
            bittwin.linear(x, weight, None, RULE)
        wrapped = bittwin.accumulate(x, weight, overflow="wrap32")
        assert wrapped.tolist() == [[255 * 32767 * 258 - 2**32, 2**32 - 255 * 32767 * 258]]
    fits, bias = bittwin.pack_weight(tall[:, :257]), np.array([0, 0], np.int32)
    assert bittwin.accumulate(x[:, :257], fits, bias)[0, 0] == 255 * 32767 * 257
    room = 2**31 - 1 - 255 * 32767 * 257
    bias[0] = room
    assert bittwin.accumulate(x[:, :257], fits, bias)[0, 0] == 2**31 - 1
    bias[0] = room + 1
    with pytest.raises(ValueError, match="column 0 can leave INT32"):
        bittwin.accumulate(x[:, :257], fits, bias)
    # A transposed convolution's outputs are counted by the other axis: 258 rows meet in output 0 alone.
    turned = np.zeros((258, 2, 1, 1), np.int16)
    turned[:, 0] = 32767
    picture = x.reshape(1, 258, 1, 1)
    for weight in (turned, bittwin.pack_weight(turned)):
        with pytest.raises(ValueError, match=r"conv_transpose2d: .* column 0 can leave INT32"):
            bittwin.conv_transpose2d(picture, weight, None, RULE)


Call = Callable[[Any], Any]
SHAPES: dict[str, tuple[tuple[int, ...], Any, Call]] = {
    "accumulate": ((5, 33), np.int32, lambda out: bittwin.accumulate(X, W, out=out)),
    "linear": ((5, 33), np.int8, lambda out: bittwin.linear(X, PACKED, None, RULE, out=out)),
    "split_linear": (
        (5, 33),
        np.int8,
        lambda out: bittwin.split_linear(WIDE, W, None, RULE, x_bits=10, out=out),
    ),
    "conv2d": (
        (2, 6, 4, 3),
        np.int8,
        lambda out: bittwin.conv2d(IMAGE, KERNEL, None, RULE, out=out),
    ),
    "conv_transpose2d_accumulate": (
        (2, 4, 8, 7),
        np.int32,
        lambda out: bittwin.conv_transpose2d_accumulate(
            np.ascontiguousarray(np.repeat(IMAGE, 2, 1)[:, :6]), KERNEL, out=out
        ),
    ),
    "requantize": (
        (5, 33),
        np.int8,
        lambda out: bittwin.requantize(np.zeros((5, 33), np.int32), RULE, out=out),
    ),
    "quantize": (
        (2, 3),
        np.int8,
        lambda out: bittwin.quantize(
            np.zeros((2, 3), np.float32), 1.0, bits=8, signed=True, out=out
        ),
    ),
    "dequantize": (
        (5, 70),
        np.float32,
        lambda out: bittwin.dequantize(X, 2.0, out=out),
    ),
    "relu": ((5, 70), np.uint8, lambda out: bittwin.relu(X, out=out)),
    "clip": ((5, 70), np.uint8, lambda out: bittwin.clip(X, 9, out=out)),
    "lookup": (
        (5, 70),
        np.int8,
        lambda out: bittwin.lookup(X, np.arange(256).astype(np.int8), out=out),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_an_unfit_out_is_refused_and_not_touched(name: str) -> None:
    shape, dtype, call = SHAPES[name]
    plain = call(None)
    out = np.full(shape, 9, dtype)
    assert call(out) is out
    np.testing.assert_array_equal(out, plain)
    wide = np.full((*shape[:-1], 2 * shape[-1]), 9, dtype)
    locked = np.full(shape, 9, dtype)
    locked.flags.writeable = False
    moved = np.empty(out.nbytes + 1, np.uint8)[1:].view(dtype).reshape(shape)
    moved[:] = 9
    cases: list[tuple[Any, type[Exception], str]] = [
        (wide[..., ::2], ValueError, "C-contiguous"),
        (np.full((*shape, 1), 9, dtype), ValueError, f"wanted \\({shape[0]}, "),
        (np.full(shape, 9, np.int64), TypeError, "int64"),
        (np.full(shape, 9, ">i2"), TypeError, "byte-swapped int16"),
        (locked, ValueError, "writeable"),
        ([[9]], TypeError, "list"),
    ]
    if out.itemsize > 1:
        cases.append((moved, ValueError, "aligned"))
    for wrong, error, word in cases:
        with pytest.raises(error, match=word) as caught:
            call(wrong)
        assert str(caught.value).startswith("out: ")
        assert np.all(np.asarray(wrong) == 9)


def test_out_that_overlaps_an_input_is_refused() -> None:
    weight = np.ones((70, 70), np.int8)
    x = np.zeros((5, 70), np.int8)
    acc = np.zeros((4, 4), np.int32)
    block = np.zeros((10, 70), np.int8)
    wide = np.zeros((5, 280), np.int8)
    calls: list[Callable[[], Any]] = [
        lambda: bittwin.linear(x, weight, None, RULE, out=x),
        lambda: bittwin.linear(block[:5], weight, None, RULE, out=block[4:9]),
        lambda: bittwin.linear(wide[:, ::4], weight, None, RULE, out=wide.reshape(20, 70)[3:8]),
        lambda: bittwin.linear(x, weight, None, RULE, out=weight[:5]),
        lambda: bittwin.linear(x, weight, None, RULE, high=block[:5], out=block[5 - 1 : 9]),
        lambda: bittwin.accumulate(x[:4, :4], weight[:4, :4], acc[0], out=acc),
        lambda: bittwin.requantize(acc, RULE, out=acc.view(np.int8).reshape(16, 4)[4:8]),
        lambda: bittwin.relu(x, out=x),
        lambda: bittwin.clip(block[:5], 3, out=block[1:6]),
        lambda: bittwin.lookup(x[:2], weight.reshape(-1)[:256], out=weight[1:3]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="out: found memory that an input uses"):
            call()
    # Neighbours in one block of memory do not overlap.
    got = bittwin.linear(block[:5], weight, None, RULE, out=block[5:])
    assert got.base is block


def test_float32_out_is_for_codes_that_float32_holds() -> None:
    acc = np.array([2**24 + 1, -5], np.int32)
    whole = bittwin.Requant(rule="whole", lo=-(2**31), hi=2**31 - 1)
    with pytest.raises(TypeError, match="out: found float32, wanted a numpy array of int32"):
        bittwin.requantize(acc, whole, out=np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="out: found float32"):
        bittwin.linear(X, W, None, whole, out=np.zeros((5, 33), np.float32))
    with pytest.raises(TypeError, match="out: found float32, wanted a numpy array of int32"):
        bittwin.accumulate(X, W, out=np.zeros((5, 33), np.float32))


def test_settings_that_only_look_like_integers_are_refused_every_time() -> None:
    for _ in range(2):  # the second time, what 1 means is known
        bittwin.conv2d(IMAGE, KERNEL, None, RULE, stride=1, padding=(1, 1), dilation=1)
        for bad in (
            {"stride": True},
            {"stride": 1.0},
            {"padding": (1.0, 1)},
            {"dilation": (1, True)},
        ):
            with pytest.raises(TypeError, match=next(iter(bad))):
                bittwin.conv2d(IMAGE, KERNEL, None, RULE, **bad)
        for x_bits in (0, 17, True, 8.0):
            with pytest.raises((TypeError, ValueError), match="x_bits"):
                bittwin.linear(X, PACKED, None, RULE, x_bits=x_bits)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="layout: found 'HWC', wanted 'NCHW' or 'NHWC'"):
            bittwin.conv2d(IMAGE, KERNEL, None, RULE, layout="HWC")
        with pytest.raises(ValueError, match="low_bits: found 1"):
            bittwin.split_linear(WIDE, W, None, RULE, x_bits=10, low_bits=1)
        with pytest.raises(TypeError, match="low_bits"):
            bittwin.split_linear(WIDE, W, None, RULE, x_bits=10, low_bits=False)
