# SPDX-License-Identifier: Apache-2.0
"""What recurrent cells are made of: shifts, tables and products (docs/spec/recurrent.md).

Everything here is an existing rule made ready for a loop over frames: a shift is a `Requant`, a table is
read through `bittwin.lookup`, a product is `bittwin.accumulate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import choice, dense_array, in_range, integer
from bittwin.activation import TABLE_SIZES, lookup
from bittwin.functional import accumulate
from bittwin.requant import ROUNDINGS, Requant

PRODUCT_OVERFLOWS = ("wrap16", "saturate16")
SHIFT_LIMITS = -15, 8
"""Longest shifts: to the right all of a 16-bit product, to the left what keeps every sum in INT32."""
HISTORY_LIMIT = 1 << 26
"""Most codes of a kept history; it keeps a file from asking for any memory it likes."""


class Shift:
    """``saturate(SHIFT(v, bits))``: a negative number of bits divides, a positive one multiplies.

    Args:
        bits: -15..8, the vendor's sign convention.
        low: lowest result.
        high: highest result.
        rounding: of a right shift, one of `bittwin.requant.ROUNDINGS`.
        middle: ``wrap16`` keeps the low 16 bits of the shifted value before the limits.

    >>> import numpy as np
    >>> from bittwin.recurrent.rules import Shift
    >>> Shift(-7, -128, 127)(np.array([63, 64, -64, -65, 20000], np.int32))
    array([  0,   1,   0,  -1, 127], dtype=int8)
    """

    def __init__(
        self,
        bits: int,
        low: int,
        high: int,
        rounding: str = "half_up",
        middle: str = "exact",
    ) -> None:
        integer("shift_bits", bits, *SHIFT_LIMITS)
        rule = Requant(
            rule="shift",
            multiplier=(1 << max(bits, 0),),
            shift1=(max(-bits, 0),),
            rounding1=choice("rounding", rounding, ROUNDINGS),
            middle=middle,
            lo=low,
            hi=high,
        )
        self._core, self._dtype = rule.core, rule.dtype

    def __call__(self, v: NDArray[np.int32]) -> NDArray[Any]:
        """Shift int32 numbers of any shape; C-contiguous."""
        out = np.empty(v.shape, self._dtype)
        _core.requantize_into(v, None, out, 1, 1, v.size, self._core)
        return out


class Product16(Shift):
    """A product that is stored in 16 bits, shifted on the way; a plain one is passed through.

    Args:
        bits: the shift, see `Shift`.
        largest: the largest magnitude that the product can have; proves when nothing has to be done.
        overflow: ``wrap16`` (the C-model's 16-bit multiply) or ``saturate16``.
        rounding: of a right shift.
    """

    def __init__(self, bits: int, largest: int, overflow: str, rounding: str) -> None:
        choice("product_overflow", overflow, PRODUCT_OVERFLOWS)
        middle = "wrap16" if overflow == "wrap16" else "exact"
        super().__init__(bits, -(1 << 15), (1 << 15) - 1, rounding, middle)
        self._plain = bits == 0 and largest < 1 << 15

    def __call__(self, v: NDArray[np.int32]) -> NDArray[Any]:
        """Return the product as its 16 bits hold it, int16 or (where nothing is done) int32."""
        return v if self._plain else super().__call__(v)


class Table:
    """An activation table ready for a loop: ``table(codes)`` is ``bittwin.lookup(codes, entries)`` as int32.

    Args:
        name: the argument, for messages.
        entries: [256] or [1024] int8 or uint8.
    """

    def __init__(self, name: str, entries: Any) -> None:
        self.entries = checked_table(name, entries)
        # By byte: one take per frame instead of index arithmetic.
        self.by_byte = lookup(np.arange(256, dtype=np.uint8).view(np.int8), self.entries).astype(
            np.int32
        )
        self.largest = int(np.abs(self.by_byte).max())

    def __call__(self, codes: NDArray[np.int8]) -> NDArray[np.int32]:
        """Look int8 codes up."""
        return self.by_byte.take(codes.view(np.uint8))


class SumTable(Table):
    """A table that is read at the sum of two codes, which has 9 bits.

    A 1024-entry table takes the sum as it is, at ``clamp(2 * sum, -512, 511)``; a 256-entry table has
    no room for it, so the sum saturates to 8 bits first. ``sum_bits=8`` saturates it for both.

    Args:
        name: the argument, for messages.
        entries: [256] or [1024] int8 or uint8.
        reach: the largest magnitude of a sum.
        sum_bits: 9 or 8.

    >>> import numpy as np
    >>> from bittwin.recurrent.rules import SumTable
    >>> wide = SumTable("table", (np.arange(1024) // 4).astype(np.uint8), 256, 9)
    >>> wide(np.array([0, 2, 200, -256], np.int32))
    array([  0,   1, 100, 128], dtype=int32)
    """

    def __init__(self, name: str, entries: Any, reach: int, sum_bits: int) -> None:
        super().__init__(name, entries)
        size = self.entries.size
        sums = np.arange(-reach, reach + 1, dtype=np.int32)
        limit = 128 if size == 256 or sum_bits == 8 else 256
        index = _core.lookup_index(np.clip(sums, -limit, limit - 1), size)
        if limit == 256:
            index[sums > 255] = 511  # the clamp is one of the index, not of the sum
        self._by_sum = self.entries[index].astype(np.int32)
        self._reach = reach

    def __call__(self, codes: NDArray[Any]) -> NDArray[np.int32]:
        """Look int32 sums up."""
        return self._by_sum.take(codes + self._reach)


def checked_table(name: str, entries: Any) -> NDArray[Any]:
    """Return a read-only copy of a table, refusing anything but 256 or 1024 int8 or uint8 entries."""
    table = dense_array(name, entries, ("int8", "uint8"), 1)
    if table.size not in TABLE_SIZES:
        raise ValueError(f"{name}: found {table.size} entries, wanted 256 or 1024")
    return frozen(table)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only copy."""
    kept: NDArray[Any] = np.array(array, order="C")
    kept.flags.writeable = False
    return kept


def packed(weight: NDArray[Any]) -> Any:
    """The weight in the form that multiplies fastest: int8 where it fits, packed where that exists."""
    info = np.iinfo(np.int8)
    if weight.size and info.min <= weight.min() and weight.max() <= info.max:
        weight = weight.astype(np.int8)
    weight = np.ascontiguousarray(weight)
    pack = getattr(import_module("bittwin"), "pack_weight", None)
    return weight if pack is None else pack(weight)


def products(codes: NDArray[Any], weight: Any, bias: Any, x_bits: int) -> NDArray[np.int32]:
    """INT32 accumulators of a part whose whole was proven, or is meant to wrap; int32 sums add up to it."""
    return accumulate(codes, weight, bias, overflow="wrap32", x_bits=x_bits)


class Readout:
    """`bittwin.requantize` to int8, channels last, made ready for a loop.

    Args:
        name: the argument, for messages.
        requant: the rule; its codes go into a table or a state, so they are int8.
        columns: output columns of the product.
    """

    def __init__(self, name: str, requant: Any, columns: int) -> None:
        if not isinstance(requant, Requant):
            raise TypeError(
                f"{name}: found {type(requant).__name__}, wanted a bittwin.requant.Requant"
            )
        if requant.dtype != np.int8:
            raise ValueError(f"{name}: found codes {requant.lo}..{requant.hi}, wanted int8 codes")
        if requant.channels not in (1, columns):
            raise ValueError(f"{name}: found {requant.channels} channels, wanted 1 or {columns}")
        self._core, self._columns = requant.core, columns
        self._channels = requant.channels

    def __call__(self, acc: NDArray[np.int32]) -> NDArray[np.int8]:
        """Codes of [..., columns] accumulators, C-contiguous."""
        out = np.empty(acc.shape, np.int8)
        per_channel = self._channels > 1
        outer, inner = (acc.size // self._columns, 1) if per_channel else (1, acc.size)
        _core.requantize_into(acc, None, out, outer, self._channels, inner, self._core)
        return out


def shift_list(value: Any, lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Check shift_bits: as many whole numbers as one of `lengths`."""
    if not isinstance(value, tuple | list) or len(value) not in lengths:
        wanted = " or ".join(map(str, lengths))
        raise ValueError(f"shift_bits: found {value!r}, wanted {wanted} integers")
    return tuple(integer("shift_bits", v, *SHIFT_LIMITS) for v in value)


def state_codes(name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Check one array of a state: int8 codes of the given shape."""
    codes = dense_array(name, value, ("int8",))
    if codes.shape != shape:
        raise ValueError(f"{name}: found shape {codes.shape}, wanted {shape}")
    return codes


def joined(history: NDArray[Any], frames: NDArray[Any], axis: int) -> NDArray[Any]:
    """History, then new frames, in a dtype that holds both; codes of up to 12 bits."""
    info = np.iinfo(frames.dtype)
    if history.size and (int(history.min()) < info.min or int(history.max()) > info.max):
        frames = frames.astype(np.int16)
    return np.concatenate([history.astype(frames.dtype), frames], axis=axis)


def history_codes(value: Any, shape: tuple[int, ...], low: int, high: int) -> NDArray[Any]:
    """Check a kept history: int16 codes within the input's range."""
    codes = dense_array("state", value, ("int16",))
    if codes.shape != shape:
        raise ValueError(f"state: found shape {codes.shape}, wanted {shape}")
    in_range("state", codes, low, high)
    return codes
