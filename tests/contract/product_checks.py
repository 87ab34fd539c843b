# SPDX-License-Identifier: Apache-2.0
"""Checks of the sums of products against the oracle, on corner-weighted codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bittwin.testing import oracle
from contract.implementation import Array, Geometry, Products
from contract.requant_checks import assert_same

CORNER_SHARE = 0.7


def corner_weighted(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    """Codes of which 70 % are from the ends of the range."""
    info = np.iinfo(dtype)
    lo, hi = int(info.min), int(info.max)
    corners = np.array(sorted({lo, lo + 1, max(lo, -1), 0, 1, hi - 1, hi}))
    anywhere = rng.integers(lo, hi, shape, endpoint=True)
    codes = np.where(rng.random(shape) < CORNER_SHARE, rng.choice(corners, shape), anywhere)
    return codes.astype(dtype)


def check_linear(impl: Products) -> None:
    """All lengths round a vector's tail; no intermediate may saturate."""
    rng = np.random.default_rng(20)
    for k in (1, 2, 3, 7, 16, 17, 33, 64, 65):
        x = corner_weighted(rng, (3, k), np.uint8)
        weight = corner_weighted(rng, (4, k), np.int8)
        bias = rng.integers(-(2**20), 2**20, 4).astype(np.int32)
        assert_same(
            impl.accumulate(x, weight, bias, wrap=False),
            oracle.accumulate(x, weight, bias),
            f"linear u8 x s8, k {k}",
        )
        assert_same(
            impl.accumulate(x, weight, None, wrap=False),
            oracle.accumulate(x, weight),
            f"linear u8 x s8 without bias, k {k}",
        )


def check_linear_wide(impl: Products) -> None:
    """int16 on both sides, and sums that wrap modulo 2^32 when that is asked for."""
    rng = np.random.default_rng(21)
    for k in (1, 2, 5, 9):
        x = corner_weighted(rng, (6, k), np.int16)
        weight = corner_weighted(rng, (5, k), np.int16)
        bias = np.array([2**31 - 1, -(2**31), 0, 1, -1], dtype=np.int32)
        assert_same(
            impl.accumulate(x, weight, bias, wrap=True),
            oracle.wrap32(oracle.accumulate(x, weight, bias)),
            f"linear s16 x s16, k {k}",
        )


GEOMETRIES = (
    Geometry(),
    Geometry(stride=(2, 1)),
    Geometry(stride=(1, 3), padding=(1, 2, 0, 0)),
    Geometry(padding=(0, 0, 1, 2)),
    Geometry(dilation=(2, 1), padding=(2, 0, 1, 1)),
    Geometry(stride=(2, 2), dilation=(1, 2), padding=(1, 1, 1, 1)),
)


def check_conv2d(impl: Products) -> None:
    rng = np.random.default_rng(22)
    for at in (*GEOMETRIES, Geometry(groups=2), Geometry(groups=4, padding=(1, 1, 1, 1))):
        x = corner_weighted(rng, (2, 4, 6, 7), np.uint8)
        weight = corner_weighted(rng, (8, 4 // at.groups, 3, 2), np.int8)
        bias = rng.integers(-(2**20), 2**20, 8).astype(np.int32)
        wanted = oracle.conv2d(
            x,
            weight,
            bias,
            stride=at.stride,
            padding=at.padding,
            dilation=at.dilation,
            groups=at.groups,
        )
        assert_same(impl.conv2d(x, weight, bias, at), wanted, f"conv2d {at}")


def check_conv_transpose2d(impl: Products) -> None:
    rng = np.random.default_rng(23)
    for at in (*GEOMETRIES, Geometry(stride=(3, 2), padding=(1, 0, 1, 0), output_padding=(2, 1))):
        x = corner_weighted(rng, (2, 3, 4, 5), np.uint8)
        weight = corner_weighted(rng, (3, 2, 3, 2), np.int8)
        bias = rng.integers(-(2**20), 2**20, 2).astype(np.int32)
        wanted = oracle.conv_transpose2d(
            x,
            weight,
            bias,
            stride=at.stride,
            padding=at.padding,
            dilation=at.dilation,
            output_padding=at.output_padding,
        )
        assert_same(impl.conv_transpose2d(x, weight, bias, at), wanted, f"conv_transpose2d {at}")


def check_bound(impl: Products) -> None:
    rng = np.random.default_rng(24)
    for x_lo, x_hi in ((0, 255), (-128, 127)):
        for k in (1, 2, 30):
            weight = corner_weighted(rng, (5, k), np.int8)
            for bias in (None, rng.integers(-(2**20), 2**20, 5).astype(np.int32)):
                low, high = oracle.accumulator_bound(weight, bias, x_lo, x_hi)
                got = impl.bound(weight, bias, x_lo, x_hi)
                assert_same(got, (low.min(), high.max()), f"bound for {x_lo}..{x_hi}, k {k}")


PRODUCT_CHECKS = (
    check_linear,
    check_linear_wide,
    check_conv2d,
    check_conv_transpose2d,
    check_bound,
)
