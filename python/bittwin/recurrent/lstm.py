# SPDX-License-Identifier: Apache-2.0
"""The chip's LSTM (docs/spec/recurrent.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin._check import choice, integer
from bittwin.recurrent.cell import CLEAN_LIMIT, Cell, Frame, Values
from bittwin.recurrent.rules import (
    PRODUCT_OVERFLOWS,
    Product16,
    Readout,
    Shift,
    Table,
    products,
    shift_list,
)
from bittwin.requant import ROUNDINGS, Requant


@dataclass(frozen=True, eq=False)
class LstmCell(Cell):
    """One LSTM layer on the array and the chip's digital units.

    ::

        v       = [x_t, h_{t-1}]                                    x first
        i, f, o = sigmoid_table[ requant_gates(weight_gates v + bias_gates) ]       rows i | f | o
        n       = tanh_table[ requant_candidate(weight_candidate v + bias_candidate) ]
        fc, ic  = SHIFT(f * c_{t-1}, s[0]), SHIFT(i * n, s[1])      16 bits
        c_t     = saturate(SHIFT(fc + ic, s[2]))                    int8
        h_t     = saturate(SHIFT(o * state_table[c_t], s[3]))       int8

    Args:
        weight_gates: [3 * hidden, inputs + hidden] int8 or int16.
        weight_candidate: [hidden, inputs + hidden] int8 or int16.
        bias_gates: [3 * hidden] int32 in accumulator units, or None.
        bias_candidate: [hidden] int32, or None.
        requant_gates: the gates' rule, such as ``readout(2048)``; int8 codes.
        requant_candidate: the candidate's rule.
        sigmoid_table: [256] or [1024] int8 or uint8, of the gates.
        tanh_table: [256] or [1024], of the candidate.
        state_table: [256] or [1024], of c_t.
        shift_bits: two numbers (s[2], s[3]), or four; negative divides, half up.
        clean_after: the vendor's ``clean_ctht``: h and c are set to 0 after this many frames; 0: never.
        product_overflow: what 16 bits do to a product that s[0] or s[1] > 0 make too large: ``wrap16`` (the
            C-model's multiplier) or ``saturate16``. Without such a shift nothing can overflow.
        rounding: of every right shift; half up is measured.
        cmodel: h = -128 is fed back as -127, as the C-model does.
        x_bits: width of the input codes, 1..12.
        overflow: ``refuse`` or ``wrap32``, see `bittwin.accumulate`.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, an impossible option, an accumulator that may overflow.

    Source: docs/spec/recurrent.md; equal on 250 frames of a vendor trace with all internals, and on the
        recorded LSTM cases of the C-model.

    >>> import numpy as np, bittwin
    >>> from bittwin.recurrent import LstmCell
    >>> half = np.full(256, 64, np.int8)            # every gate is one half
    >>> line = np.arange(256, dtype=np.uint8).view(np.int8)
    >>> cell = LstmCell(np.zeros((3, 2), np.int8), np.array([[64, 0]], np.int8), None, None,
    ...                 bittwin.readout(256), bittwin.readout(256), half, line, line)
    >>> y, state = cell.run(np.full((4, 1), 200, np.uint8))
    >>> y[:, 0].tolist(), [int(v.item()) for v in state]
    ([13, 19, 22, 24], [24, 47, 0])
    """

    weight_gates: NDArray[Any]
    weight_candidate: NDArray[Any]
    bias_gates: NDArray[np.int32] | None
    bias_candidate: NDArray[np.int32] | None
    requant_gates: Requant
    requant_candidate: Requant
    sigmoid_table: NDArray[Any]
    tanh_table: NDArray[Any]
    state_table: NDArray[Any]
    shift_bits: tuple[int, ...] = (-7, -7)
    clean_after: int = 0
    product_overflow: str = "wrap16"
    rounding: str = "half_up"
    cmodel: bool = False

    array_fields: ClassVar[tuple[str, ...]] = (
        "weight_gates",
        "weight_candidate",
        "bias_gates",
        "bias_candidate",
        "sigmoid_table",
        "tanh_table",
        "state_table",
    )
    state_names: ClassVar[tuple[str, ...]] = ("h", "c")
    internal_names: ClassVar[tuple[str, ...]] = (
        "h",
        "c",
        "gates",
        "candidate",
        "i",
        "f",
        "o",
        "n",
        "fc",
        "ic",
        "c_sum",
        "c_tanh",
    )

    def __post_init__(self) -> None:
        candidate = self._weight("weight_candidate")
        hidden, rows = candidate.shape
        gates = self._weight("weight_gates", 3 * hidden)
        if gates.shape[1] != rows or rows < hidden:
            raise ValueError(
                f"weight_gates: found shape {gates.shape} beside weight_candidate {candidate.shape}, "
                "wanted [3 * hidden, inputs + hidden] beside [hidden, inputs + hidden]"
            )
        self._bias("bias_gates", 3 * hidden)
        self._bias("bias_candidate", hidden)
        readouts = (
            Readout("requant_gates", self.requant_gates, 3 * hidden),
            Readout("requant_candidate", self.requant_candidate, hidden),
        )
        integer("clean_after", self.clean_after, 0, CLEAN_LIMIT)
        choice("rounding", self.rounding, ROUNDINGS)
        choice("product_overflow", self.product_overflow, PRODUCT_OVERFLOWS)
        if not isinstance(self.cmodel, bool):
            raise TypeError(f"cmodel: found {self.cmodel!r}, wanted True or False")
        shifts = shift_list(self.shift_bits, (2, 4))
        object.__setattr__(self, "shift_bits", shifts)
        tables = [
            Table(n, getattr(self, n)) for n in ("sigmoid_table", "tanh_table", "state_table")
        ]
        for name, table in zip(self.array_fields[4:], tables, strict=True):
            object.__setattr__(self, name, table.entries)
        self._prove()
        s0, s1, s2, s3 = shifts if len(shifts) == 4 else (0, 0, *shifts)
        sigmoid, tanh, _ = tables
        kind, rounding = self.product_overflow, self.rounding
        ready = (
            *readouts,
            *tables,
            Product16(s0, sigmoid.largest * 128, kind, rounding),
            Product16(s1, sigmoid.largest * tanh.largest, kind, rounding),
            Shift(s2, -128, 127, rounding),
            Shift(s3, -128, 127, rounding),
        )
        object.__setattr__(self, "_ready", ready)

    @property
    def inputs(self) -> int:
        """Codes of one input frame."""
        return int(self.weight_candidate.shape[1] - self.hidden)

    @property
    def hidden(self) -> int:
        """Codes of one output frame."""
        return int(self.weight_candidate.shape[0])

    def matrices(self) -> dict[str, tuple[NDArray[Any], NDArray[np.int32] | None]]:
        """Gates and candidate."""
        return {
            "weight_gates": (self.weight_gates, self.bias_gates),
            "weight_candidate": (self.weight_candidate, self.bias_candidate),
        }

    def _frames(self, x: NDArray[Any]) -> Frame:
        inputs, hidden = self.inputs, self.hidden
        gates = 3 * hidden

        def all_rows() -> NDArray[Any]:  # one product instead of two: the rows see the same codes
            return np.concatenate([self.weight_gates, self.weight_candidate])

        of_x = self._packed("x", lambda: all_rows()[:, :inputs])
        of_h = self._packed("h", lambda: all_rows()[:, inputs:])
        bias = np.zeros(gates + hidden, np.int32)
        if self.bias_gates is not None:
            bias[:gates] = self.bias_gates
        if self.bias_candidate is not None:
            bias[gates:] = self.bias_candidate
        fixed = products(x, of_x, bias, self.x_bits)
        to_gates, to_candidate, sigmoid, tanh, state, forget, take, to_c, to_h = self.__dict__[
            "_ready"
        ]
        cmodel = self.cmodel

        def frame(t: int, h: NDArray[np.int8], c: NDArray[np.int8]) -> Values:
            acc = products(np.maximum(h, -127) if cmodel else h, of_h, None, 8)
            acc += fixed[t]
            g = to_gates(acc[:gates])
            q = to_candidate(acc[gates:])
            gated = sigmoid(g)
            i, f, o = gated[:hidden], gated[hidden : 2 * hidden], gated[2 * hidden :]
            n = tanh(q)
            fc, ic = forget(f * c), take(i * n)
            total = np.add(fc, ic, dtype=np.int32)
            c = to_c(total)
            c_tanh = state(c)
            return to_h(o * c_tanh), c, g, q, i, f, o, n, fc, ic, total, c_tanh

        return frame
