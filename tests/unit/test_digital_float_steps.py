# SPDX-License-Identifier: Apache-2.0
"""Single float32 steps that codes rarely show: exp, sums in order, the order of a product and a quotient."""

from __future__ import annotations

import math
from decimal import Context, Decimal

import numpy as np
import pytest

from bittwin import digital
from bittwin.digital import _exp, normalize

EXACT = Context(prec=80, Emin=-(10**6), Emax=10**6)


def nearest_float32(exact: Decimal) -> np.float32:
    """By comparing distances, not by any rounding of this machine."""
    guess = np.float32(float(exact))
    around = [np.nextafter(guess, np.float32(side)) for side in (0, np.inf)]
    return min((guess, *around), key=lambda v: abs(Decimal(float(v)) - exact))


@pytest.mark.parametrize("margin", [_exp._MARGIN, 2.0**-26], ids=["rarely", "often"])
def test_exp_is_the_nearest_float32(margin: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the exact way is taken (2^-26 still brackets two neighbours)."""
    monkeypatch.setattr(_exp, "_MARGIN", margin)
    rng = np.random.default_rng(2)
    x = np.concatenate([-rng.exponential(8, 400), rng.normal(size=100), [0, -80, -88, 1, 80]])
    x = x.astype(np.float32).reshape(5, 101)
    wanted = [nearest_float32(Decimal(float(v)).exp(EXACT)) for v in x.ravel()]
    got = _exp.exp_float32(x)
    assert got.dtype == np.float32
    assert got.shape == x.shape
    np.testing.assert_array_equal(got.ravel(), np.array(wanted, np.float32))


def test_exp_far_out() -> None:
    x = np.array([-np.inf, -200, -1e30, 200, np.inf], np.float32)
    np.testing.assert_array_equal(_exp.exp_float32(x), np.array([0, 0, 0, np.inf, np.inf]))
    tiny = _exp.exp_float32(np.array([-100.0], np.float32))  # below float32's normal numbers
    assert tiny[0] == nearest_float32(Decimal(-100).exp(EXACT)) > 0


def test_sums_run_first_to_last_in_float32() -> None:
    values = np.array([[2.0**24, 1, 1], [1, 1, 2.0**24]], np.float32)
    assert normalize._in_order(values, 1).tolist() == [[2.0**24], [2.0**24 + 2]]
    assert normalize._in_order(values.T.copy(), 0).tolist() == [[2.0**24, 2.0**24 + 2]]


@pytest.mark.parametrize(
    ("k", "q", "alpha", "code"), [(1, 41, 20.5, 1), (1, 41, 143.5, 4), (1, 41, 266.5, 7)]
)
def test_group_norm_multiplies_before_it_divides(k: int, q: int, alpha: float, code: int) -> None:
    """alpha * k / q is a tie; alpha * (k / q) falls short of it."""
    x = np.array([[-k, k]], np.int8)
    both = np.full(2, alpha, np.float32)
    y = digital.group_norm(x, both, 0 * both, 1, epsilon=float(q * q - k * k))
    assert y.tolist() == [[-code, code]]
    assert np.float32(alpha) * (np.float32(k) / np.float32(q)) < code - 0.5
    assert math.sqrt(k * k + (q * q - k * k)) == q
