# SPDX-License-Identifier: Apache-2.0
"""Checks of arguments. Every refusal names the argument, what was found and what was wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT_DTYPES = ("uint8", "int8", "uint16", "int16")
WEIGHT_DTYPES = ("int8", "int16")
OVERFLOWS = ("refuse", "wrap32")
_NUMBERS = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float32", "float64")
# A dtype writes its name anew each time it is asked; a byte-swapped one is not in here.
_NAMES = {np.dtype(name): name for name in _NUMBERS}


def one_of(words: Sequence[str]) -> str:
    """Write a list of choices the way a sentence does: ``a, b or c``."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def dense_array(
    name: str, value: Any, dtypes: Sequence[str], ndim: int | None = None
) -> NDArray[Any]:
    """Return `value` as a dense aligned array; only numpy arrays of one of `dtypes` are taken."""
    if (
        type(value) is np.ndarray
        and _NAMES.get(value.dtype) in dtypes
        and ndim in (None, value.ndim)
    ):
        flags = value.flags
        if flags.c_contiguous and flags.aligned:
            return value
    if not isinstance(value, np.ndarray):
        kind = "scalar " if isinstance(value, np.generic) else ""
        raise TypeError(
            f"{name}: found {kind}{type(value).__name__}, wanted a numpy array of {one_of(dtypes)}"
        )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: found a masked array, wanted a plain one (a mask has no code)")
    if value.dtype.name not in dtypes or not value.dtype.isnative:
        found = value.dtype.name if value.dtype.isnative else f"byte-swapped {value.dtype.name}"
        raise TypeError(f"{name}: found dtype {found}, wanted {one_of(dtypes)}")
    if ndim is not None and value.ndim != ndim:
        raise ValueError(
            f"{name}: found shape {value.shape} ({value.ndim} axes), wanted {ndim} axes"
        )
    # Also aligned: the kernels read whole numbers. (A 0-d array is contiguous, so it stays 0-d.)
    dense = value.flags.c_contiguous and value.flags.aligned
    return value if dense else np.array(value, order="C")


def integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as int, refusing non-integers, bools and anything outside ``low..high``."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(
            f"{name}: found {value!r} ({type(value).__name__}), wanted an integer in {low}..{high}"
        )
    if not low <= value <= high:
        raise ValueError(f"{name}: found {value}, wanted an integer in {low}..{high}")
    return int(value)


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value`, refusing anything that is not one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: found {value!r}, wanted {one_of([repr(c) for c in choices])}")
    return value


def positive_real(name: str, value: Any) -> float:
    """Return `value` as a float, refusing everything but a finite number above zero."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise TypeError(
            f"{name}: found {value!r} ({type(value).__name__}), wanted a number above 0"
        )
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: found {value}, wanted a finite number above 0")
    return float(value)


def pair(name: str, value: Any, low: int) -> tuple[int, int]:
    """Return an int or a pair of ints as ``(height, width)``."""
    items = value if isinstance(value, tuple | list) else (value, value)
    if len(items) != 2:
        raise ValueError(f"{name}: found {value!r}, wanted one integer or (height, width)")
    return integer(name, items[0], low, 1 << 20), integer(name, items[1], low, 1 << 20)


def four_sides(name: str, value: Any) -> tuple[int, int, int, int]:
    """Return a padding as ``(top, left, bottom, right)``, given as one int, a pair or all four."""
    if isinstance(value, tuple | list) and len(value) == 4:
        top, left, bottom, right = (integer(name, v, 0, 1 << 20) for v in value)
        return top, left, bottom, right
    if isinstance(value, tuple | list) and len(value) != 2:
        raise ValueError(
            f"{name}: found {value!r}, wanted one integer, (height, width) or (top, left, bottom, right)"
        )
    height, width = pair(name, value, 0)
    return height, width, height, width


def proves(overflow: Any) -> bool:
    """Whether an accumulator has to be proven: `overflow` is ``refuse``, not ``wrap32``."""
    return choice("overflow", overflow, OVERFLOWS) == "refuse"


def plain_bits(x_bits: Any) -> int:
    """x_bits as the binding's short way takes it: 0 for None, -1 for what only a refusal can follow."""
    if x_bits is None:
        return 0
    return x_bits if type(x_bits) is int and 1 <= x_bits <= 16 else -1


def code_range(dtype: np.dtype[Any], x_bits: int | None) -> tuple[int, int]:
    """Lowest and highest input code of a dtype and bit width.

    Unsigned codes run from 0 to 2^bits - 1. Signed codes are sign and magnitude (a positive and a
    negative half of the array), +-(2^bits - 1), as far as the dtype reaches. The default is 8 bits for
    one-byte dtypes and 12, the widest input of the chip, for two-byte ones.
    """
    info = np.iinfo(dtype)
    bits = (
        (8 if dtype.itemsize == 1 else 12) if x_bits is None else integer("x_bits", x_bits, 1, 16)
    )
    magnitude = (1 << bits) - 1
    return max(int(info.min), -magnitude), min(int(info.max), magnitude)


def input_codes(
    x: Any, x_bits: int | None, ndim: int | None = None
) -> tuple[NDArray[Any], int, int]:
    """Check input codes; return them C-contiguous with the lowest and highest code they may take."""
    codes = dense_array("x", x, INPUT_DTYPES, ndim)
    low, high = code_range(codes.dtype, x_bits)
    info = np.iinfo(codes.dtype)
    if codes.size and (low > info.min or high < info.max):
        in_range("x", codes, low, high)
    return codes, low, high


def in_range(name: str, codes: NDArray[Any], low: int, high: int) -> None:
    """Refuse codes outside ``low..high``, naming the first one."""
    if codes.size and (int(codes.min()) < low or int(codes.max()) > high):
        where = np.argwhere((codes < low) | (codes > high))[0]
        at = tuple(int(i) for i in where)
        raise ValueError(f"{name}: found code {codes[at]} at index {at}, wanted {low}..{high}")


def bias_array(bias: Any, columns: int, name: str = "bias") -> NDArray[np.int32] | None:
    """Check a bias: None, or int32 with one entry per output column."""
    if bias is None:
        return None
    array = dense_array(name, bias, ("int32",))
    if array.shape != (columns,):
        raise ValueError(f"{name}: found shape {array.shape}, wanted ({columns},)")
    return array


def output_array(
    out: NDArray[Any] | None,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *inputs: Any,
    as_number: bool = False,
) -> NDArray[Any]:
    """Check `out`, or make one; `inputs` are what it must not overlap, arrays or not.

    `as_number`: out may also be float32, for codes that float32 holds exactly.
    """
    if out is None:
        return np.empty(shape, dtype)
    names = (dtype.name, "float32") if as_number else (dtype.name,)
    if type(out) is not np.ndarray or _NAMES.get(out.dtype) not in names:
        found = out.dtype.name if isinstance(out, np.ndarray) else type(out).__name__
        kind = "byte-swapped " if isinstance(out, np.ndarray) and not out.dtype.isnative else ""
        raise TypeError(f"out: found {kind}{found}, wanted a numpy array of {one_of(names)}")
    if out.shape != shape:
        raise ValueError(f"out: found shape {out.shape}, wanted {shape}")
    flags = out.flags
    if not (flags.c_contiguous and flags.aligned and flags.writeable):
        has = {
            "C-contiguous": flags.c_contiguous,
            "aligned": flags.aligned,
            "writeable": flags.writeable,
        }
        missing = one_of([word for word, there in has.items() if not there])
        raise ValueError(
            f"out: found an array that is not {missing}, wanted a writeable, aligned, C-contiguous one"
        )
    if any(isinstance(i, np.ndarray) and np.may_share_memory(out, i) for i in inputs):
        raise ValueError("out: found memory that an input uses, wanted an array that overlaps none")
    return out
