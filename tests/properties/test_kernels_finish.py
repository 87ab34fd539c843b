# SPDX-License-Identifier: Apache-2.0
"""Products finished to codes: every kernel's fused epilogue equals the reference's, refusals too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from contract.kernel_cases import (
    OUT_TYPES,
    W_TYPES,
    X_TYPES,
    Array,
    Call,
    Geometry,
    assert_equal,
    bare,
    every_fast_kernel,
    model,
)
from contract.kernel_rules import out_types, rules, splits
from contract.product_checks import corner_weighted
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kernels_conv import conv_calls

import bittwin
from bittwin import _core
from bittwin.requant import ROUNDINGS, Requant
from bittwin.testing import strategies


@st.composite
def linear_calls(draw: Any, x_types: Any = X_TYPES) -> Call:
    """Sums of all sizes: full-range codes saturate, codes of a few units meet every tie."""
    m, k = draw(st.integers(0, 20)), draw(st.integers(0, 40))
    n = draw(st.one_of(st.integers(0, 40), st.sampled_from([63, 64, 65, 70, 129])))
    x_type, w_type = draw(st.sampled_from(x_types)), draw(st.sampled_from(W_TYPES))
    reach = draw(st.sampled_from([None, None, 2, 15]))
    low = None if reach is None else max(-reach, int(np.iinfo(x_type).min))
    x = draw(strategies.codes(x_type, (m, k), low, reach))
    weight = draw(strategies.codes(w_type, (n, k), None if reach is None else -reach, reach))
    ends = draw(st.sampled_from([None, 3, 5000]))
    some = strategies.codes(np.int32, (n,), None if ends is None else -ends, ends)
    return Call("linear", x, weight, draw(st.one_of(st.none(), some)))


@st.composite
def finished(draw: Any, call: Call) -> Call:
    dtype = draw(out_types)
    shape = call.out_shape
    count = shape[-1] if call.op == "linear" else shape[1]
    requant = draw(rules(dtype, max(count, 1)))
    high = draw(st.one_of(st.none(), strategies.codes(np.int32, shape)))
    if draw(st.booleans()) and high is not None:
        high = high % 201 - 100
    return replace(call, requant=requant, high=high, dtype=dtype)


@st.composite
def split_calls(draw: Any, call: Call) -> Call:
    dtype = draw(out_types)
    kinds = ["readout", "one_stage", "two_stage", "half_even_f32", "multiplied"]
    requant = draw(rules(dtype, 1, kinds).filter(lambda r: r.lsh == (0,)))  # a split refuses no sum
    count = call.out_shape[-1] if call.op == "linear" else call.out_shape[1]
    digital = st.one_of(
        strategies.codes(np.int32, (count,)), strategies.codes(np.int32, (count,), -2000, 2000)
    )
    bias_digital = draw(st.one_of(st.none(), digital))
    split = draw(splits(requant))
    return replace(call, requant=requant, split=split, bias_digital=bias_digital, dtype=dtype)


def same_as_reference(call: Call, kernel: str, packed: bool) -> None:
    weight = _core.PackedWeight(call.weight) if packed else None
    assert_equal(call.run(kernel, packed=weight), call.run("ref"), call)


@every_fast_kernel
@given(st.data())
@settings(max_examples=500)
def test_linear_codes_equal_the_reference(kernel: str, data: st.DataObject) -> None:
    call = data.draw(linear_calls().flatmap(finished))
    same_as_reference(call, kernel, data.draw(st.booleans()))


@every_fast_kernel
@given(st.data())
@settings(max_examples=400)
def test_convolution_codes_equal_the_reference(kernel: str, data: st.DataObject) -> None:
    call = data.draw(conv_calls().flatmap(finished))
    same_as_reference(call, kernel, data.draw(st.booleans()))


@every_fast_kernel
@given(st.data())
@settings(max_examples=400)
def test_split_linear_codes_equal_the_reference(kernel: str, data: st.DataObject) -> None:
    call = data.draw(linear_calls().flatmap(split_calls))
    same_as_reference(call, kernel, data.draw(st.booleans()))


@every_fast_kernel
@given(st.data())
@settings(max_examples=300)
def test_split_convolution_codes_equal_the_reference(kernel: str, data: st.DataObject) -> None:
    call = data.draw(conv_calls().flatmap(split_calls))
    same_as_reference(call, kernel, data.draw(st.booleans()))


def residues(limit: int) -> tuple[Array, Array]:
    """x and weight whose product is every integer of -limit..limit, as one row."""
    weight = np.arange(-limit, limit + 1, dtype=np.int16)[:, None]
    return np.ones((1, 1), np.uint8), weight


@every_fast_kernel
@pytest.mark.parametrize("first", ROUNDINGS)
@pytest.mark.parametrize("second", ROUNDINGS)
def test_every_pair_of_roundings_at_every_residue(kernel: str, first: str, second: str) -> None:
    x, weight = residues(300)
    for shifts in ((3, 2), (4, 0), (0, 3), (1, 1)):
        stages = Requant(
            "pair", shift1=shifts[:1], rounding1=first, shift2=shifts[1:], rounding2=second
        )
        for requant in (
            stages,
            replace(stages, multiplier=(-1,)),
            replace(stages, middle="wrap16"),
        ):
            call = Call("linear", x, weight, requant=requant, dtype=np.int8)
            assert_equal(call.run(kernel), call.run("ref"), requant)


@every_fast_kernel
@pytest.mark.parametrize("dtype", OUT_TYPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_every_output_type_in_every_layout(
    kernel: str, dtype: Any, channels_last: bool, op: str
) -> None:
    """Pixels side by side and apart (the phases of a transposed convolution), more than one block."""
    rng = np.random.default_rng(60)
    x = corner_weighted(rng, (2, 5, 11, 13), np.uint8)
    weight = corner_weighted(rng, (5, 5, 3, 3), np.int8)
    requant = Requant("all", shift1=(7,), lo=0 if np.dtype(dtype).kind == "u" else -128, hi=127)
    call = Call(op, x, weight, None, Geometry((2, 2)), channels_last, requant=requant, dtype=dtype)
    for high in (None, corner_weighted(rng, call.out_shape, np.int8).astype(np.int32)):
        with_high = replace(call, high=high)
        assert_equal(with_high.run(kernel), with_high.run("ref"), requant)


@every_fast_kernel
def test_the_first_refused_accumulator_is_named(kernel: str) -> None:
    """Memory order decides which is first, whatever order a kernel works in."""
    rng = np.random.default_rng(61)
    for op, channels_last in (
        ("conv2d", False),
        ("conv2d", True),
        ("conv_transpose2d", True),
        ("linear", False),
    ):
        shape = (9, 70) if op == "linear" else (2, 70, 9, 11)
        w_shape = (100, 70) if op == "linear" else (70, 70, 2, 2)
        x, weight = corner_weighted(rng, shape, np.uint8), corner_weighted(rng, w_shape, np.int8)
        for lsh in (9, 12, 20):
            requant = Requant("shifted", lsh=(lsh,), shift1=(lsh + 6,))
            call = Call(op, x, weight, None, Geometry((2, 2)) if op != "linear" else Geometry(),
                        channels_last, requant=requant, dtype=np.int8)  # fmt: skip
            acc = model(bare(call))
            if op != "linear" and channels_last:
                acc = acc.transpose(0, 2, 3, 1)
            room = 2 ** (31 - lsh)
            bad = np.flatnonzero((acc < -room) | (acc >= room))
            got = call.run(kernel)
            assert_equal(got, call.run("ref"), requant)
            assert isinstance(got, str) == (bad.size > 0)
            if bad.size:
                value = acc.reshape(-1)[bad[0]]
                assert f"accumulator {value} (element {bad[0]}) shifted left by lsh = {lsh}" in str(
                    got
                )


@every_fast_kernel
@given(st.data())
@settings(max_examples=300)
def test_requantize_into_equals_the_reference(kernel: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(OUT_TYPES[:-1]))
    shape = data.draw(st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(0, 40)))
    requant = data.draw(rules(dtype, shape[1]))
    gain = 2 ** min(requant.shift1[0] + requant.shift2[0], 24)
    acc = data.draw(strategies.accumulators(shape, gain))
    high = data.draw(st.one_of(st.none(), strategies.codes(np.int32, shape)))
    found: list[Any] = []
    for name in ("ref", kernel):
        out = np.full(shape, 77, dtype)
        _core.force_kernel(name)
        try:
            _core.requantize_into(acc, high, out, *shape, requant.core)
            found.append(out)
        except ValueError as error:
            found.append(str(error))
        finally:
            _core.force_kernel("")
    assert_equal(found[1], found[0], requant)


@every_fast_kernel
def test_fused_codes_equal_two_steps(kernel: str) -> None:
    """linear(...) in one call equals accumulate, then requantize, by the public functions."""
    rng = np.random.default_rng(62)
    x, weight = corner_weighted(rng, (13, 70), np.uint8), corner_weighted(rng, (70, 70), np.int8)
    _core.force_kernel(kernel)
    try:
        for requant in (
            bittwin.readout(1024),
            bittwin.half_even(2048),
            bittwin.half_even_f32(900.5, 1.25),
        ):
            acc = bittwin.accumulate(x, weight)
            fused = bittwin.linear(x, weight, None, requant)
            np.testing.assert_array_equal(fused, bittwin.requantize(acc, requant))
    finally:
        _core.force_kernel("")
