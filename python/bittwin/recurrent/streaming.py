# SPDX-License-Identifier: Apache-2.0
"""Convolutions over time, frame by frame: the chip's tdnn_mode (docs/spec/recurrent.md).

Time is the width axis. A frame is one column, [C, H, 1]; the columns that a kernel still needs are kept as
a history of codes. Frame t sees the columns up to t, so a layer adds no delay, and the codes are those of
the whole image with ``(kernel_width - 1) * dilation`` columns of padding at its left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import code_range, dense_array, input_codes, integer, pair
from bittwin.conv import conv2d_accumulate, conv_transpose2d_accumulate
from bittwin.recurrent.rules import HISTORY_LIMIT, history_codes, joined


def first_history(
    channels: int, height: int, kernel_width: int, *, dilation: int = 1, pad_value: int = 0
) -> NDArray[np.int16]:
    """The history before the first frame.

    Args:
        channels: of a frame.
        height: of a frame.
        kernel_width: columns of the kernel.
        dilation: columns between two kernel columns.
        pad_value: the code that stands before the first frame.

    Returns:
        [channels, height, (kernel_width - 1) * dilation] int16, oldest column first.

    >>> from bittwin.recurrent import first_history
    >>> first_history(2, 8, 3, dilation=2).shape
    (2, 8, 4)
    """
    span = (integer("kernel_width", kernel_width, 1, 1 << 20) - 1) * integer(
        "dilation", dilation, 1, 1 << 20
    )
    codes = channels * height * span
    if codes > HISTORY_LIMIT:
        raise ValueError(f"dilation: found a history of {codes} codes, wanted <= {HISTORY_LIMIT}")
    return np.full((channels, height, span), pad_value, np.int16)


def conv2d_frames(
    x: NDArray[Any],
    history: NDArray[np.int16],
    weight: NDArray[Any],
    bias: NDArray[np.int32] | None = None,
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    pad_value: int = 0,
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    """The accumulators of a convolution over time for some frames, and the history after them.

    Args:
        x: [frames, C, H, 1] uint8, int8, uint16 or int16 codes in time order.
        history: [C, H, (kw - 1) * dilation] int16, see `first_history`; or what the last call returned.
        weight: [O, C / groups, kh, kw] int8 or int16.
        bias: [O] int32, or None.
        stride: of the height; over time it is 1.
        padding: of the height: one integer or (top, bottom), in codes.
        dilation: one integer or (height, width).
        groups: number of channel groups.
        pad_value: the code that the height's padding holds.
        overflow: ``refuse`` or ``wrap32``, see `bittwin.accumulate`.
        x_bits: width of the input codes, see `bittwin.accumulate`.

    Returns:
        [frames, O, out_h, 1] int32, and the history for the next call.

    Raises:
        TypeError: a wrong dtype.
        ValueError: as `bittwin.conv2d`.

    >>> import numpy as np
    >>> from bittwin.recurrent import conv2d_frames, first_history
    >>> kernel = np.array([[[[1, 10]]]], np.int8)                   # 10 * now + 1 * before
    >>> frames = np.array([1, 2, 3], np.uint8).reshape(3, 1, 1, 1)
    >>> whole, _ = conv2d_frames(frames, first_history(1, 1, 2), kernel)
    >>> whole.ravel().tolist()
    [10, 21, 32]
    >>> a, kept = conv2d_frames(frames[:2], first_history(1, 1, 2), kernel)
    >>> b, kept = conv2d_frames(frames[2:], kept, kernel)
    >>> a.ravel().tolist() + b.ravel().tolist(), kept.ravel().tolist()
    ([10, 21, 32], [3])
    """
    spaces = pair("dilation", dilation, 1)
    columns = dense_array("weight", weight, ("int8", "int16"), 4).shape[3]
    image, after = _image(x, history, columns, spaces[1], x_bits)
    top, bottom = pair("padding", padding, 0)
    if image.shape[3] < after.shape[2] + 1:  # no frames: no column for the kernel
        image = np.zeros((*image.shape[:3], after.shape[2] + 1), image.dtype)
    acc = conv2d_accumulate(
        image,
        weight,
        bias,
        stride=(stride, 1),
        padding=(top, 0, bottom, 0),
        dilation=spaces,
        groups=groups,
        pad_value=pad_value,
        overflow=overflow,
        x_bits=x_bits,
    )
    return _frames(acc, x.shape[0], 0), after


def conv_transpose2d_frames(
    x: NDArray[Any],
    history: NDArray[np.int16],
    weight: NDArray[Any],
    bias: NDArray[np.int32] | None = None,
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int = 0,
    dilation: int | tuple[int, int] = 1,
    overflow: str = "refuse",
    x_bits: int | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    """The same for a transposed convolution: frame t is the output's column t.

    Over the whole image the kernel also makes ``(kw - 1) * dilation`` columns after the last frame; a layer
    that runs in time never sees them, and neither does the next layer of the networks this is checked on.

    Args:
        x: [frames, C, H, 1] codes in time order.
        history: [C, H, (kw - 1) * dilation] int16.
        weight: [C, O, kh, kw] int8 or int16.
        bias: [O] int32, or None.
        stride: of the height.
        padding: rows cropped: one integer or (top, bottom).
        output_padding: rows added at the bottom before cropping.
        dilation: one integer or (height, width).
        overflow: ``refuse`` or ``wrap32``.
        x_bits: width of the input codes.

    Returns:
        [frames, O, out_h, 1] int32, and the history for the next call.

    Raises:
        TypeError: a wrong dtype.
        ValueError: as `bittwin.conv_transpose2d`.

    >>> import numpy as np
    >>> from bittwin.recurrent import conv_transpose2d_frames, first_history
    >>> kernel = np.array([[[[10, 1]]]], np.int8)
    >>> frames = np.array([1, 2, 3], np.uint8).reshape(3, 1, 1, 1)
    >>> conv_transpose2d_frames(frames, first_history(1, 1, 2), kernel)[0].ravel().tolist()
    [10, 21, 32]
    """
    spaces = pair("dilation", dilation, 1)
    columns = dense_array("weight", weight, ("int8", "int16"), 4).shape[3]
    image, after = _image(x, history, columns, spaces[1], x_bits)
    if image.shape[3] == 0:
        image = np.zeros((*image.shape[:3], 1), image.dtype)
    top, bottom = pair("padding", padding, 0)
    acc = conv_transpose2d_accumulate(
        image,
        weight,
        bias,
        stride=(stride, 1),
        padding=(top, 0, bottom, 0),
        output_padding=(output_padding, 0),
        dilation=spaces,
        overflow=overflow,
        x_bits=x_bits,
    )
    return _frames(acc, x.shape[0], after.shape[2]), after


def _image(
    x: Any, history: Any, kernel_width: int, dilation: int, x_bits: int | None
) -> tuple[NDArray[Any], NDArray[np.int16]]:
    """History and frames as one image [1, C, H, width], and the history after them."""
    codes, _, _ = input_codes(x, x_bits, 4)
    if codes.shape[3] != 1:
        raise ValueError(f"x: found shape {codes.shape}, wanted [frames, C, H, 1], one column each")
    span = (kernel_width - 1) * dilation
    limits = code_range(np.dtype(np.int16), x_bits)
    kept = history_codes(history, (*codes.shape[1:3], span), *limits)
    image = joined(kept, codes[..., 0].transpose(1, 2, 0), 2)
    after = np.array(image[..., image.shape[2] - span :], np.int16)
    return np.ascontiguousarray(image)[None], after


def _frames(acc: NDArray[np.int32], frames: int, first: int) -> NDArray[np.int32]:
    """Columns first..first + frames of [1, O, H, width] as [frames, O, H, 1]."""
    return np.ascontiguousarray(acc[0, :, :, first : first + frames].transpose(2, 0, 1))[..., None]
