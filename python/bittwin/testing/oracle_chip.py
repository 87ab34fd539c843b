# SPDX-License-Identifier: Apache-2.0
"""Big-integer oracle: what the chip model does around the array (input bytes, activations, store).

One array round is `byte -> dac -> accumulate -> wrap32 -> readout -> post-adder -> activation ->
stored byte`. All functions take an int or an array of ints and return the same kind.
"""

from __future__ import annotations

from typing import Any

from bittwin.testing._elementwise import Integers, apply, to_objects
from bittwin.testing.oracle_requant import rounded_code
from bittwin.testing.oracle_rounding import wrap8

DAC_FORMATS: tuple[str, ...] = ("unsigned", "signed")


def dac(
    byte: Integers, format: str = "unsigned", *, invert: bool = False, double: bool = False
) -> Any:
    """Turn a stored byte into the code that drives a row of the array.

    Args:
        byte: 0..255.
        format: "unsigned" (the byte itself) or "signed" (the byte as int8, negatives become 0).
        invert: drive the negated byte: unsigned `(256 - x) & 255`, signed `max(-int8(x), 0)` where
            -128 gives 0.
        double: twice the result, up to 510, without a limit.

    Returns:
        The code, 0..255, or 0..510 when doubled.

    Raises:
        ValueError: a byte outside 0..255, or an unknown format.

    >>> dac(200), dac(200, "signed"), dac(200, invert=True), dac(200, "signed", invert=True)
    (200, 0, 56, 56)
    >>> dac(128, "signed", invert=True), dac(255, double=True)
    (0, 510)
    """
    if format not in DAC_FORMATS:
        raise ValueError(f"format: found {format!r}, wanted 'unsigned' or 'signed'")

    def one(x: int) -> int:
        if not 0 <= x <= 255:
            raise ValueError(f"byte: found {x}, wanted 0..255")
        if format == "unsigned":
            code = (256 - x) % 256 if invert else x
        else:
            value = x - 256 if x > 127 else x
            # The negation is an 8-bit one: -(-128) is -128 again, and drives nothing.
            value = (-value if value != -128 else -128) if invert else value
            code = max(value, 0)
        return 2 * code if double else code

    return apply(one, byte=byte)


def relu(code: Integers, gain: int = 1) -> Any:
    """Clamp negatives to 0 and multiply by 1 or 2.

    Args:
        code: int8 codes.
        gain: 1 or 2; with 2 the result is an unsigned byte, 0..254.

    >>> relu(-3), relu(127, gain=2)
    (0, 254)
    """
    if gain not in (1, 2):
        raise ValueError(f"gain: found {gain}, wanted 1 or 2")
    return apply(lambda y: max(y, 0) * gain, code=code)


def clip(code: Integers, limit: int) -> Any:
    """Clamp to 0..limit, the limit an unsigned byte.

    >>> clip(-3, 90), clip(100, 90), clip(100, 255)
    (0, 90, 100)
    """
    if not 0 <= limit <= 255:
        raise ValueError(f"limit: found {limit}, wanted 0..255")
    return apply(lambda y: min(max(y, 0), limit), code=code)


def lookup(code: Integers, table: Integers) -> Any:
    """Replace every code by its table entry.

    Args:
        code: int8 codes.
        table: 1024 entries, read at `(2 * y) & 1023`, or 256 entries, read at `y & 255`.

    >>> lookup(-1, list(range(256))), lookup(-1, list(range(1024)))
    (255, 1022)
    """
    entries = to_objects(table, "table").reshape(-1).tolist()
    if len(entries) not in (256, 1024):
        raise ValueError(f"table: found {len(entries)} entries, wanted 256 or 1024")
    step = 2 if len(entries) == 1024 else 1
    return apply(lambda y: int(entries[(step * y) % len(entries)]), code=code)


def unsigned_store(acc: Integers, gain: int, overflow: str = "saturate", high: Integers = 0) -> Any:
    """Requantise into an unsigned byte: `min(((t + 2) >> 2) + high, 255) & 255`, negatives wrap.

    An activation after it reads the byte as int8.

    >>> unsigned_store(150 * 256, 256), unsigned_store(-256, 256), unsigned_store(10**6, 256)
    (150, 255, 255)
    """
    code = rounded_code(acc, gain, overflow)
    return apply(lambda c, digital: min(c + digital, 255) % 256, acc=code, high=high)


def post_adder_shift(code: Integers, count: int, *, left: bool = True) -> Any:
    """Shift the stored byte behind the adder, on the UNSIGNED byte, up to 127.

    Args:
        code: int8 codes or bytes; negatives are read as the bytes 128..255.
        count: the register's value; the byte is shifted by count + 1.
        left: shift left, or (False) only limit to 127.

    >>> post_adder_shift(3, 1), post_adder_shift(-1, 0), post_adder_shift(-1, 0, left=False)
    (12, 127, 127)
    """
    if count < 0:
        raise ValueError(f"count: found {count}, wanted 0 or more")

    def one(y: int) -> int:
        byte = y % 256
        return min(byte * 2 ** (count + 1), 127) if left else min(byte, 127)

    return apply(one, code=code)


def as_int8(byte: Integers) -> Any:
    """Read a stored byte as a signed code: 255 is -1.

    >>> as_int8(255)
    -1
    """
    return wrap8(byte)
