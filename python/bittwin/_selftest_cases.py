# SPDX-License-Identifier: Apache-2.0
"""The cases of the self-test: random ones with the oracle's answers, large ones with numpy's int64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

import bittwin
from bittwin import requant
from bittwin._selftest_vectors import known_vectors
from bittwin.selftest import Case
from bittwin.testing import oracle

Array = NDArray[Any]
Rng = np.random.Generator
_CORNER_SHARE = 0.7
_TAILS = (1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129)  # around vector lengths
_TYPES = ((np.uint8, 0, 255), (np.int8, -128, 127), (np.uint16, 0, 4095), (np.int16, -2048, 2047))


def codes(rng: Rng, dtype: DTypeLike, shape: tuple[int, ...], low: int, high: int) -> Array:
    """Random codes, 70 % of them from the ends of the range or around 0; sometimes one end throughout."""
    corners = [v for v in (low, low + 1, -1, 0, 1, high - 1, high) if low <= v <= high]
    if rng.random() < 0.2:
        return np.full(shape, rng.choice((low, high)), dtype)
    anywhere = rng.integers(low, high, shape, endpoint=True)
    at_ends = rng.random(shape) < _CORNER_SHARE
    mixed: Array = np.where(at_ends, rng.choice(corners, shape), anywhere).astype(dtype)
    return mixed


def accumulators(rng: Rng, gain: int, size: int) -> Array:
    """Accumulators where rules go wrong: quarters of the gain +-2, saturation, powers of two, the ends."""
    quarters = rng.integers(-600, 600, size) * gain // 4
    powers = rng.choice((-1, 1), size) * (1 << rng.integers(0, 32, size))
    wraps = rng.choice((-8193, -8192, 8191, 8192, -128, 128), size) * gain
    anywhere = rng.integers(-(1 << 31), (1 << 31) - 1, size, endpoint=True)
    kind = rng.integers(0, 8, size)
    value = np.select([kind < 4, kind == 4, kind == 5], [quarters, powers, wraps], anywhere)
    value = value + np.where(kind < 6, rng.integers(-2, 3, size), 0)
    limited: Array = np.clip(value, -(1 << 31), (1 << 31) - 1).astype(np.int32)
    return limited


def _oracle_rule(rule: str, gain: int, bits: int) -> Callable[..., Any]:
    if rule.startswith("readout"):
        overflow = "wrap16" if rule.endswith("wrap16") else "saturate"
        return partial(oracle.readout, gain=gain, bits=bits, overflow=overflow)
    if rule == "half_even":
        return partial(oracle.half_even, gain=gain, bits=bits)
    return partial(oracle.one_stage, gain=gain, rounding=rule, bits=bits)


def rules(rng: Rng, _: int) -> Iterator[Case]:
    """Every named rule on accumulators around its steps, with and without a digital part."""
    for rule in requant.RULES:
        gain = 1 << int(rng.integers(8, 16))
        bits = int(rng.choice((8, 8, 6, 10)))
        acc = accumulators(rng, gain, 1200)
        high = codes(rng, np.int16, acc.shape, -300, 300)
        used, wanted = requant.by_name(rule, gain, bits=bits), _oracle_rule(rule, gain, bits)
        text = f"{rule}, gain {gain}, {bits} bits"
        yield Case(text, partial(bittwin.requantize, acc, used), wanted(acc))
        run = partial(bittwin.requantize, acc[:300], used, high=high[:300])
        yield Case(f"{text}, high", run, wanted(acc[:300], high=high[:300]))


def two_stage(rng: Rng, _: int) -> Iterator[Case]:
    """The two-stage pipeline with random multipliers, shifts, roundings and zero points."""
    for _unused in range(6):
        multiplier = int(codes(rng, np.int64, (), 1, (1 << 31) - 1))
        shift1, shift2 = int(rng.integers(0, 40)), int(rng.integers(0, 12))
        first, second = (str(r) for r in rng.choice(requant.ROUNDINGS, 2))
        zero = int(rng.integers(-128, 128))
        used = requant.two_stage(
            multiplier=multiplier, shift1=shift1, rounding1=first, shift2=shift2, rounding2=second,
            zero_point=zero,
        )  # fmt: skip
        acc = accumulators(rng, 1 << max(1, (shift1 + shift2) // 2), 300)
        wanted = oracle.two_stage(
            acc, 0, multiplier, shift1, first, shift2, second, zero, -128, 127
        )
        text = f"two_stage x {multiplier}, >> {shift1} {first}, >> {shift2} {second}, + {zero}"
        yield Case(text, partial(bittwin.requantize, acc, used), wanted)


def half_even_f32(rng: Rng, _: int) -> Iterator[Case]:
    """The training tool's float32 order."""
    product, per_unit = float(rng.uniform(1, 1e6)), float(rng.uniform(0.01, 500))
    acc = accumulators(rng, max(int(product / per_unit), 1), 1000)
    used = requant.half_even_f32(product, per_unit)
    wanted = oracle.half_even_f32(acc, product, per_unit)
    yield Case(
        f"half_even_f32({product}, {per_unit})", partial(bittwin.requantize, acc, used), wanted
    )


def _operands(
    rng: Rng, shape_x: tuple[int, ...], shape_w: tuple[int, ...]
) -> tuple[Array, Array, str]:
    """Inputs and weights of random types."""
    dtype, low, high = _TYPES[int(rng.integers(len(_TYPES)))]
    wide = bool(rng.integers(2))
    end = 275 if wide else 127
    x = codes(rng, dtype, shape_x, low, high)
    w = codes(rng, np.int16 if wide else np.int8, shape_w, -end - (not wide), end)
    return x, w, f"{x.dtype} {list(shape_x)} with {w.dtype} {list(shape_w)}"


def _bias(rng: Rng, columns: int) -> Array:
    return (128 * codes(rng, np.int32, (columns,), -16 * 128, 16 * 127)).astype(np.int32)


def linear(rng: Rng, _: int) -> Iterator[Case]:
    """Linear rounds of awkward sizes."""
    for _unused in range(10):
        m, n, k = int(rng.integers(1, 6)), int(rng.choice(_TAILS[:9])), int(rng.choice(_TAILS))
        x, w, text = _operands(rng, (m, k), (n, k))
        bias = _bias(rng, n)
        acc = oracle.accumulate(x, w, bias)
        yield Case(f"accumulate {text}", partial(bittwin.accumulate, x, w, bias), acc)
        gain = 1 << int(rng.integers(8, 14))
        run = partial(bittwin.linear, x, w, bias, bittwin.readout(gain))
        yield Case(f"linear {text}, gain {gain}", run, oracle.readout(acc, gain))


def split_linear(rng: Rng, _: int) -> Iterator[Case]:
    """Inputs of 9 to 12 bits in two rounds."""
    for rule in ("readout", "half_even"):
        bits, k, n = int(rng.integers(9, 13)), int(rng.choice(_TAILS[:10])), int(rng.integers(1, 9))
        signed = bool(rng.integers(2))
        top = (1 << bits) - 1
        x = codes(rng, np.int16 if signed else np.uint16, (3, k), -top if signed else 0, top)
        w = codes(rng, np.int8, (n, k), -128, 127)
        gain, bias, digital = 1 << int(rng.integers(8, 14)), _bias(rng, n), _bias(rng, n)
        run = partial(
            bittwin.split_linear,
            x,
            w,
            bias,
            requant.by_name(rule, gain),
            x_bits=bits,
            bias_digital=digital,
        )
        wanted = oracle.split_linear(x, w, bias, rule=rule, gain=gain, bias_digital=digital)
        yield Case(
            f"split_linear {rule}, gain {gain}, {bits} bits, {x.dtype} [3, {k}]", run, wanted
        )


def conv2d(rng: Rng, _: int) -> Iterator[Case]:
    """Convolutions with strides, four paddings, dilation and groups."""
    for _unused in range(3):
        groups = int(rng.choice((1, 1, 2)))
        c, o = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        size = (int(rng.integers(5, 8)), int(rng.integers(5, 8)))
        x, w, text = _operands(rng, (1, c, *size), (o, c // groups, *kernel))
        how: dict[str, Any] = {
            "stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
            "padding": tuple(int(v) for v in rng.integers(0, 3, 4)),
            "dilation": tuple(int(v) for v in rng.integers(1, 3, 2)),
            "groups": groups,
        }
        bias = _bias(rng, o)
        run = partial(bittwin.conv2d_accumulate, x, w, bias, **how)
        yield Case(f"conv2d {text} {how}", run, oracle.conv2d(x, w, bias, **how))


def conv_transpose2d(rng: Rng, _: int) -> Iterator[Case]:
    """Transposed convolutions."""
    for _unused in range(3):
        c, o = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        kernel = (int(rng.integers(2, 4)), int(rng.integers(2, 4)))
        stride = tuple(int(v) for v in rng.integers(1, 4, 2))
        x, w, text = _operands(rng, (1, c, 4, 5), (c, o, *kernel))
        how: dict[str, Any] = {
            "stride": stride,
            "padding": tuple(int(v) for v in rng.integers(0, 2, 4)),
            "output_padding": tuple(int(rng.integers(0, s)) for s in stride),
        }
        bias = _bias(rng, o)
        run = partial(bittwin.conv_transpose2d_accumulate, x, w, bias, **how)
        yield Case(
            f"conv_transpose2d {text} {how}", run, oracle.conv_transpose2d(x, w, bias, **how)
        )


def activations(rng: Rng, _: int) -> Iterator[Case]:
    """ReLU, clip and both table sizes on all 256 codes; the bias rows' steps."""
    y = np.arange(-128, 128).astype(np.int8)
    limit = int(rng.integers(0, 256))
    yield Case("relu", partial(bittwin.relu, y), oracle.relu(y))
    yield Case("relu x2", partial(bittwin.relu, y, 2), oracle.relu(y, 2))
    yield Case(f"clip {limit}", partial(bittwin.clip, y, limit), oracle.clip(y, limit))
    for size in (256, 1024):
        table = rng.integers(0, 256, size).astype(np.uint8)
        yield Case(f"table of {size}", partial(bittwin.lookup, y, table), oracle.lookup(y, table))
    bias = rng.integers(-(1 << 20), 1 << 20, 200).astype(np.int32)
    bias[:100] = bias[:100] // 64 * 64
    rows = int(rng.integers(1, 33))
    run = partial(bittwin.quantize_bias, bias, rows=rows)
    yield Case(f"quantize_bias, {rows} rows", run, oracle.quantize_bias(bias, rows=rows))


def large_linear(rng: Rng, number: int) -> Iterator[Case]:
    """Layers of real size against numpy's int64."""
    for k, n in ((896, 128), (1024, 65), (1792, 31), (515, 256))[: 4 if number else 3]:
        x, w, text = _operands(rng, (16, k), (n, k))
        bias = _bias(rng, n)
        wanted = x.astype(np.int64) @ w.astype(np.int64).T + bias
        low, high = int(wanted.min()), int(wanted.max())
        if low >= -(1 << 31) and high < 1 << 31:
            overflow = "refuse" if _provable(w, x.dtype) else "wrap32"
            run = partial(bittwin.accumulate, x, w, bias, overflow=overflow)
            yield Case(f"accumulate {text}", run, wanted)


def _provable(weight: Array, dtype: Any) -> bool:
    top = 4095 if dtype in (np.uint16, np.int16) else 255
    return int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * top < (1 << 31) - (1 << 20)


def large_conv(rng: Rng, _: int) -> Iterator[Case]:
    """A convolution of real size against numpy's int64 on unfolded patches."""
    x, w, text = _operands(rng, (2, 16, 20, 21), (24, 16, 3, 3))
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    wanted = np.einsum(
        "nchwij,ocij->nohw", patches.astype(np.int64), w.astype(np.int64), optimize=True
    )
    yield Case(f"conv2d {text}", partial(bittwin.conv2d_accumulate, x, w), wanted)


def _vectors(_: Rng, number: int) -> Iterator[Case]:
    return known_vectors() if number == 0 else iter(())


CHECKS: tuple[tuple[str, Callable[[Rng, int], Iterator[Case]]], ...] = (
    ("known vectors", _vectors),
    ("rules against the oracle", rules),
    ("two-stage pipeline against the oracle", two_stage),
    ("half_even_f32 against the oracle", half_even_f32),
    ("linear against the oracle", linear),
    ("split linear against the oracle", split_linear),
    ("conv2d against the oracle", conv2d),
    ("conv_transpose2d against the oracle", conv_transpose2d),
    ("activations and bias against the oracle", activations),
    ("large linear against int64", large_linear),
    ("large conv2d against int64", large_conv),
)

__all__ = ["CHECKS"]
