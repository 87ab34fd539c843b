# SPDX-License-Identifier: Apache-2.0
"""Checks of whole kernels: sums from numpy's int64, codes from the contract header, both of every kind.

Run on the kernels of this CPU (tests/properties/test_kernels_contract.py), and on a driver with one
mistake in it (tests/mutants), where they must fail.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any, Protocol

import numpy as np

from bittwin import _core
from bittwin.requant import ROUNDINGS, Requant
from contract.kernel_cases import (
    OUT_TYPES,
    W_TYPES,
    X_TYPES,
    Array,
    Call,
    Geometry,
    bare,
    forced,
    model,
)
from contract.product_checks import corner_weighted
from contract.requant_checks import assert_same

HALF_EVEN = Requant("half_even", shift1=(10,), rounding1="half_even")


class Kernel(Protocol):
    def codes(self, call: Call) -> Array | int:
        """Output in logical order, or the element of the accumulator that was refused."""

    def quantize(self, x: Array, how: Any, limits: Any, dtype: Any) -> tuple[Array, Array, int]:
        """Codes, flags, and 1 for a NaN plus 2 where all lay inside."""


def _in_memory(call: Call, array: Array) -> Array:
    return np.ascontiguousarray(call.laid(array))


def _layout(call: Call) -> tuple[int, int, int]:
    shape = call.out_shape
    if call.op == "linear" or call.channels_last:
        channels = shape[-1] if call.op == "linear" else shape[1]
        return int(np.prod(shape)) // max(channels, 1), channels, 1
    return shape[0], shape[1], shape[2] * shape[3]


def wanted_codes(call: Call) -> Array | int:
    """What the contract says: the header's requantiser on the model's accumulators."""
    requant = call.requant
    if requant is None:
        return model(call)
    acc = _in_memory(call, model(bare(call)))
    codes, layout = np.empty(acc.shape, np.int32), _layout(call)
    if call.split is not None:
        parts = []
        for part, bias in ((lambda v: v & 255, call.bias), (lambda v: v >> 8, None)):
            x, pad = call.x.astype(np.int32), np.int32(call.pad_code)
            split = replace(bare(call), x=np.sign(x) * part(abs(x)), bias=bias,
                            pad_code=int(np.sign(pad) * part(abs(pad))))  # fmt: skip
            parts.append(_in_memory(call, model(split)))
        rule = _core.SplitRule(*call.split)
        _core.split_requantize_into(*parts, call.bias_digital, codes, *layout, requant.core, rule)
    else:
        lsh = np.reshape(np.array(requant.lsh, np.int64), (-1, 1))
        wide = acc.astype(np.int64).reshape(layout) * 2**lsh
        refused = np.flatnonzero((wide < -(2**31)) | (wide >= 2**31))
        if refused.size:
            return int(refused[0])
        high = None if call.high is None else _in_memory(call, call.high)
        with forced("ref"):
            _core.requantize_into(acc, high, codes, *layout, requant.core)
    return call.logical(codes.astype(call.dtype))


def same(kernel: Kernel, call: Call, what: str) -> None:
    got, wanted = kernel.codes(call), wanted_codes(call)
    if isinstance(got, int) or isinstance(wanted, int):
        assert repr(got) == repr(wanted), f"{what}: refused {got!r}, wanted {wanted!r}"
        return
    assert_same(got, wanted, what)


def check_kernel_linear(kernel: Kernel) -> None:
    """Tails of rows, columns and codes, all types, the extreme sums, sums that wrap."""
    rng = np.random.default_rng(80)
    for x_type, w_type in product(X_TYPES, W_TYPES):
        for k in (0, 1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 150):
            m, n = 1 + k % 7, 1 + (5 * k) % 23
            x, weight = corner_weighted(rng, (m, k), x_type), corner_weighted(rng, (n, k), w_type)
            for bias in (None, corner_weighted(rng, (n,), np.int32)):
                same(kernel, Call("linear", x, weight, bias), f"linear {x_type} {w_type} k {k}")
        ends = np.iinfo(x_type).max, np.iinfo(w_type).min
        x, weight = np.full((2, 64), ends[0], x_type), np.full((3, 64), ends[1], w_type)
        same(kernel, Call("linear", x, weight), f"linear {ends[0]} times {ends[1]}")
    x, weight = corner_weighted(rng, (193, 9), np.int8), corner_weighted(rng, (33, 9), np.int8)
    same(kernel, Call("linear", x, weight), "linear, several blocks")


def check_kernel_linear_bell(kernel: Kernel) -> None:
    """Data of the usual kind: bell-shaped weights, half-empty inputs. Sharp for nothing but bugs."""
    rng = np.random.default_rng(81)
    x = np.clip(rng.normal(20, 25, (20, 64)), 0, 255).astype(np.uint8)
    weight = np.clip(rng.normal(0, 20, (24, 64)), -128, 127).astype(np.int8)
    same(kernel, Call("linear", x, weight), "linear on bell-shaped data")


PLACES = (
    Geometry(),
    Geometry((2, 1)),
    Geometry((1, 3), (1, 2, 0, 0)),
    Geometry((1, 1), (0, 0, 1, 2)),
    Geometry((1, 1), (2, 0, 1, 1), (2, 1)),
    Geometry((2, 2), (1, 1, 1, 1), (1, 2)),
    Geometry((1, 1), (1, 1, 1, 1), groups=2),
)


def check_kernel_conv2d(kernel: Kernel) -> None:
    rng = np.random.default_rng(82)
    for at, last, x_type in product(PLACES, (False, True), X_TYPES):
        pad = int(np.iinfo(x_type).max) if last else 0
        for channels in (2, 6):
            x = corner_weighted(rng, (2, channels, 7, 12), x_type)
            w_type = W_TYPES[channels == 6]
            weight = corner_weighted(rng, (8, channels // at.groups, 3, 2), w_type)
            bias = corner_weighted(rng, (8,), np.int32)
            call = Call("conv2d", x, weight, bias, at, last, pad)
            same(kernel, call, f"conv2d {at} last {last} {x_type}")


def check_kernel_blocks(kernel: Kernel) -> None:
    """Images of several blocks of pixels, in both directions and all phases."""
    rng = np.random.default_rng(89)
    for op, last, stride in product(
        ("conv2d", "conv_transpose2d"), (False, True), ((1, 1), (2, 1))
    ):
        x = corner_weighted(rng, (2, 4, 22, 15), np.uint8)
        weight = corner_weighted(rng, (4, 4, 2, 3), np.int8)
        at = Geometry(stride, (1, 0, 0, 1))
        same(kernel, Call(op, x, weight, None, at, last), f"blocks of {op} {at} last {last}")


def check_kernel_depthwise(kernel: Kernel) -> None:
    rng = np.random.default_rng(83)
    for count, last in product((3, 64, 70), (False, True)):
        for x_type, w_type in product(X_TYPES, W_TYPES):
            x = corner_weighted(rng, (1, count, 5, 6), x_type)
            weight = corner_weighted(rng, (count, 1, 3, 2), w_type)
            at = Geometry((1, 2), (1, 0, 1, 1), groups=count)
            call = Call("conv2d", x, weight, corner_weighted(rng, (count,), np.int32), at, last, 5)
            same(kernel, call, f"depthwise {count} {x_type} {w_type}")


def check_kernel_transposed(kernel: Kernel) -> None:
    rng = np.random.default_rng(84)
    strides = ((1, 1), (2, 3), (4, 2))
    for stride, crops, dilation in product(strides, ((0, 0, 0, 0), (1, 2, 0, 1)), ((1, 1), (2, 3))):
        for last, more in product((False, True), (0, 1)):
            x = corner_weighted(rng, (2, 3, 4, 5), np.int8 if last else np.uint8)
            weight = corner_weighted(rng, (3, 5, 3, 2), np.int8)
            at = Geometry(stride, crops, dilation, (more * (stride[0] - 1), more * (stride[1] - 1)))
            call = Call(
                "conv_transpose2d", x, weight, corner_weighted(rng, (5,), np.int32), at, last
            )
            same(kernel, call, f"conv_transpose2d {at} last {last}")


def _finish_calls(rng: np.random.Generator) -> list[Call]:
    x, weight = corner_weighted(rng, (7, 20), np.uint8), corner_weighted(rng, (21, 20), np.int8)
    calls = [Call("linear", x, weight)]
    for op, last in product(("conv2d", "conv_transpose2d"), (False, True)):
        x = corner_weighted(rng, (2, 5, 6, 18), np.uint8)
        calls.append(Call(op, x, corner_weighted(rng, (5, 5, 2, 2), np.int8), None,
                          Geometry((2, 2)), last))  # fmt: skip
    return calls


def check_kernel_finish(kernel: Kernel) -> None:
    """Every output type in every layout; the digital part; parameters per channel; float32."""
    rng = np.random.default_rng(85)
    for call, dtype in product(_finish_calls(rng), OUT_TYPES):
        unsigned = np.dtype(dtype).kind == "u"
        ends = (0, 255) if unsigned else (-128, 127)
        shape = call.out_shape
        count = shape[-1] if call.op == "linear" else shape[1]
        high = rng.integers(-99, 99, shape).astype(np.int32)
        per = {"shift1": tuple(int(s) for s in rng.integers(4, 12, count)),
               "multiplier": tuple(int(m) for m in rng.integers(-9, 9, count))}  # fmt: skip
        for requant in (
            Requant("readout", shift1=(8,), rounding1="toward_zero", shift2=(2,)),
            Requant("wrap16", shift1=(1,), rounding1="toward_zero", middle="wrap16", shift2=(9,)),
            Requant(
                "wide",
                multiplier=(2**30 + 7,),
                shift1=(31,),
                middle="clip32",
                shift2=(9,),
                zero_point=-3,
            ),
            Requant("clip32", multiplier=(2**31 - 1,), shift1=(10,), middle="clip32", shift2=(26,)),
            Requant("channels", lsh=(1,), **per),
            Requant("f32", scale_product=341.5, codes_per_unit=1.25),
        ):
            limited = replace(requant, lo=ends[0], hi=ends[1])
            for digital in (None, high):
                done = replace(call, requant=limited, high=digital, dtype=dtype)
                same(kernel, done, f"{call.op} {np.dtype(dtype)} {limited}")


def check_kernel_roundings(kernel: Kernel) -> None:
    """Every pair of roundings at every residue, in the 32-bit loop and in the 64-bit one."""
    weight = np.arange(-150, 151, dtype=np.int16)[:, None]
    call = Call("linear", np.ones((1, 1), np.uint8), weight, dtype=np.int16)
    for first, second in product(ROUNDINGS, ROUNDINGS):
        for shifts, multiplier in product(((3, 2), (0, 3), (2, 0)), (1, 3)):
            requant = Requant("pair", shift1=shifts[:1], rounding1=first, shift2=shifts[1:],
                              rounding2=second, multiplier=(multiplier,), zero_point=1,
                              lo=-10, hi=10)  # fmt: skip
            same(kernel, replace(call, requant=requant), f"{requant}")


def check_kernel_float_codes(kernel: Kernel) -> None:
    """half_even_f32 where codes are so large that an addition no longer rounds them."""
    rng = np.random.default_rng(88)
    x, weight = corner_weighted(rng, (9, 40), np.uint8), corner_weighted(rng, (33, 40), np.int8)
    far = 2**24
    for per_unit, product_ in ((31.0, 2.0), (1001.0, 2.0), (1.5, 1.0)):
        requant = Requant("f32", scale_product=product_, codes_per_unit=per_unit, lo=-far, hi=far)
        same(kernel, Call("linear", x, weight, requant=requant), f"{requant}")


def check_kernel_unsigned_store(kernel: Kernel) -> None:
    weight = np.arange(-1500, 1501, dtype=np.int16)[:, None]
    requant = Requant("store", shift1=(1,), shift2=(2,), lo=0, hi=255, store="wrap_u8")
    call = Call("linear", np.ones((1, 1), np.uint8), weight, requant=requant, dtype=np.uint8)
    same(kernel, call, "unsigned store")


def check_kernel_split(kernel: Kernel) -> None:
    rng = np.random.default_rng(86)
    f32 = Requant("f32", scale_product=341.5, codes_per_unit=1.25, lo=-512, hi=511)
    for call, x_type in product(_finish_calls(rng), (np.int16, np.uint16)):
        x = corner_weighted(rng, call.x.shape, np.int16) % 4096
        x = (x - 2048 if x_type is np.int16 else x).astype(x_type)
        count = call.out_shape[-1] if call.op == "linear" else call.out_shape[1]
        bias, digital = (rng.integers(-9999, 9999, count).astype(np.int32) for _ in range(2))
        for requant, whole in ((replace(HALF_EVEN, lo=-512, hi=511), 0.0), (f32, 273.0)):
            for low, bias_digital in ((None, digital), ((-60, 70), None), ((-60, 70), digital)):
                for rounding in (0, 1, 5, 6):
                    done = replace(call, x=x, bias=bias, requant=requant, dtype=np.int16,
                                   split=(low, 9, whole, rounding), bias_digital=bias_digital,
                                   pad_code=0)  # fmt: skip
                    same(kernel, done, f"split {call.op} {requant} {low}")


def check_kernel_refusal(kernel: Kernel) -> None:
    """The first accumulator in memory order that lsh pushes out of int32; none where all fit."""
    rng = np.random.default_rng(87)
    for call in _finish_calls(rng):
        for lsh in (8, 13, 15, 20):
            requant = Requant("shifted", lsh=(lsh,), shift1=(lsh + 6,))
            same(kernel, replace(call, requant=requant, dtype=np.int8), f"lsh {lsh} of {call.op}")
    weight = np.array([[-(2**15)], [2**15 - 1], [1]], np.int16)
    requant = Requant("shifted", lsh=(16,), shift1=(20,))
    call = Call("linear", np.ones((1, 1), np.uint8), weight, requant=requant, dtype=np.int16)
    same(kernel, call, "exactly at the ends")
    same(kernel, replace(call, bias=np.array([0, 1, 0], np.int32)), "one above the end")


def check_kernel_quantize(kernel: Kernel) -> None:
    """Ties, ends, their neighbours, infinities: codes and flags; a NaN wherever it stands."""
    cases = (((255.0, 0.0), (0, 255), np.uint8), ((64.0, 128.0), (0, 255), np.uint8),
             ((100.3, 0.0), (-255, 255), np.int16), ((7.77, 77.0), (0, 1023), np.int16))  # fmt: skip
    for (per_unit, shift), (lo, hi), dtype in cases:
        ends = [lo - 1, lo - 0.5, lo, lo + 0.5, hi - 0.5, hi, hi + 0.4, hi + 0.5, hi + 1]
        goal = np.array([*ends, *np.arange(lo - 3, hi + 3, 0.5)]) - shift
        v = (goal / per_unit).astype(np.float32)
        v = np.concatenate([v, np.nextafter(v, np.float32(9e9)), np.nextafter(v, np.float32(-9e9))])
        v = np.append(v, np.array([np.inf, -np.inf, 1e30], np.float32))
        scaled = v * np.float32(per_unit) + np.float32(shift)
        limited = [Fraction(float(s)) for s in np.clip(scaled, lo - 9, hi + 9)]
        codes, inside, found = kernel.quantize(v, (per_unit, shift), (lo, hi), dtype)
        assert_same(codes, [min(max(round(s), lo), hi) for s in limited], "input codes", v)
        assert_same(inside, [int(lo <= s <= hi) for s in limited], "inside", v)
        assert found == 0
        middle = np.full(70, (lo + hi) / 2 / per_unit - shift / per_unit, np.float32)
        assert kernel.quantize(middle, (per_unit, shift), (lo, hi), dtype)[2] == 2
        for at in (0, 15, 16, 69):
            v = middle.copy()
            v[at] = np.nan
            assert kernel.quantize(v, (per_unit, shift), (lo, hi), dtype)[2] & 1, f"NaN at {at}"


KERNEL_CHECKS = (
    check_kernel_linear,
    check_kernel_linear_bell,
    check_kernel_conv2d,
    check_kernel_blocks,
    check_kernel_depthwise,
    check_kernel_transposed,
    check_kernel_finish,
    check_kernel_roundings,
    check_kernel_float_codes,
    check_kernel_unsigned_store,
    check_kernel_split,
    check_kernel_refusal,
    check_kernel_quantize,
)
