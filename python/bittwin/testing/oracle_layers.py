# SPDX-License-Identifier: Apache-2.0
"""Big-integer oracle: linear rounds, the split of wide inputs, accumulator bounds.

Plain Python integers throughout: nothing here can overflow, so `accumulate` is the truth that an
INT32 accumulator is measured against.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import mul
from typing import Any, TypeAlias

import numpy as np

from bittwin.testing._elementwise import Integers, apply, pack, to_objects
from bittwin.testing.oracle_requant import (
    half_even,
    half_even_f32,
    one_stage,
    rounded_code,
)
from bittwin.testing.oracle_rounding import code_range, saturate

Rule: TypeAlias = Callable[..., Any]
"""A requantiser: called as `rule(acc)` or `rule(acc, high=high)`.

Make one with `functools.partial`, such as `partial(readout, gain=1024)`."""


def dot(left: list[int], right: list[int]) -> int:
    """Sum of products of two lists of Python integers."""
    return sum(map(mul, left, right))


def bias_list(bias: Integers | None, columns: int) -> list[int]:
    """Return the bias of every output column as Python integers (zeros for None).

    Raises:
        ValueError: not one bias per column.
    """
    if bias is None:
        return [0] * columns
    array = to_objects(bias, "bias")
    if array.shape != (columns,):
        raise ValueError(f"bias: found shape {array.shape}, wanted {(columns,)}")
    return list(array.tolist())


def accumulate(x: Integers, weight: Integers, bias: Integers | None = None) -> Any:
    """Compute `x @ weight.T + bias` exactly.

    Args:
        x: codes [..., in].
        weight: weight codes [out, in].
        bias: [out] in accumulator units, or None.

    Returns:
        int64 array [..., out] (object, should a sum not fit int64); not limited to int32: apply
        `wrap32` for the chip model's accumulator.

    Raises:
        ValueError: the shapes do not belong together.

    >>> accumulate([[255, 1]], [[127, -128], [1, 1]], [128, 0])
    array([[32385,   256]])
    """
    inputs, weights = to_objects(x, "x"), to_objects(weight, "weight")
    if weights.ndim != 2:
        raise ValueError(f"weight: found {weights.ndim} dimensions, wanted [out, in]")
    columns, k = weights.shape
    if inputs.ndim < 1 or inputs.shape[-1] != k:
        raise ValueError(f"x: found shape {inputs.shape}, wanted [..., {k}] as the weight has")
    offsets = bias_list(bias, columns)
    rows: list[list[int]] = inputs.reshape(-1, k).tolist() if inputs.size else []
    if not rows:  # no frames, or an inner dimension of zero: the bias alone
        frames = int(np.prod(inputs.shape[:-1]))
        return pack(offsets * frames, (*inputs.shape[:-1], columns))
    matrix: list[list[int]] = weights.tolist()
    result = [
        dot(row, line) + offset
        for row in rows
        for line, offset in zip(matrix, offsets, strict=True)
    ]
    return pack(result, (*inputs.shape[:-1], columns))


def linear(
    x: Integers,
    weight: Integers,
    bias: Integers | None,
    rule: Rule,
    *,
    high: Integers | None = None,
) -> Any:
    """Compute one array round: accumulate, requantise.

    Args:
        x: codes [..., in].
        weight: weight codes [out, in].
        bias: [out] in accumulator units, or None.
        rule: the requantiser.
        high: digital part in output units, broadcast against [..., out], or None.

    Returns:
        int64 array [..., out] of output codes.

    >>> from functools import partial
    >>> from bittwin.testing.oracle import readout
    >>> linear([[255, 1]], [[127, -128]], None, partial(readout, gain=1024))
    array([[32]])
    """
    acc = accumulate(x, weight, bias)
    return rule(acc) if high is None else rule(acc, high=high)


def split_input(x: Integers) -> tuple[Any, Any]:
    """Split codes into the low 8 bits and the bits above, by sign and magnitude.

    Returns:
        (x_lo, x_hi) with `x == x_lo + 256 * x_hi`; both carry the sign of x.

    >>> split_input(-300), split_input(1023)
    ((-44, -1), (255, 3))
    """

    def sign(v: int) -> int:
        return -1 if v < 0 else 1

    low = apply(lambda v: sign(v) * (abs(v) % 256), x=x)
    high = apply(lambda v: sign(v) * (abs(v) // 256), x=x)
    return low, high


def _divide_f32(value: int, divisor: int) -> int:
    return round(float(np.float32(value) / np.float32(divisor)))


def split_linear(
    x: Integers,
    weight: Integers,
    bias: Integers | None,
    *,
    rule: str = "readout",
    gain: int = 0,
    scale_product: float = 0.0,
    codes_per_unit: float = 0.0,
    bits: int = 8,
    bias_digital: Integers | None = None,
    low_bits: int | str | None = "default",
    high_rounding: str = "half_even",
) -> Any:
    """Compute a layer with inputs wider than 8 bits, in an analog low and a digital high round.

    The low round is `sum(x_lo * w) + bias`, requantised; the high round is
    `256 * sum(x_hi * w) + bias_digital`, divided by the gain and rounded. Their sum saturates.

    Args:
        x: codes [..., in], any width.
        weight: weight codes [out, in].
        bias: array part of the bias [out], accumulator units, or None.
        rule: "readout", "readout_wrap16", "half_even", "half_even_f32", or a rounding's name.
        gain: accumulator units per output code (all rules but half_even_f32).
        scale_product: half_even_f32 only: accumulator units per real unit.
        codes_per_unit: half_even_f32 only: output codes per real unit.
        bits: width of the output.
        bias_digital: digital part of the bias [out], accumulator units, or None.
        low_bits: width that the low code saturates to before the sum, None for no limit. Default:
            none for the readout (the chip's adder), the output width for the half-even rules.
        high_rounding: rounding of the high part.

    Returns:
        int64 array [..., out] of output codes.

    >>> x, w = [[256 + 1]], [[256]]  # low 256, high 65536: 0.5 rounds to 0, 128 fits 9 bits
    >>> split_linear(x, w, None, rule="half_even", gain=512, bits=9)
    array([[128]])
    """
    lo, hi = code_range(bits)
    x_lo, x_hi = split_input(np.asarray(x))
    low_acc = accumulate(x_lo, weight, bias)
    zeros = None if bias_digital is None else [0] * len(bias_list(bias_digital, len(weight)))
    high_acc = apply(lambda v: 256 * v, high=accumulate(x_hi, weight, zeros))
    if bias_digital is not None:
        high_acc = apply(lambda v, d: v + d, high=high_acc, bias_digital=bias_digital)

    wide = 62  # wide enough that nothing saturates before it is meant to
    if rule in ("readout", "readout_wrap16"):
        low = rounded_code(low_acc, gain, "saturate" if rule == "readout" else "wrap16")
    elif rule == "half_even":
        low = half_even(low_acc, gain, wide)
    elif rule == "half_even_f32":
        low = half_even_f32(low_acc, scale_product, codes_per_unit, wide)
    else:
        low = one_stage(low_acc, gain, rule, wide)

    if low_bits == "default":
        low_bits = None if rule.startswith("readout") else bits
    if low_bits is not None:
        low = saturate(low, *code_range(int(low_bits)))

    if rule == "half_even_f32":
        divisor = round(scale_product / codes_per_unit)
        if divisor == 0:
            raise ValueError("scale_product / codes_per_unit: rounds to 0, wanted at least 1")
        high = apply(lambda v: _divide_f32(v, divisor), high=high_acc)
    else:
        high = one_stage(high_acc, gain, high_rounding, wide)
    return apply(lambda a, b: min(max(a + b, lo), hi), low=low, high=high)


def accumulator_bound(
    weight: Integers, bias: Integers | None, x_lo: int, x_hi: int
) -> tuple[Any, Any]:
    """Bound every column's accumulator over all inputs with codes in x_lo..x_hi.

    Args:
        weight: weight codes [out, ...]; all axes after the first are summed over.
        bias: [out] in accumulator units, or None.
        x_lo: lowest input code.
        x_hi: highest input code.

    Returns:
        (low, high): int64 arrays [out]; both ends are reached by some input.

    >>> accumulator_bound([[127, -128]], None, 0, 255)
    (array([-32640]), array([32385]))
    """
    weights = to_objects(weight, "weight")
    columns = weights.shape[0]
    lines: list[list[int]] = weights.reshape(columns, -1).tolist() if weights.size else []
    if not lines:
        lines = [[] for _ in range(columns)]
    offsets = bias_list(bias, columns)
    ends = [
        (
            offset + sum(min(w * x_lo, w * x_hi) for w in line),
            offset + sum(max(w * x_lo, w * x_hi) for w in line),
        )
        for line, offset in zip(lines, offsets, strict=True)
    ]
    low, high = [e[0] for e in ends], [e[1] for e in ends]
    return pack(low, (columns,)), pack(high, (columns,))
