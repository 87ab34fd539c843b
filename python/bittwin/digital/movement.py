# SPDX-License-Identifier: Apache-2.0
"""Operations that move codes and change none, and the sign split (docs/spec/digital.md)."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, dense_array, integer
from bittwin.activation import CODE_DTYPES
from bittwin.digital._rules import axis_of

ORDERS = ("torch", "chip")
_FAR = 1 << 62


def concat(parts: Sequence[NDArray[Any]], axis: int = 1) -> NDArray[Any]:
    """Join arrays along an axis; nothing is rescaled.

    Args:
        parts: at least one, of one dtype, equal in every other axis.
        axis: the chip has axis 1 alone (documented).

    Returns:
        Codes of the parts' dtype.

    Raises:
        TypeError: dtypes that differ.
        ValueError: shapes that do not go together.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.concat([np.array([[1, 2]], np.int8), np.array([[3]], np.int8)])
    array([[1, 2, 3]], dtype=int8)
    """
    arrays = [dense_array(f"part {i}", part, CODE_DTYPES) for i, part in enumerate(parts)]
    if not arrays:
        raise ValueError("parts: found none, wanted at least one")
    first = arrays[0]
    place = axis_of("axis", axis, first.ndim)
    for i, array in enumerate(arrays):
        if array.dtype != first.dtype:
            raise TypeError(f"part {i}: found {array.dtype.name}, part 0 has {first.dtype.name}")
        if _without(array.shape, place) != _without(first.shape, place):
            raise ValueError(
                f"part {i}: found shape {array.shape}, part 0 has {first.shape} (axis {axis} may differ)"
            )
    return np.concatenate(arrays, axis=place)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (len(shape), *shape[:axis], *shape[axis + 1 :])


def slice(  # named like the operator
    x: NDArray[Any],
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> NDArray[Any]:
    """Cut a part out, as ONNX's Slice: negative positions count from the end, far ones are the end.

    Args:
        x: codes.
        starts: first position per axis.
        ends: position after the last, per axis.
        axes: the axes; 0, 1, ... when None.
        steps: 1 or more, per axis; 1 when None.

    Returns:
        Codes of x's dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: lists of different lengths, an axis twice, a step below 1.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.slice(np.array([[1, 2, 3, 4]], np.int8), [1], [-1], [1])
    array([[2, 3]], dtype=int8)
    """
    codes = dense_array("x", x, CODE_DTYPES)
    along = list(range(len(starts))) if axes is None else list(axes)
    strides = [1] * len(starts) if steps is None else list(steps)
    if not len(starts) == len(ends) == len(along) == len(strides):
        raise ValueError(
            f"starts, ends, axes, steps: found {len(starts)}, {len(ends)}, {len(along)} and "
            f"{len(strides)} entries, wanted as many of each"
        )
    places = [axis_of("axes", a, codes.ndim) for a in along]
    if len(set(places)) < len(places):
        raise ValueError(f"axes: found {along}, wanted none twice")
    cut = [builtins.slice(None)] * codes.ndim
    for place, start, end, step in zip(places, starts, ends, strides, strict=True):
        cut[place] = builtins.slice(
            integer("starts", start, -_FAR, _FAR),
            integer("ends", end, -_FAR, _FAR),
            integer("steps", step, 1, _FAR),
        )
    return np.ascontiguousarray(codes[tuple(cut)])


def split(x: NDArray[Any], sections: int | Sequence[int], axis: int = 1) -> list[NDArray[Any]]:
    """Cut an axis into parts.

    Args:
        x: codes.
        sections: the number of even parts, or the length of every part.
        axis: the axis to cut.

    Returns:
        The parts, in order.

    Raises:
        TypeError: a wrong dtype.
        ValueError: parts that do not add up to the axis.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.split(np.array([[1, 2, 3, 4]], np.int8), [1, 3])
    [array([[1]], dtype=int8), array([[2, 3, 4]], dtype=int8)]
    """
    codes = dense_array("x", x, CODE_DTYPES)
    place = axis_of("axis", axis, codes.ndim)
    length = codes.shape[place]
    if isinstance(sections, Sequence):
        sizes = [integer("sections", n, 0, _FAR) for n in sections]
    else:
        count = integer("sections", sections, 1, max(length, 1))
        sizes = [length // count] * count
    if sum(sizes) != length or not sizes:
        raise ValueError(f"sections: found {sections!r}, wanted parts that add up to {length}")
    ends = np.cumsum(sizes)[:-1].tolist()
    return [np.ascontiguousarray(part) for part in np.split(codes, ends, axis=place)]


def permute(x: NDArray[Any], dims: Sequence[int]) -> NDArray[Any]:
    """Reorder the axes: axis i of the result is axis ``dims[i]`` of x.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.permute(np.array([[1, 2], [3, 4]], np.int8), [1, 0])
    array([[1, 3],
           [2, 4]], dtype=int8)
    """
    codes = dense_array("x", x, CODE_DTYPES)
    places = [axis_of("dims", d, codes.ndim) for d in dims]
    if sorted(places) != list(range(codes.ndim)):
        raise ValueError(f"dims: found {list(dims)}, wanted each of the {codes.ndim} axes once")
    return np.ascontiguousarray(codes.transpose(places))


def transpose(x: NDArray[Any], perm: Sequence[int] | None = None) -> NDArray[Any]:
    """`permute`; without `perm` the axes are reversed, as in ONNX.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.transpose(np.zeros((2, 3, 4), np.int8)).shape
    (4, 3, 2)
    """
    count = dense_array("x", x, CODE_DTYPES).ndim
    return permute(x, list(range(count))[::-1] if perm is None else perm)


def reshape(x: NDArray[Any], shape: Sequence[int], *, order: str = "torch") -> NDArray[Any]:
    """Give codes another shape.

    Args:
        x: codes.
        shape: 0 keeps that axis' length, one -1 takes what is left.
        order: ``torch``: the last axis runs fastest. ``chip``: arrays of 4 axes, [N, C, H, W], are stored as
            [N][W][H][C], before and after.

    Returns:
        Codes of x's dtype.

    Raises:
        TypeError: a wrong dtype.
        ValueError: a shape that does not hold as many codes.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> x = np.arange(4, dtype=np.int8).reshape(1, 2, 1, 2)       # channel 0: 0 1, channel 1: 2 3
    >>> digital.reshape(x, [0, -1]), digital.reshape(x, [0, -1], order="chip")
    (array([[0, 1, 2, 3]], dtype=int8), array([[0, 2, 1, 3]], dtype=int8))
    """
    codes = dense_array("x", x, CODE_DTYPES)
    wanted = _filled(codes.shape, shape)
    if choice("order", order, ORDERS) == "torch":
        return codes.reshape(wanted)
    stored = codes.transpose(0, 3, 2, 1) if codes.ndim == 4 else codes
    if len(wanted) != 4:
        return np.ascontiguousarray(stored).reshape(wanted)
    n, c, h, w = wanted
    laid = np.ascontiguousarray(stored).reshape(n, w, h, c)
    return np.ascontiguousarray(laid.transpose(0, 3, 2, 1))


def _filled(found: tuple[int, ...], shape: Sequence[int]) -> tuple[int, ...]:
    sizes = [integer("shape", n, -1, _FAR) for n in shape]
    message = (
        f"shape: found {list(shape)}, wanted one that holds the {math.prod(found)} codes of {found}"
    )
    for i, n in enumerate(sizes):
        if n == 0:
            if i >= len(found):
                raise ValueError(f"{message} (axis {i} to keep is not there)")
            sizes[i] = found[i]
    if sizes.count(-1) > 1:
        raise ValueError(f"{message} (-1 once at most)")
    if -1 in sizes:
        rest = -math.prod(sizes)
        sizes[sizes.index(-1)] = math.prod(found) // rest if rest else 0
    if math.prod(sizes) != math.prod(found):
        raise ValueError(message)
    return tuple(sizes)


def flatten(x: NDArray[Any], axis: int = 1, *, order: str = "torch") -> NDArray[Any]:
    """Two axes: everything before `axis`, and the rest; order as in `reshape`.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.flatten(np.zeros((2, 3, 4), np.int8)).shape
    (2, 12)
    """
    codes = dense_array("x", x, CODE_DTYPES)
    place = integer("axis", axis, 0, codes.ndim)
    outer, inner = math.prod(codes.shape[:place]), math.prod(codes.shape[place:])
    if choice("order", order, ORDERS) == "chip" and (codes.ndim, place) != (4, 1):
        raise ValueError(f"order: found 'chip' with shape {codes.shape}, wanted 4 axes and axis 1")
    if order == "chip":
        codes = np.ascontiguousarray(codes.transpose(0, 3, 2, 1))
    return codes.reshape(outer, inner)


def pn_split(x: NDArray[np.int8], count: int = -1, axis: int = -1) -> NDArray[np.uint8]:
    """Signed codes as the unsigned inputs of the array (the vendor's PN, CUSTOM_PN, negtive).

    ``[max(x, 0) of the first count channels | x + 128 of the others | max(-x, 0) of the first count]``

    Args:
        x: int8 codes.
        count: channels that are split by sign, 0..C; -1 is the same as 0: x + 128 for all.
        axis: the axis that counts the C channels.

    Returns:
        uint8, C + count channels; -128 becomes 128 on the negative half.

    Raises:
        TypeError: x is no int8 array.
        ValueError: more channels than there are.

    Source: measured on the C-model, 4,236 outputs (docs/spec/digital.md).

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.pn_split(np.array([[-128, 5, -3]], np.int8), 2)
    array([[  0,   5, 125, 128,   0]], dtype=uint8)
    """
    codes = dense_array("x", x, ("int8",))
    place = axis_of("axis", axis, codes.ndim)
    n = max(integer("count", count, -1, codes.shape[place]), 0)
    wide = np.moveaxis(codes, place, -1).astype(np.int16)
    head, rest = wide[..., :n], wide[..., n:]
    parts = (np.maximum(head, 0), rest + 128, np.maximum(-head, 0))
    joined = np.concatenate(parts, axis=-1).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(joined, -1, place))
