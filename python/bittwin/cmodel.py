# SPDX-License-Identifier: Apache-2.0
"""One array round with all the registers of the WTM2101's chip C-model (docs/spec/array_round.md).

`bittwin.linear` is the round that networks use. This one starts from bytes of the register file and ends
with the byte stored there, artefacts included: the 16-bit converter code, the 32-bit accumulator and the
unsigned store wrap as the C-model's do. Use it to check against C-model runs; silicon would saturate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import choice, dense_array, integer
from bittwin.activation import clip, lookup, relu
from bittwin.functional import accumulate, requantize
from bittwin.requant import readout

ACTIVATIONS = ("none", "relu", "clip", "table")


def dac(
    x: NDArray[np.uint8],
    *,
    input_format: str = "unsigned",
    invert: bool = False,
    doubled: bool = False,
) -> NDArray[np.uint16]:
    """The array's input converter: bytes to the numbers that drive the rows.

    Args:
        x: any shape, uint8 bytes of the register file.
        input_format: ``unsigned``: the byte; ``signed``: max(int8(byte), 0).
        invert: unsigned: (256 - byte) & 255; signed: max(-int8(byte), 0), where -128 gives 0.
        doubled: twice the result, up to 510, not limited.

    Returns:
        Same shape, uint16, 0..510.

    >>> import numpy as np
    >>> from bittwin import cmodel
    >>> cmodel.dac(np.array([0, 1, 200], np.uint8), invert=True)
    array([  0, 255,  56], dtype=uint16)
    """
    signed = choice("input_format", input_format, ("unsigned", "signed")) == "signed"
    return _core.dac(dense_array("x", x, ("uint8",)), signed, bool(invert), bool(doubled))


def array_round(
    x: NDArray[np.uint8],
    weight: NDArray[Any],
    bias_rows: NDArray[Any],
    *,
    gain: int,
    input_format: str = "unsigned",
    invert: bool = False,
    doubled: bool = False,
    high: NDArray[Any] | None = None,
    unsigned_store: bool = False,
    shift: tuple[str, int] | None = None,
    activation: str = "none",
    relu_gain: int = 1,
    limit: int = 127,
    table: NDArray[Any] | None = None,
) -> NDArray[np.uint8]:
    """One round of the chip's C-model, from stored bytes to the stored byte.

    Args:
        x: [frames, in] uint8 bytes of the register file.
        weight: [out, in] int8 or int16 cells.
        bias_rows: [rows, out] int8 or int16; every row is driven with 128.
        gain: 256..32768, a power of two.
        input_format: see `dac`; so are invert and doubled.
        invert: see `dac`.
        doubled: see `dac`.
        high: [frames, out] int8 or int16 digital part, added before the store (``add_sel = 1``).
        unsigned_store: ``s2_sel = 1``: min(code, 255) & 255, so negatives wrap; later steps read int8.
        shift: the post-adder shift, ``("left", num)`` or ``("right", num)``, on the unsigned byte.
        activation: ``none``, ``relu`` (with relu_gain), ``clip`` (to 0..limit) or ``table``.
        relu_gain: 1 or 2; 2 stores the byte 0..254.
        limit: highest code of ``clip``, 0..255.
        table: [256] or [1024] int8 or uint8, for ``table``.

    Returns:
        [frames, out] the stored bytes, uint8; view them as int8 for signed codes.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, or a register value that does not exist.

    Source: docs/spec/array_round.md; measured on the C-model (94 recorded cases in the tests).

    >>> import numpy as np
    >>> from bittwin import cmodel
    >>> x, w = np.array([[255, 255]], np.uint8), np.array([[127, 127], [-9, 0]], np.int8)
    >>> rows = np.zeros((1, 2), np.int8)
    >>> cmodel.array_round(x, w, rows, gain=256).view(np.int8)
    array([[127,  -9]], dtype=int8)
    """
    choice("activation", activation, ACTIVATIONS)
    rows = dense_array("bias_rows", bias_rows, ("int8", "int16"), 2)
    bias = (128 * rows.astype(np.int64).sum(axis=0)).astype(np.int32)
    driven = dac(x, input_format=input_format, invert=invert, doubled=doubled)
    acc = accumulate(driven, weight, bias, overflow="wrap32", x_bits=9)
    store = "wrap_u8" if unsigned_store else "saturate"
    rule = readout(gain, overflow="wrap16", store=store)
    byte = requantize(acc, rule, high=high).view(np.uint8)
    if shift is not None:
        direction = choice("shift direction", shift[0], ("left", "right"))
        num = integer("shift num", shift[1], 0, 7)
        byte = _core.post_adder_shift(byte, direction == "right", num)
    return _activate(byte.view(np.int8), activation, relu_gain, limit, table).view(np.uint8)


def _activate(
    code: NDArray[np.int8],
    activation: str,
    relu_gain: int,
    limit: int,
    table: NDArray[Any] | None,
) -> NDArray[Any]:
    if activation == "relu":
        return relu(code, relu_gain)
    if activation == "clip":
        return clip(code, limit)
    if activation == "table":
        if table is None:
            raise ValueError("table: found None, activation 'table' wants 256 or 1024 entries")
        return lookup(code, table)
    return code
