# SPDX-License-Identifier: Apache-2.0
"""How the oracle takes numbers in and hands them out: Python integers inside, always.

numpy is only the envelope. Every array becomes an object array of Python integers before anything
is computed, so no operation of the oracle can overflow, wrap or round behind its back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = Any
"""An int, a nested sequence of ints or an integer array; results mirror the input (see `apply`)."""

_INT64_MIN = -(1 << 63)
_INT64_MAX = (1 << 63) - 1


def is_scalar(value: object) -> bool:
    """Say whether a value is one integer (and not an array of integers)."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))


def to_objects(value: Integers, name: str) -> NDArray[np.object_]:
    """Turn an integer or an array of integers into an object array of Python integers.

    Args:
        value: an int, a nested sequence of ints, or an array of any integer dtype or of objects.
        name: the argument's name, for the message.

    Raises:
        TypeError: something in it is no integer.
    """
    array = np.asarray(value)
    if array.size == 0:
        return np.empty(array.shape, dtype=object)
    if array.dtype.kind not in "iuO":
        raise TypeError(f"{name}: found {array.dtype} numbers, wanted integers")
    flat = np.empty(array.size, dtype=object)
    for index, item in enumerate(array.reshape(-1).tolist()):
        if not is_scalar(item):
            raise TypeError(f"{name}: found {item!r}, wanted an integer")
        flat[index] = int(item)
    return flat.reshape(array.shape)


def pack(items: Sequence[int], shape: tuple[int, ...]) -> NDArray[Any]:
    """Put Python integers into an int64 array, or an object array if one does not fit."""
    fits = all(_INT64_MIN <= item <= _INT64_MAX for item in items)
    flat: NDArray[Any] = np.empty(len(items), dtype=np.int64 if fits else object)
    for index, item in enumerate(items):
        flat[index] = item
    return flat.reshape(shape)


def apply(function: Callable[..., int], **arguments: Integers) -> Any:
    """Call a function of integers on every element, with numpy's broadcasting.

    Args:
        function: takes as many integers as there are arguments, in this order.
        **arguments: integers or arrays of integers, by name (the name is used in messages only).

    Returns:
        An int if all arguments are ints, else an int64 array (object, if a result needs more).
    """
    if all(is_scalar(value) for value in arguments.values()):
        return function(*(int(value) for value in arguments.values()))
    arrays = np.broadcast_arrays(*(to_objects(value, name) for name, value in arguments.items()))
    columns = [array.reshape(-1).tolist() for array in arrays]
    return pack([function(*row) for row in zip(*columns, strict=True)], arrays[0].shape)
