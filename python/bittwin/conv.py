# SPDX-License-Identifier: Apache-2.0
"""Convolutions: NCHW input, exact INT32 accumulators, the same requantisers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._conv_settings import conv_settings
from bittwin._products import Finish, conv_product
from bittwin.packed import Weight
from bittwin.requant import Requant


def conv2d_accumulate(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    pad_value: int = 0,
    out: NDArray[np.int32] | None = None,
    layout: str = "NCHW",
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> NDArray[np.int32]:
    """The INT32 accumulators of `conv2d`, [N, O, out_h, out_w], or [N, out_h, out_w, O] with NHWC.

    >>> import numpy as np, bittwin
    >>> x = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2)
    >>> bittwin.conv2d_accumulate(x, np.ones((1, 1, 2, 2), np.int8), padding=(1, 1, 0, 0))
    array([[[[0, 1],
             [2, 6]]]], dtype=int32)
    """
    settings = conv_settings(stride, padding, dilation, 0, groups)
    return conv_product(
        False, x, weight, bias, settings, None,
        pad_value=pad_value, out=out, layout=layout, overflow=overflow, x_bits=x_bits,
    )  # fmt: skip


def conv2d(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None,
    requant: Requant,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    pad_value: int = 0,
    high: NDArray[Any] | None = None,
    out: NDArray[Any] | None = None,
    layout: str = "NCHW",
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> NDArray[Any]:
    """Two-dimensional convolution (cross-correlation, as torch), then requantise.

    Args:
        x: [N, C, H, W] uint8, int8, uint16 or int16 input codes.
        weight: [O, C / groups, kh, kw] int8 or int16, or what `pack_weight` made of it.
        bias: [O] int32, or None.
        requant: the rule; per-channel rules count output channels.
        stride: one integer or (height, width).
        padding: one integer, (height, width) or (top, left, bottom, right), in codes.
        dilation: one integer or (height, width).
        groups: number of channel groups.
        pad_value: the code that padding holds (an asymmetric input's zero point).
        high: [N, O, out_h, out_w] digital part in output units, added before the saturation.
        out: [N, O, out_h, out_w] to write into: C-contiguous, overlapping no input; requant.dtype, or
            float32, which then holds the codes as numbers.
        layout: ``NCHW``, or ``NHWC``: x, high, out and the result have their channels last (the weight
            stays as it is).
        overflow: ``refuse`` (proven from the weights) or ``wrap32``.
        x_bits: width of the input codes, see `bittwin.accumulate`; there is no split here, one round.

    Returns:
        [N, O, out_h, out_w] codes of requant.dtype,
        out_h = (H + top + bottom - (kh - 1) * dilation - 1) // stride + 1.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes or a geometry that do not match, a code outside its range, an accumulator that
            may overflow.

    Source: docs/spec/conv.md; equal on 250 frames of five layers of a DCCRN denoiser.

    >>> import numpy as np, bittwin
    >>> x = np.full((1, 1, 3, 3), 255, np.uint8)
    >>> bittwin.conv2d(x, np.full((1, 1, 3, 3), 10, np.int8), None, bittwin.readout(1024), padding=1)
    array([[[[10, 15, 10],
             [15, 22, 15],
             [10, 15, 10]]]], dtype=int8)
    """
    settings = conv_settings(stride, padding, dilation, 0, groups)
    return conv_product(
        False, x, weight, bias, settings, Finish(requant, high),
        pad_value=pad_value, out=out, layout=layout, overflow=overflow, x_bits=x_bits,
    )  # fmt: skip


def conv_transpose2d_accumulate(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] = 0,
    output_padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    out: NDArray[np.int32] | None = None,
    layout: str = "NCHW",
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> NDArray[np.int32]:
    """The INT32 accumulators of `conv_transpose2d`, [N, O, out_h, out_w] or [N, out_h, out_w, O].

    The proof against overflow takes the whole kernel for every output, which is more than an output of a
    strided layer ever sums.

    >>> import numpy as np, bittwin
    >>> x = np.array([[[[1, 2]]]], np.uint8)
    >>> bittwin.conv_transpose2d_accumulate(x, np.array([[[[1, 10]]]], np.int8), stride=(1, 2))
    array([[[[ 1, 10,  2, 20]]]], dtype=int32)
    """
    settings = conv_settings(stride, padding, dilation, output_padding, 1)
    return conv_product(
        True, x, weight, bias, settings, None,
        pad_value=0, out=out, layout=layout, overflow=overflow, x_bits=x_bits,
    )  # fmt: skip


def conv_transpose2d(
    x: NDArray[Any],
    weight: Weight,
    bias: NDArray[np.int32] | None,
    requant: Requant,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] = 0,
    output_padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    high: NDArray[Any] | None = None,
    out: NDArray[Any] | None = None,
    layout: str = "NCHW",
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> NDArray[Any]:
    """Transposed convolution, then requantise.

    Args:
        x: [N, C, H, W] uint8, int8, uint16 or int16 input codes.
        weight: [C, O, kh, kw] int8 or int16, or what `pack_weight` made of it.
        bias: [O] int32, or None.
        requant: the rule; per-channel rules count output channels.
        stride: one integer or (height, width).
        padding: rows and columns cropped from the output: one integer, (height, width) or
            (top, left, bottom, right).
        output_padding: rows and columns added at the bottom and right before cropping; any number (torch
            wants less than stride or dilation).
        dilation: one integer or (height, width).
        high: [N, O, out_h, out_w] digital part in output units, added before the saturation.
        out: [N, O, out_h, out_w] to write into: C-contiguous, overlapping no input; requant.dtype, or
            float32, which then holds the codes as numbers.
        layout: ``NCHW``, or ``NHWC``: x, high, out and the result have their channels last (the weight
            stays as it is).
        overflow: ``refuse`` (proven from the weights) or ``wrap32``.
        x_bits: width of the input codes, see `bittwin.accumulate`.

    Returns:
        [N, O, out_h, out_w] codes of requant.dtype,
        out_h = (H - 1) * stride + (kh - 1) * dilation + 1 + output_padding - top - bottom.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes or a geometry that do not match, a code outside its range, an accumulator that
            may overflow.

    Source: docs/spec/conv.md; equal on 250 frames of five layers of a DCCRN denoiser.

    >>> import numpy as np, bittwin
    >>> x, w = np.full((1, 1, 1, 2), 100, np.uint8), np.full((1, 1, 1, 2), 64, np.int8)
    >>> bittwin.conv_transpose2d(x, w, None, bittwin.readout(256), stride=(1, 2), padding=(0, 1, 0, 0))
    array([[[[25, 25, 25]]]], dtype=int8)
    """
    settings = conv_settings(stride, padding, dilation, output_padding, 1)
    return conv_product(
        True, x, weight, bias, settings, Finish(requant, high),
        pad_value=0, out=out, layout=layout, overflow=overflow, x_bits=x_bits,
    )  # fmt: skip
