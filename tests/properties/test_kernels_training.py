# SPDX-License-Identifier: Apache-2.0
"""The training forward of every kernel: real inputs, codes, outputs and gradient flags as the reference's."""

from __future__ import annotations

from typing import Any

import numpy as np
from contract.kernel_cases import Call, Geometry, assert_equal, every_fast_kernel, forced
from contract.kernel_rules import rules, splits
from hypothesis import given, settings
from hypothesis import strategies as st

from bittwin import _core
from bittwin.requant import Requant
from bittwin.testing import strategies

#: (codes_per_unit, shift), limits of the code, dtype
INPUTS = (
    ((255.0, 0.0), (0, 255), np.uint8),
    ((64.0, 128.0), (0, 255), np.uint8),
    ((100.3, 0.0), (-255, 255), np.int16),
    ((7.77, 0.0), (-4095, 4095), np.int16),
    ((7.77, 77.0), (0, 1023), np.int16),
)


def values(rng: np.random.Generator, shape: tuple[int, ...], rule: Any, limits: Any) -> Any:
    """Real inputs: ties, the ends, their neighbours, infinities, and far beyond."""
    lo, hi = limits
    corners = [lo - 1, lo - 0.5, lo, lo + 0.5, 0.0, 0.5, 1.5, hi - 0.5, hi, hi + 0.5, hi + 1, 1e30]
    corners += [-np.inf, np.inf, -1e30]
    pick = rng.choice(corners, shape)
    some = rng.uniform(lo - 2, hi + 2, shape)
    wanted = np.where(rng.random(shape) < 0.5, pick, some) - rule[1]
    exact = (wanted / rule[0]).astype(np.float32)
    return np.where(rng.random(shape) < 0.2, np.nextafter(exact, np.float32(0)), exact)


def forward(kernel: str, call: Call, how: Any, limits: Any, dtype: Any, per_unit: float) -> Any:
    """Everything that a forward writes, and what it returns."""
    y, codes = np.zeros(call.out_shape, np.float32), np.zeros(call.x.shape, dtype)
    x = np.ascontiguousarray(call.x, np.float32)
    assert call.requant is not None
    layer = _core.QatLayer(
        call.op, call.weight, call.bias, call.bias_digital, call.geometry.core, how, limits, call.pad_code,
        call.requant.core, None if call.split is None else _core.SplitRule(*call.split), per_unit,
    )  # fmt: skip
    size = (*x.shape, 1, 1)[:4]
    with forced(kernel, 1):
        nan, *bits = layer.forward(
            x.ctypes.data, size, False, y.ctypes.data, y.size, codes.ctypes.data, codes.itemsize, True, 1
        )  # fmt: skip
    return nan, y, codes, bits


def compare(kernel: str, call: Call, how: Any, limits: Any, dtype: Any, per_unit: float) -> None:
    got = forward(kernel, call, how, limits, dtype, per_unit)
    wanted = forward("ref", call, how, limits, dtype, per_unit)
    assert got[0] == wanted[0], call
    if wanted[0]:
        return  # NaN: nothing else has a meaning
    for a, b in zip((got[1], got[2], *got[3]), (wanted[1], wanted[2], *wanted[3]), strict=True):
        assert (a is None) == (b is None), call  # None: all lay inside
        if a is not None:
            assert_equal(a, b, call)


def training_rule(data: st.DataObject) -> Requant:
    kinds = ["readout", "one_stage", "two_stage", "half_even_f32", "multiplied"]
    return data.draw(rules(np.int16, 1, kinds).filter(lambda r: r.lsh == (0,)))


@every_fast_kernel
@given(st.data())
@settings(max_examples=200)
def test_training_forward_equals_the_reference(kernel: str, data: st.DataObject) -> None:
    how, limits, dtype = data.draw(st.sampled_from(INPUTS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    op = data.draw(st.sampled_from(["linear", "conv2d", "conv_transpose2d"]))
    if op == "linear":
        m, k, n = (data.draw(st.integers(1, 40)) for _ in range(3))
        shape, w_shape, at = (m, k), (n, k), Geometry()
    else:
        c, o = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
        shape, w_shape = (2, c, 5, 6), ((c, o, 2, 3) if "transpose" in op else (o, c, 2, 3))
        at = Geometry((2, 1), (1, 1, 0, 1))
    requant = training_rule(data)
    split = data.draw(splits(requant)) if dtype is np.int16 and data.draw(st.booleans()) else None
    n = w_shape[1] if "transpose" in op else w_shape[0]
    digital = strategies.codes(np.int32, (n,), -2000, 2000)
    call = Call(
        op,
        values(rng, shape, how, limits),
        data.draw(strategies.codes(np.int8, w_shape)),
        data.draw(st.one_of(st.none(), strategies.codes(np.int32, (n,)))),
        at,
        pad_code=int(how[1]) if op == "conv2d" else 0,
        requant=requant,
        split=split,
        bias_digital=data.draw(st.one_of(st.none(), digital)) if split else None,
    )
    compare(kernel, call, how, limits, dtype, data.draw(st.sampled_from([1.0, 3.7])))


@every_fast_kernel
def test_nan_is_found_wherever_it_stands(kernel: str) -> None:
    requant = Requant("half_even", shift1=(8,), rounding1="half_even")
    weight = np.ones((3, 50), np.int8)
    for at in (0, 1, 15, 16, 31, 33, 49):
        x = np.full((1, 50), 0.25, np.float32)
        x[0, at] = np.nan
        call = Call("linear", x, weight, requant=requant)
        for name in ("ref", kernel):
            assert forward(name, call, (255.0, 0.0), (0, 255), np.uint8, 1.0)[0], (name, at)


@every_fast_kernel
def test_ends_of_int32_are_outside_where_the_codes_are(kernel: str) -> None:
    """Output ranges that begin beyond every accumulator, at both ends."""
    for lo, hi in ((1, 5), (-5, -2), (-1, 0), (0, 0)):
        requant = Requant("half_even", shift1=(31,), rounding1="half_even", lo=lo, hi=hi)
        bias = np.array([2**31 - 1, -(2**31), 0, 1, -1], np.int32)
        x = np.zeros((1, 2), np.float32)
        call = Call("linear", x, np.ones((5, 2), np.int8), bias, requant=requant)
        compare(kernel, call, (255.0, 0.0), (0, 255), np.uint8, 1.0)
