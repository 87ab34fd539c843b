# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for whole calls: inputs, weights, biases, geometry and memory layouts.

Every case fits the INT32 accumulator by construction, and some reach its very ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.testing._hypothesis import DrawFn, st
from bittwin.testing.strategies_arrays import codes, layouts, lengths, shapes

_INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class LinearCase:
    """Arguments of one linear call.

    Attributes:
        x: [..., in] uint8, int8, uint16 or int16.
        weight: [out, in] int8 or int16.
        bias: [out] int32, or None.
        x_bits: width of the input codes.
    """

    x: NDArray[Any]
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    x_bits: int


@dataclass(frozen=True)
class ConvCase:
    """Arguments of one convolution call; `geometry` holds its keyword arguments.

    Attributes:
        x: [N, C, H, W] uint8, int8, uint16 or int16.
        weight: [O, C/groups, kh, kw], transposed [C, O, kh, kw]; int8 or int16.
        bias: [O] int32, or None.
        x_bits: width of the input codes.
        geometry: stride, padding, dilation, and groups and pad_value, or output_padding.
    """

    x: NDArray[Any]
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    x_bits: int
    geometry: dict[str, Any] = field(hash=False)


@st.composite
def input_types(draw: DrawFn) -> tuple[type[np.integer[Any]], int, int, int]:
    """Draw an input dtype with its width and range: (dtype, bits, lowest, highest)."""
    if draw(st.booleans()):
        return draw(st.sampled_from(((np.uint8, 8, 0, 255), (np.int8, 8, -128, 127))))
    bits = draw(st.sampled_from((9, 10, 11, 12, 12, 16)))
    largest = 2**bits - 1
    if draw(st.booleans()):
        return np.uint16, bits, 0, largest
    return np.int16, bits, max(-largest, -(2**15)), min(largest, 2**15 - 1)


@st.composite
def _weight_and_bias(
    draw: DrawFn, shape: tuple[int, ...], products: int, x_max: int, columns: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Draw weights and a bias that together cannot leave int32, and may reach its ends."""
    dtype = draw(st.sampled_from((np.int8, np.int8, np.int16)))
    limit = draw(st.sampled_from((275, 2**15))) if dtype == np.int16 else 128
    room = _INT32_MAX // max(1, products * x_max)
    lo, hi = -min(limit, room), min(limit - 1, room)
    weight = draw(codes(dtype, shape, lo, hi))
    if not draw(st.booleans()):
        return weight, None
    left = _INT32_MAX - products * x_max * -lo
    largest = draw(st.sampled_from((left, min(left, 2**18))))
    return weight, draw(codes(np.int32, (columns,), -largest, largest))


@st.composite
def linear_cases(draw: DrawFn, longest: int = 70) -> LinearCase:
    """Draw the arguments of a linear call, in any memory layout, sometimes of size zero.

    Args:
        draw: given by hypothesis.
        longest: largest number of inputs per output.
    """
    dtype, bits, lo, hi = draw(input_types())
    k, columns = draw(lengths(longest, zero=True)), draw(lengths(9, zero=True))
    x = draw(codes(dtype, (*draw(shapes(5)), k), lo, hi))
    weight, bias = draw(_weight_and_bias((columns, k), k, max(hi, -lo), columns))
    if bias is not None:
        bias = draw(layouts(bias))
    return LinearCase(draw(layouts(x)), draw(layouts(weight)), bias, bits)


@st.composite
def wide_cases(draw: DrawFn, longest: int = 20) -> LinearCase:
    """Draw the arguments of a split call: 9 to 12-bit inputs in two-byte arrays."""
    bits = draw(st.integers(9, 12))
    dtype = draw(st.sampled_from((np.uint16, np.int16)))
    lo = 0 if dtype == np.uint16 else 1 - 2**bits
    k, columns = draw(lengths(longest)), draw(lengths(6))
    x = draw(codes(dtype, (*draw(shapes(4)), k), lo, 2**bits - 1))
    weight, bias = draw(_weight_and_bias((columns, k), k, 255, columns))
    return LinearCase(draw(layouts(x)), draw(layouts(weight)), bias, bits)


_SMALL = st.integers(1, 3)


@st.composite
def conv_cases(draw: DrawFn) -> ConvCase:
    """Draw the arguments of a conv2d call: all of its geometry, any memory layout, no frames too."""
    dtype, bits, lo, hi = draw(input_types())
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    c, o = groups * draw(st.integers(1, 3)), groups * draw(_SMALL)
    kernel, dilation = (draw(_SMALL), draw(_SMALL)), (draw(_SMALL), draw(st.integers(1, 2)))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(4))
    size = [
        max(
            1, draw(st.integers(1, 4)) + dilation[i] * (kernel[i] - 1) - padding[i] - padding[i + 2]
        )
        for i in (0, 1)
    ]
    x = draw(codes(dtype, (draw(st.integers(0, 2)), c, *size), lo, hi))
    products = c // groups * kernel[0] * kernel[1]
    shape = (o, c // groups, *kernel)
    weight, bias = draw(_weight_and_bias(shape, products, max(hi, -lo), o))
    geometry = {
        "stride": (draw(_SMALL), draw(_SMALL)),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "pad_value": draw(st.sampled_from((0, 0, 1, lo, hi))),
    }
    return ConvCase(draw(layouts(x)), draw(layouts(weight)), bias, bits, geometry)


@st.composite
def conv_transpose_cases(draw: DrawFn) -> ConvCase:
    """Draw the arguments of a conv_transpose2d call: all of its geometry, any memory layout."""
    dtype, bits, lo, hi = draw(input_types())
    c, o = draw(_SMALL), draw(_SMALL)
    kernel, dilation = (draw(_SMALL), draw(_SMALL)), (draw(_SMALL), draw(st.integers(1, 2)))
    stride, size = (draw(_SMALL), draw(_SMALL)), (draw(st.integers(1, 4)), draw(_SMALL))
    extra = (draw(st.integers(0, 2)), draw(st.integers(0, 2)))
    padding = [0, 0, 0, 0]
    for i in (0, 1):  # cut off no more than there is
        spare = (size[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + extra[i]
        padding[i] = draw(st.integers(0, min(2, spare)))
        padding[i + 2] = draw(st.integers(0, min(2, spare - padding[i])))
    x = draw(codes(dtype, (draw(st.integers(0, 2)), c, *size), lo, hi))
    products = c * kernel[0] * kernel[1]
    weight, bias = draw(_weight_and_bias((c, o, *kernel), products, max(hi, -lo), o))
    geometry = {
        "stride": stride,
        "padding": tuple(padding),
        "output_padding": extra,
        "dilation": dilation,
    }
    return ConvCase(draw(layouts(x)), draw(layouts(weight)), bias, bits, geometry)
