# SPDX-License-Identifier: Apache-2.0
"""Activation tables: against a second way to the same formulas, and what they refuse."""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np
import pytest

import bittwin
from bittwin import tables

FUNCTIONS: dict[str, Any] = {
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x > -700 else 0.0,
    "tanh": math.tanh,
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu none": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
}
SIZES = ((256, 5), (256, 7), (256, 3), (256, 0), (1024, 6), (1024, 8), (1024, 5), (1024, 12))


def build(name: str, size: int, q_in: int, q_out: int, **more: Any) -> np.ndarray:
    word, _, kind = name.partition(" ")
    if word == "gelu":
        more["approximate"] = kind or "tanh"
    found: np.ndarray = getattr(tables, word)(size, q_in=q_in, q_out=q_out, **more)
    return found


def index_code(i: int, size: int) -> int:
    return i if i < size // 2 else i - size


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("size", "q_in"), SIZES)
@pytest.mark.parametrize(("q_out", "signed"), [(7, True), (8, False), (4, True)])
def test_entries_are_the_rounded_function(
    name: str, size: int, q_in: int, q_out: int, signed: bool
) -> None:
    table = build(name, size, q_in, q_out, signed=signed)
    assert (table.shape, table.dtype) == ((size,), np.int8 if signed else np.uint8)
    low, high = (-128, 127) if signed else (0, 255)
    for i, entry in enumerate(table.tolist()):
        x = index_code(i, size) / 2**q_in
        value = FUNCTIONS[name](x) * 2**q_out
        near_tie = abs(abs(value - math.floor(value)) - 0.5) < 1e-9 * max(1, abs(value))
        choices = {math.floor(value), math.ceil(value)} if near_tie else {round(value)}
        assert entry in {min(max(v, low), high) for v in choices}, (i, value)


def test_the_halves_of_known_tables() -> None:
    """By hand: sigmoid(0) = 1/2, sigmoid(-x) = 1 - sigmoid(x), tanh odd, and the clip at 127."""
    s = tables.sigmoid(q_in=5).astype(int)
    assert s[0] == 64
    assert [s[i] + s[256 - i] for i in range(1, 128)] == [128] * 127
    t = tables.tanh(q_in=5).astype(int)
    assert t[0] == 0
    assert [t[i] + t[256 - i] for i in range(1, 50)] == [0] * 49
    assert (t[127], t[128]) == (127, -128)
    assert tables.sigmoid(q_in=3).max() == 127


def test_a_1024_entry_table_continues_the_256_entry_one() -> None:
    """Its index counts half codes: one fraction bit more, read at 2 * code."""
    x = np.arange(-128, 128).astype(np.int8)
    for small, large in (
        (tables.sigmoid(q_in=5), tables.sigmoid(1024, q_in=6)),
        (tables.tanh(q_in=7), tables.tanh(1024, q_in=8)),
    ):
        np.testing.assert_array_equal(bittwin.lookup(x, small), bittwin.lookup(x, large))


def test_ties_of_the_double_go_to_even() -> None:
    """gelu of a large x is x itself in double precision; q_out below q_in makes ties of it."""
    table = tables.gelu(1024, q_in=4, q_out=3)
    assert [int(table[i]) for i in (161, 163, 165, 167)] == [80, 82, 82, 84]


def test_the_nearest_double_is_found() -> None:
    """The tables' own doubles against 100 digits, where a libm may be off by one."""
    deep = Context(prec=100, Emin=-(10**6), Emax=10**6)
    values = tables._values(tables._sigmoid, 1024, 6)
    for i in (1, 77, 300, 511, 512, 700, 1023):
        x = Decimal(index_code(i, 1024)) / 64
        with localcontext(deep):
            exact = 1 / (1 + deep.exp(-x))
        assert values[i] == float(exact)
        assert abs(Decimal(values[i]) - exact) <= Decimal(math.ulp(values[i])) / 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tables.sigmoid(255, q_in=5), "size: found 255"),
        (lambda: tables.sigmoid(512, q_in=5), "size: found 512, wanted 256 or 1024"),
        (lambda: tables.tanh(q_in=-1), "q_in: found -1"),
        (lambda: tables.tanh(q_in=5.0), "q_in: found 5.0"),  # type: ignore[arg-type]
        (lambda: tables.tanh(q_in=5, q_out=16), "q_out: found 16"),
        (lambda: tables.gelu(q_in=5, q_out=5, approximate="erf"), "approximate: found 'erf'"),
        (lambda: tables.sigmoid(q_in=5, signed=1), "signed: found 1"),  # type: ignore[arg-type]
    ],
)
def test_impossible_tables_are_refused(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
