# SPDX-License-Identifier: Apache-2.0
"""Rows of a dump <-> the tensors that layers take.

A dump stores one frame as one row. For plain vectors that is the vector itself.
For images the chip keeps `[W][H][C]` with the channel fastest, while layers take
`[frames, C, H, W]`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bittwin.requant import Requant


def to_tensor(rows: NDArray[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Turn rows `[frames, W*H*C]` into `[frames, C, H, W]`; shape `(C, H, W)` or None.

    >>> to_tensor(np.arange(4).reshape(1, 4), (2, 1, 2)).tolist()
    [[[[0, 2]], [[1, 3]]]]
    """
    if shape is None or len(shape) != 3:
        return rows
    channels, height, width = shape
    cube = rows.reshape(rows.shape[0], width, height, channels)
    return np.ascontiguousarray(cube.transpose(0, 3, 2, 1))


def from_tensor(tensor: NDArray[Any]) -> NDArray[Any]:
    """Turn `[frames, C, H, W]` into rows `[frames, W*H*C]`; `[frames, n]` stays as it is.

    >>> from_tensor(np.array([[[[0, 2]], [[1, 3]]]])).tolist()
    [[0, 1, 2, 3]]
    """
    if tensor.ndim != 4:
        return tensor
    frames, channels, height, width = tensor.shape
    # Explicit sizes: with zero frames numpy cannot work out a -1.
    flat = tensor.transpose(0, 3, 2, 1).reshape(frames, width * height * channels)
    return np.ascontiguousarray(flat)


def cast(codes: NDArray[Any], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    """Cast integer codes after checking that every one of them survives it.

    Raises:
        TypeError: not integers.
        ValueError: a code outside the dtype's range.
    """
    if codes.dtype == dtype:
        return codes
    if codes.dtype.kind not in "iu":
        raise TypeError(f"{what}: found dtype {codes.dtype}, wanted integers")
    if codes.size:
        info = np.iinfo(dtype)
        low, high = int(codes.min()), int(codes.max())
        if low < info.min or high > info.max:
            bad = low if low < info.min else high
            raise ValueError(f"{what}: found {bad}, wanted {info.min}..{info.max}")
    return codes.astype(dtype)


def input_range(operator: Any) -> tuple[int, int]:
    """Return the smallest and largest input code of an array layer; a byte without one.

    Signed codes are sign and magnitude, as the layers take them.
    """
    if operator is None:
        return 0, 255
    high = (1 << int(operator.x_bits)) - 1
    return (-high if operator.x_signed else 0), high


def with_requant(operator: Any, requant: Requant) -> Any:
    """Return the same layer with another requantiser."""
    return dataclasses.replace(operator, requant=requant)


def weight_to_rows(
    weight: NDArray[Any], kind: str, image: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """Lay weights out as the array holds them: one row per input, one column per output.

    The rows of a convolution are `kw*kh*I` with the channel fastest, like the input they read.

    Args:
        weight: `[out, in]`, `[O, I, kh, kw]`, or `[I, O, kh, kw]` for transposed convolutions.
        kind: the layer's kind.
        image: `(C, H, W)` of what a linear layer reads flattened: its rows then follow the
            `[W][H][C]` order of the input's rows.

    >>> weight_to_rows(np.array([[1, 2, 3]]), "linear").tolist()
    [[1], [2], [3]]
    >>> weight_to_rows(np.array([[1, 2, 3, 4]]), "linear", (2, 1, 2)).tolist()
    [[1], [3], [2], [4]]
    """
    table: NDArray[Any] = weight.T
    if weight.ndim == 4:
        order = (3, 2, 0, 1) if is_transposed(kind) else (3, 2, 1, 0)
        cells = weight.transpose(order)
        table = cells.reshape(cells.shape[0] * cells.shape[1] * cells.shape[2], cells.shape[3])
    elif image is not None and len(image) == 3:
        table = from_tensor(weight.reshape(weight.shape[0], *image)).T
    return table


def weight_from_rows(
    rows: NDArray[Any], kind: str, shape: tuple[int, ...], image: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """Undo `weight_to_rows`; `shape` is the weight's own.

    >>> weight_from_rows(np.array([[1], [2]]), "conv2d", (1, 1, 1, 2)).tolist()
    [[[[1, 2]]]]
    >>> weight_from_rows(np.array([[1], [3], [2], [4]]), "linear", (1, 4), (2, 1, 2)).tolist()
    [[1, 2, 3, 4]]
    """
    if len(shape) == 2:
        return np.ascontiguousarray(to_tensor(rows.T, image).reshape(shape))
    if is_transposed(kind):
        inputs, outputs, height, width = shape
        cells = rows.reshape(width, height, inputs, outputs).transpose(2, 3, 1, 0)
    else:
        outputs, inputs, height, width = shape
        cells = rows.reshape(width, height, inputs, outputs).transpose(3, 2, 1, 0)
    return np.ascontiguousarray(cells)


def is_transposed(kind: str) -> bool:
    """Tell whether a layer of that kind keeps its weights input channel first."""
    return kind.endswith("conv_transpose2d")
