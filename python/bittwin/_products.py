# SPDX-License-Identifier: Apache-2.0
"""What every product function does: one call of the binding, or the words for why not.

The binding's ``*_or_none`` does the whole call when every argument is plain: exact numpy arrays, dense, of
the wanted shapes and dtypes, codes in range, an accumulator that is proven to fit. Otherwise it answers
None, and the second half of each function here checks one argument after the other, raises for the first
that is wrong, or makes the dense copy that was missing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import (
    bias_array,
    choice,
    dense_array,
    in_range,
    input_codes,
    integer,
    output_array,
    plain_bits,
    proves,
)
from bittwin._conv_settings import Settings, check_conv2d, check_conv_transpose2d
from bittwin.bounds import prove_fits
from bittwin.packed import CoreWeight, PackedWeight, weight_argument
from bittwin.requant import Requant

INT32 = np.dtype(np.int32)
LAYOUTS = ("NCHW", "NHWC")
_FLOAT32_EXACT = 1 << 24


class Finish(NamedTuple):
    """What becomes of the accumulators: the rule, a digital part, and what a split layer adds."""

    requant: Any
    high: Any = None
    split: _core.SplitRule | None = None
    bias_digital: Any = None


def linear_product(
    x: Any, weight: Any, bias: Any, finish: Finish | None, out: Any, overflow: Any, x_bits: Any
) -> NDArray[Any]:
    """A linear layer: accumulators where `finish` is None, else codes."""
    prove = proves(overflow)
    core = weight.core if type(weight) is PackedWeight else weight
    bits = plain_bits(x_bits)
    if finish is None:
        done = _core.linear_or_none(x, core, bias, None, None, None, None, bits, prove, INT32, out)
    elif type(finish.requant) is Requant:
        requant, high, split, digital = finish
        done = _core.linear_or_none(
            x, core, bias, requant.core, high, split, digital, bits, prove, requant.dtype, out
        )
    else:
        done = None
    if done is not None:
        return done
    codes, low, top = _codes(x, x_bits, finish)
    w, sizes = weight_argument(weight, 2)
    if codes.ndim == 0 or codes.shape[-1] != sizes[1]:
        raise ValueError(
            f"x: found shape {codes.shape}, wanted [..., {sizes[1]}] to go with weight {sizes}"
        )
    b = bias_array(bias, sizes[0])
    if prove:
        _prove("linear", w, b, low, top, finish, x_bits, 0)
    shape = (*codes.shape[:-1], sizes[0])
    requant, split, h, digital = _finish(finish, shape, -1)
    result = _output(out, shape, finish, x, bias, weight)
    _core.linear(codes, w, b, None if requant is None else requant.core, h, split, digital, result)
    return result


def conv_product(
    transposed: bool,
    x: Any,
    weight: Any,
    bias: Any,
    settings: Settings,
    finish: Finish | None,
    *,
    pad_value: Any,
    out: Any,
    layout: Any,
    overflow: Any,
    x_bits: Any,
) -> NDArray[Any]:
    """A convolution, transposed or not: accumulators where `finish` is None, else codes."""
    prove = proves(overflow)
    last = choice("layout", layout, LAYOUTS) == "NHWC"
    core = weight.core if type(weight) is PackedWeight else weight
    bits = plain_bits(x_bits)
    if type(pad_value) is not int or not -65536 < pad_value < 65536:
        pad_value = integer("pad_value", pad_value, *_codes(x, x_bits, finish, 4)[1:])
    done = None
    geometry = settings.core
    if finish is None:
        done = _core.conv_or_none(
            transposed, x, core, bias, geometry, last, pad_value, None, None, None, None, bits,
            prove, INT32, out,
        )  # fmt: skip
    elif type(finish.requant) is Requant:
        requant, high, split, digital = finish
        done = _core.conv_or_none(
            transposed, x, core, bias, geometry, last, pad_value, requant.core, high, split,
            digital, bits, prove, requant.dtype, out,
        )  # fmt: skip
    if done is not None:
        return done
    codes, low, top = _codes(x, x_bits, finish, 4)
    w, sizes = weight_argument(weight, 4)
    n, height, width, c = (
        codes.shape if last else (*codes.shape[:1], *codes.shape[2:], codes.shape[1])
    )
    seen = (n, c, height, width)
    (check_conv_transpose2d if transposed else check_conv2d)(seen, sizes, settings)
    b = bias_array(bias, sizes[1 if transposed else 0])
    integer("pad_value", pad_value, low, top)
    if prove:
        name = "conv_transpose2d" if transposed else "conv2d"
        _prove(name, w, b, low, top, finish, x_bits, int(transposed))
    n, o, height, width = _core.conv_output_shape(transposed, seen, sizes, geometry)
    shape = (n, height, width, o) if last else (n, o, height, width)
    requant, split, h, digital = _finish(finish, shape, 3 if last else 1)
    rule = None if requant is None else requant.core
    result = _output(out, shape, finish, x, bias, weight)
    _core.conv(
        transposed, codes, w, b, geometry, last, pad_value, rule, h, split, digital,
        result,
    )  # fmt: skip
    return result


def _codes(
    x: Any, x_bits: Any, finish: Finish | None, ndim: int | None = None
) -> tuple[NDArray[Any], int, int]:
    if finish is None or finish.split is None:
        return input_codes(x, x_bits, ndim)
    top = (1 << integer("x_bits", x_bits, 9, 12)) - 1
    codes = dense_array("x", x, ("uint16", "int16"), ndim)
    low = 0 if codes.dtype == np.uint16 else -top
    in_range("x", codes, low, top)
    return codes, low, top


def _prove(
    layer: str,
    weight: CoreWeight,
    bias: NDArray[np.int32] | None,
    low: int,
    top: int,
    finish: Finish | None,
    x_bits: Any,
    axis: int,
) -> None:
    if finish is None or finish.split is None:
        return prove_fits(layer, weight, bias, low, top, axis)
    above = (1 << (x_bits - 8)) - 1  # codes of the high round
    prove_fits(layer, weight, bias, -255 if low else 0, 255, axis)
    prove_fits(layer, weight, None, -above if low else 0, above, axis)


def _finish(
    finish: Finish | None, shape: tuple[int, ...], axis: int
) -> tuple[Requant | None, _core.SplitRule | None, NDArray[Any] | None, NDArray[Any] | None]:
    if finish is None:
        return None, None, None, None
    requant = rule_argument(finish.requant)
    channel_layout(shape, requant.channels, axis)
    digital = bias_array(finish.bias_digital, shape[axis], "bias_digital")
    return requant, finish.split, high_array(finish.high, shape), digital


def _output(out: Any, shape: tuple[int, ...], finish: Finish | None, *inputs: Any) -> NDArray[Any]:
    if finish is None:
        return output_array(out, shape, INT32, *inputs)
    rule, more = finish.requant, (finish.high, finish.bias_digital)
    return output_array(out, shape, rule.dtype, *inputs, *more, as_number=float32_holds(rule))


def float32_holds(requant: Requant) -> bool:
    """Whether every code of a rule is a float32 number."""
    return requant.lo >= -_FLOAT32_EXACT and requant.hi <= _FLOAT32_EXACT


def rule_argument(requant: Any) -> Requant:
    """Refuse what is no `Requant`."""
    if not isinstance(requant, Requant):
        raise TypeError(
            f"requant: found {type(requant).__name__}, wanted a bittwin.requant.Requant"
        )
    return requant


def high_array(high: Any, shape: tuple[int, ...]) -> NDArray[np.int32] | None:
    """Check a digital part; return it as int32."""
    if high is None:
        return None
    h: NDArray[np.int32] = dense_array("high", high, ("int8", "int16", "int32")).astype(
        np.int32, copy=False
    )
    if h.shape != shape:
        raise ValueError(f"high: found shape {h.shape}, wanted {shape}")
    return h


def channel_layout(shape: tuple[int, ...], channels: int, axis: int) -> tuple[int, int, int]:
    """Shape as [outer, channels, inner] around the axis of per-channel rules."""
    if channels == 1:
        return 1, 1, math.prod(shape)
    if not shape:
        raise ValueError("acc: found a single number, a per-channel requantiser wants an axis")
    axis = integer("axis", axis, -len(shape), len(shape) - 1) % len(shape)
    if shape[axis] != channels:
        raise ValueError(
            f"acc: found {shape[axis]} channels on axis {axis}, the requantiser has {channels}"
        )
    return math.prod(shape[:axis]), channels, math.prod(shape[axis + 1 :])
