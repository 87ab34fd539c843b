# SPDX-License-Identifier: Apache-2.0
"""The chip's GRU with one product for the input and one for the state (docs/spec/recurrent.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, integer
from bittwin.recurrent.blend import Blend
from bittwin.recurrent.cell import Cell, Frame, Values
from bittwin.recurrent.gru_options import check_options, reset_and_table
from bittwin.recurrent.rules import (
    SHIFT_LIMITS,
    Readout,
    Shift,
    SumTable,
    Table,
    products,
    shift_list,
)
from bittwin.requant import Requant

HIDDEN_OVERFLOWS = ("saturate", "exact")


@dataclass(frozen=True, eq=False)
class Gru2ArrayCell(Cell):
    """The GRU of two products, as PyTorch writes it.

    ::

        a = requant_input(weight_input x_t + bias_input)                     rows z | r | n
        b = SHIFT(requant_hidden(weight_hidden h_{t-1} + bias_hidden), hidden_shift)
        z = sigmoid_table[a_z + b_z],  r = sigmoid_table[a_r + b_r]
        n = tanh_table[a_n + SHIFT(r * b_n, s[0])]
        h_t = limit(SHIFT(SHIFT((ones - z) * n, s[2]) + SHIFT(z * h_{t-1}, s[3]), s[1]), lowest, 127)

    Args:
        weight_input: [3 * hidden, inputs] int8 or int16.
        weight_hidden: [3 * hidden, hidden].
        bias_input: [3 * hidden] int32 in accumulator units, or None.
        bias_hidden: [3 * hidden] int32, or None.
        requant_input: the rule of the input's product, such as ``readout(2048)``; int8 codes.
        requant_hidden: the rule of the state's product.
        sigmoid_table: [256] or [1024] int8 or uint8, read at a sum: see sum_bits.
        tanh_table: [256] or [1024].
        shift_bits: four numbers; negative divides.
        hidden_shift: the vendor's ``hidden_shift_bit``, -15..8.
        ones: the code of 1 in ``ones - z``, 0..255.
        clean_after: the vendor's ``clean_ht``: h is set to 0 after this many frames; 0: never.
        blend: ``torch``: as above (the trace); ``manual``: ``(ones - z) * h_{t-1} + z * n``.
        rounding: of the shift of r * b_n; half up is the trace's.
        blend_rounding: of the shift of the blended sum; half down is the trace's.
        lowest: the lowest code of h; -127 is the trace's.
        sum_bits: 9 (the trace): a 1024-entry table is read at the whole sum; 8: it saturates to int8 first,
            as it always does before a 256-entry table.
        hidden_overflow: what hidden_shift > 0 may do to b: ``saturate`` to int8, or ``exact``.
        x_bits: width of the input codes, 1..12.
        overflow: ``refuse`` or ``wrap32``, see `bittwin.accumulate`.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, an impossible option, an accumulator that may overflow.

    Source: docs/spec/recurrent.md; equal on 250 frames of a vendor trace with shift_bits (-7, -7, 0, 0).

    >>> import numpy as np, bittwin
    >>> from bittwin.recurrent import Gru2ArrayCell
    >>> half = np.full(1024, 64, np.int8)
    >>> line = np.clip(np.arange(1024) // 2, 0, 127).astype(np.int8)   # reads the sum itself
    >>> cell = Gru2ArrayCell(np.array([[0], [0], [64]], np.int8), np.zeros((3, 1), np.int8), None, None,
    ...                      bittwin.readout(256), bittwin.readout(256), half, line)
    >>> cell.run(np.full((4, 1), 200, np.uint8))[0][:, 0].tolist()
    [25, 37, 43, 46]
    """

    weight_input: NDArray[Any]
    weight_hidden: NDArray[Any]
    bias_input: NDArray[np.int32] | None
    bias_hidden: NDArray[np.int32] | None
    requant_input: Requant
    requant_hidden: Requant
    sigmoid_table: NDArray[Any]
    tanh_table: NDArray[Any]
    shift_bits: tuple[int, ...] = (-7, -7, 0, 0)
    hidden_shift: int = 0
    ones: int = 128
    clean_after: int = 0
    blend: str = "torch"
    rounding: str = "half_up"
    blend_rounding: str = "half_down"
    lowest: int = -127
    sum_bits: int = 9
    hidden_overflow: str = "saturate"

    array_fields: ClassVar[tuple[str, ...]] = (
        "weight_input",
        "weight_hidden",
        "bias_input",
        "bias_hidden",
        "sigmoid_table",
        "tanh_table",
    )
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    internal_names: ClassVar[tuple[str, ...]] = (
        "h",
        "input",
        "hidden",
        "z",
        "r",
        "rb",
        "n",
        "h_sum",
    )

    def __post_init__(self) -> None:
        of_input = self._weight("weight_input")
        columns = of_input.shape[0]
        of_hidden = self._weight("weight_hidden", columns)
        if columns != 3 * of_hidden.shape[1]:
            raise ValueError(
                f"weight_input, weight_hidden: found shapes {of_input.shape} and {of_hidden.shape}, "
                "wanted [3 * hidden, inputs] and [3 * hidden, hidden]"
            )
        readouts = []
        for name in ("input", "hidden"):
            self._bias(f"bias_{name}", columns)
            rule = f"requant_{name}"
            readouts.append(Readout(rule, getattr(self, rule), columns))
        check_options(self)
        shifts = shift_list(self.shift_bits, (4,))
        object.__setattr__(self, "shift_bits", shifts)
        extra = integer("hidden_shift", self.hidden_shift, *SHIFT_LIMITS)
        choice("hidden_overflow", self.hidden_overflow, HIDDEN_OVERFLOWS)
        limit = 1 << 15 if self.hidden_overflow == "exact" else 128
        shift_b = Shift(extra, -limit, limit - 1, self.rounding) if extra else None
        largest = min(128 << max(extra, 0), limit)
        gate = Table("sigmoid_table", self.sigmoid_table)
        sigmoid = SumTable("sigmoid_table", gate.entries, 128 + largest, self.sum_bits)
        reset, tanh = reset_and_table(self, shifts[0], gate.largest, largest)
        object.__setattr__(self, "sigmoid_table", sigmoid.entries)
        object.__setattr__(self, "tanh_table", tanh.entries)
        self._prove()
        outer, first, second = shifts[1], shifts[2], shifts[3]
        mix = Blend(self.blend, self.ones, (outer, first, second), self.lowest, self.blend_rounding)
        object.__setattr__(self, "_ready", (*readouts, shift_b, sigmoid, tanh, reset, mix))

    @property
    def inputs(self) -> int:
        """Codes of one input frame."""
        return int(self.weight_input.shape[1])

    @property
    def hidden(self) -> int:
        """Codes of one output frame."""
        return int(self.weight_hidden.shape[1])

    def matrices(self) -> dict[str, tuple[NDArray[Any], NDArray[np.int32] | None]]:
        """The products of the input and of the state."""
        return {
            "weight_input": (self.weight_input, self.bias_input),
            "weight_hidden": (self.weight_hidden, self.bias_hidden),
        }

    def _frames(self, x: NDArray[Any]) -> Frame:
        hidden = self.hidden
        gates = 2 * hidden
        input_x = self._packed("x", lambda: self.weight_input)
        hidden_h = self._packed("h", lambda: self.weight_hidden)
        # Nothing of the input's product needs the state: all frames at once, codes included.
        to_a, to_b, shift_b, sigmoid, tanh, reset, mix = self.__dict__["_ready"]
        a = to_a(products(x, input_x, self.bias_input, self.x_bits))
        wide = a.astype(np.int32)

        def frame(t: int, h: NDArray[np.int8]) -> Values:
            b = to_b(products(h, hidden_h, self.bias_hidden, 8))
            if shift_b is not None:
                b = shift_b(b.astype(np.int32))
            at = wide[t]
            gated = sigmoid(at[:gates] + b[:gates])
            z, r = gated[:hidden], gated[hidden:]
            rb = reset(r * b[gates:])
            n = tanh(at[gates:] + rb)
            total = mix.sum(z, n, h)
            return mix.code(total), a[t], b, z, r, rb, n, total

        return frame
