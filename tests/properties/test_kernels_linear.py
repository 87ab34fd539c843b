# SPDX-License-Identifier: Apache-2.0
"""Linear sums of every kernel equal numpy's int64: all tails, all types, the ends of the codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract.kernel_cases import (
    KERNELS,
    W_TYPES,
    X_TYPES,
    Array,
    Call,
    assert_equal,
    every_kernel,
    forced,
    model,
)
from contract.product_checks import corner_weighted
from hypothesis import given
from hypothesis import strategies as st

import bittwin
from bittwin import _core
from bittwin.testing import strategies

#: Loops work on 4, 16 or 64 codes, 8..64 columns and 6..96 rows at a time, and on 512 codes a pass.
NEAR = sorted(m * s + d for m in (4, 16, 64) for s in (1, 2, 3, 8) for d in (-1, 0, 1))
LONG = (511, 512, 513, 767, 1023, 1024, 1025, 1026, 2049, 4111)
ROWS = (0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 17, 70)
COLUMNS = (0, 1, 7, 8, 9, 15, 16, 17, 24, 31, 33, 47, 48, 49, 63, 64, 65, 70)
types = pytest.mark.parametrize("types", [(x, w) for x in X_TYPES for w in W_TYPES], ids=str)


@pytest.mark.parametrize("known", bittwin.kernels(), ids=lambda known: str(known.name))
def test_kernel_is_tested_here(known: bittwin.KernelInfo) -> None:
    """One line per kernel in the report: the tests below leave out what this CPU cannot run."""
    if not known.available:
        pytest.skip(f"kernel {known.name}: {known.reason}")
    assert known.name in KERNELS


def of_lengths(x: Array, weight: Array, bias: Array) -> Array:
    out = np.full((len(x), len(weight)), 77, np.int32)
    _core.linear(x, weight, bias, None, None, None, None, out)
    return out


@every_kernel
@types
def test_every_length_is_exact(kernel: str, types: tuple[Any, Any]) -> None:
    """k from 0 to 70 and around the loops' own lengths, against every kind of row and column tail."""
    rng = np.random.default_rng(40)
    bias = corner_weighted(rng, (70,), np.int32)
    with forced(kernel, 1):
        for k in sorted({*range(71), *NEAR}):
            x, weight = (
                corner_weighted(rng, (70, k), types[0]),
                corner_weighted(rng, (70, k), types[1]),
            )
            wanted = model(Call("linear", x, weight, bias))
            for m in ROWS:
                n = COLUMNS[(k + m) % len(COLUMNS)]
                got = of_lengths(x[:m], weight[:n], bias[:n])
                np.testing.assert_array_equal(got, wanted[:m, :n], err_msg=f"m {m}, k {k}, n {n}")


@every_kernel
@types
def test_every_block_of_rows_and_columns_is_exact(kernel: str, types: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(41)
    x, weight = corner_weighted(rng, (200, 9), types[0]), corner_weighted(rng, (140, 9), types[1])
    bias = corner_weighted(rng, (140,), np.int32)
    wanted = model(Call("linear", x, weight, bias))
    with forced(kernel, 1):
        for m in (*range(71), 95, 96, 97, 98, 191, 192, 193, 200):
            for n in (*range(m % 3, 71, 3), 127, 128, 129, 140):
                got = of_lengths(x[:m], weight[:n], bias[:n])
                np.testing.assert_array_equal(got, wanted[:m, :n], err_msg=f"m {m}, n {n}")


@every_kernel
@types
@pytest.mark.parametrize("k", LONG)
def test_sums_of_several_passes_are_exact(kernel: str, types: tuple[Any, Any], k: int) -> None:
    rng = np.random.default_rng(k)
    x, weight = corner_weighted(rng, (7, k), types[0]), corner_weighted(rng, (67, k), types[1])
    call = Call("linear", x, weight, corner_weighted(rng, (67,), np.int32))
    assert_equal(call.run(kernel), model(call), kernel)


@every_kernel
@types
def test_ends_of_the_codes_are_exact(kernel: str, types: tuple[Any, Any]) -> None:
    """All 255 times all -128 and the like: sums that wrap, and pairs that a saturating kernel clips."""
    ends = [(int(np.iinfo(t).min), int(np.iinfo(t).max)) for t in types]
    for k in (2, 64, 70, 1024, 70_001):
        for a in ends[0]:
            for b in ends[1]:
                x, weight = np.full((2, k), a, types[0]), np.full((3, k), b, types[1])
                x[1, ::2] = ends[0][0]
                weight[1, 1::2] = ends[1][1]
                call = Call("linear", x, weight, np.array([2**31 - 1, -(2**31), -1], np.int32))
                assert_equal(call.run(kernel), model(call), f"{a} x {b}, k {k}")


lengths = st.one_of(st.integers(0, 70), st.sampled_from([*NEAR, *LONG]))


@every_kernel
@given(st.data())
def test_linear_accumulators_equal_the_model(kernel: str, data: st.DataObject) -> None:
    k = data.draw(lengths)
    m, n = data.draw(st.integers(0, 110)), data.draw(st.integers(0, 140))
    n = min(n, 2_000_000 // max(m * k, 1))
    x = data.draw(strategies.codes(data.draw(st.sampled_from(X_TYPES)), (m, k)))
    weight = data.draw(strategies.codes(data.draw(st.sampled_from(W_TYPES)), (n, k)))
    bias = data.draw(st.one_of(st.none(), strategies.codes(np.int32, (n,))))
    call = Call("linear", x, weight, bias)
    packed = data.draw(st.booleans())
    got = call.run(kernel, packed=_core.PackedWeight(weight) if packed else None)
    assert_equal(got, model(call), (m, k, n))


@every_kernel
@pytest.mark.parametrize("weight_type", W_TYPES)
def test_packed_weight_serves_every_input_type(kernel: str, weight_type: Any) -> None:
    """One packed weight, codes of all types in turn: each has a format of its own."""
    rng = np.random.default_rng(42)
    weight = corner_weighted(rng, (33, 70), weight_type)
    packed = _core.PackedWeight(weight)
    for x_type in (*X_TYPES, *reversed(X_TYPES)):
        call = Call("linear", corner_weighted(rng, (9, 70), x_type), weight)
        assert_equal(call.run(kernel, packed=packed), model(call), np.dtype(x_type))


@every_kernel
def test_packed_weight_serves_every_kernel_in_turn(kernel: str) -> None:
    rng = np.random.default_rng(43)
    weight = corner_weighted(rng, (21, 37), np.int8)
    packed = _core.PackedWeight(weight)
    call = Call("linear", corner_weighted(rng, (9, 37), np.uint8), weight)
    for name in ("ref", kernel, "ref", kernel):
        assert_equal(call.run(name, packed=packed), model(call), name)
