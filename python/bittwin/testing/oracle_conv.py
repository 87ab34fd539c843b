# SPDX-License-Identifier: Apache-2.0
"""Big-integer oracle: convolution and transposed convolution, by their definitions.

Both return accumulators; requantise them with a rule from `oracle_requant` (parameters per channel
then have the shape [O, 1, 1]).
"""

from __future__ import annotations

from itertools import product
from typing import Any, TypeAlias

from bittwin.testing._elementwise import Integers, pack, to_objects
from bittwin.testing.oracle_layers import bias_list, dot

Pair: TypeAlias = tuple[int, int]
Sides: TypeAlias = tuple[int, int, int, int]


def _four_axes(value: Integers, name: str, axes: str) -> Any:
    array = to_objects(value, name)
    if array.ndim != 4:
        raise ValueError(f"{name}: found {array.ndim} dimensions, wanted {axes}")
    return array


def conv2d(
    x: Integers,
    weight: Integers,
    bias: Integers | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Sides = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    pad_value: int = 0,
) -> Any:
    """Compute the exact accumulators of a 2-D convolution (cross-correlation, as in torch).

    Args:
        x: codes [N, C, H, W].
        weight: weight codes [O, C/groups, kh, kw].
        bias: [O] in accumulator units, or None.
        stride: (vertical, horizontal).
        padding: rows and columns added: (top, left, bottom, right).
        dilation: (vertical, horizontal) distance of the kernel's taps.
        groups: number of independent groups of channels.
        pad_value: the code that the added rows and columns hold.

    Returns:
        int64 array [N, O, H', W'] with
        `H' = (H + top + bottom - dilation * (kh - 1) - 1) // stride + 1`.

    Raises:
        ValueError: shapes that do not belong together, or a kernel larger than the padded input.

    >>> conv2d([[[[1, 2], [3, 4]]]], [[[[1, 10]]]], padding=(0, 1, 0, 0))
    array([[[[10, 21],
             [30, 43]]]])
    """
    inputs = _four_axes(x, "x", "[N, C, H, W]")
    weights = _four_axes(weight, "weight", "[O, C/groups, kh, kw]")
    n, c, h, w = inputs.shape
    o, c_group, kh, kw = weights.shape
    if c_group * groups != c or o % groups:
        raise ValueError(f"weight: found {weights.shape} for {c} channels and {groups} groups")
    top, left, bottom, right = padding
    out_h = (h + top + bottom - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    out_w = (w + left + right - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    if out_h < 1 or out_w < 1:
        raise ValueError(f"x: found {h} x {w} pixels, fewer than the kernel needs with its padding")
    offsets = bias_list(bias, o)
    kernels: list[list[int]] = weights.reshape(o, -1).tolist() if weights.size else [[]] * o
    per_group = o // groups

    def pixel(image: int, channel: int, row: int, column: int) -> int:
        if 0 <= row < h and 0 <= column < w:
            return int(inputs[image, channel, row, column])
        return pad_value

    result: dict[tuple[int, int, int, int], int] = {}
    for image, group, row, column in product(range(n), range(groups), range(out_h), range(out_w)):
        patch = [
            pixel(
                image,
                group * c_group + channel,
                row * stride[0] - top + i * dilation[0],
                column * stride[1] - left + j * dilation[1],
            )
            for channel, i, j in product(range(c_group), range(kh), range(kw))
        ]
        for k in range(group * per_group, (group + 1) * per_group):
            result[image, k, row, column] = dot(patch, kernels[k]) + offsets[k]
    return pack([result[key] for key in sorted(result)], (n, o, out_h, out_w))


def conv_transpose2d(
    x: Integers,
    weight: Integers,
    bias: Integers | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Sides = (0, 0, 0, 0),
    output_padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Any:
    """Compute the exact accumulators of a 2-D transposed convolution.

    Every input pixel adds its kernel, scaled, to a grid of spacing `stride`; `padding` then cuts
    rows and columns off the four sides, and `output_padding` adds some at the bottom and right.

    Args:
        x: codes [N, C, H, W].
        weight: weight codes [C, O, kh, kw].
        bias: [O] in accumulator units, or None.
        stride: (vertical, horizontal).
        padding: rows and columns cut off: (top, left, bottom, right).
        output_padding: (rows at the bottom, columns at the right).
        dilation: (vertical, horizontal) distance of the kernel's taps.

    Returns:
        int64 array [N, O, H', W'] with
        `H' = (H - 1) * stride - top - bottom + dilation * (kh - 1) + 1 + output_padding`.

    Raises:
        ValueError: shapes that do not belong together, or a padding beyond the output's size.

    >>> conv_transpose2d([[[[1, 2]]]], [[[[1, 10]]]], [5], stride=(1, 2), output_padding=(0, 1))
    array([[[[ 6, 15,  7, 25,  5]]]])
    """
    inputs = _four_axes(x, "x", "[N, C, H, W]")
    weights = _four_axes(weight, "weight", "[C, O, kh, kw]")
    n, c, h, w = inputs.shape
    c_weight, o, kh, kw = weights.shape
    if c_weight != c:
        raise ValueError(f"weight: found {c_weight} input channels, wanted {c} as x has")
    top, left, bottom, right = padding
    out_h = (h - 1) * stride[0] - top - bottom + dilation[0] * (kh - 1) + 1 + output_padding[0]
    out_w = (w - 1) * stride[1] - left - right + dilation[1] * (kw - 1) + 1 + output_padding[1]
    if out_h < 0 or out_w < 0:
        raise ValueError(f"x: found {h} x {w} pixels, less than the padding cuts off")
    offsets = bias_list(bias, o)
    size = out_h * out_w
    planes = [[offsets[k]] * size for _ in range(n) for k in range(o)]
    for image, channel, row, column in product(range(n), range(c), range(h), range(w)):
        code = int(inputs[image, channel, row, column])
        for k, i, j in product(range(o), range(kh), range(kw)):
            y = row * stride[0] - top + i * dilation[0]
            z = column * stride[1] - left + j * dilation[1]
            if 0 <= y < out_h and 0 <= z < out_w:
                planes[image * o + k][y * out_w + z] += code * int(weights[channel, k, i, j])
    flat = [value for plane in planes for value in plane]
    return pack(flat, (n, o, out_h, out_w))
