# SPDX-License-Identifier: Apache-2.0
"""The chip's GRU whose candidate has two products (docs/spec/recurrent.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin.recurrent.blend import Blend
from bittwin.recurrent.cell import Cell, Frame, Values
from bittwin.recurrent.gru_options import check_options, parts, reset_and_table
from bittwin.recurrent.rules import Readout, Table, products, shift_list
from bittwin.requant import Requant


@dataclass(frozen=True, eq=False)
class GruNewCell(Cell):
    """The GRU with seven operands: the candidate's halves have products of their own.

    ::

        z, r = sigmoid_table[ requant_gates(weight_gates [h_{t-1}, x_t] + bias_gates) ]      rows z | r
        b    = requant_hidden(weight_hidden h_{t-1} + bias_hidden)
        n    = tanh_table[ requant_input(weight_input x_t + bias_input) + SHIFT(r * b, s[0]) ]
        h_t  = saturate(SHIFT((ones - z) * n + z * h_{t-1}, s[1]))

    Args:
        weight_gates: [2 * hidden, hidden + inputs] int8 or int16, columns as `row_order` says.
        weight_hidden: [hidden, hidden].
        weight_input: [hidden, inputs].
        bias_gates: [2 * hidden] int32 in accumulator units, or None.
        bias_hidden: [hidden] int32, or None.
        bias_input: [hidden] int32, or None.
        requant_gates: the gates' rule, such as ``readout(2048)``; int8 codes.
        requant_hidden: the rule of the hidden half of the candidate.
        requant_input: the rule of its input half.
        sigmoid_table: [256] or [1024] int8 or uint8.
        tanh_table: [256] or [1024], read at a sum: see sum_bits.
        shift_bits: two numbers; negative divides.
        ones: the code of 1 in ``ones - z``, 0..255.
        clean_after: h is set to 0 after this many frames; 0: never.
        row_order: ``hx`` or ``xh``: what comes first in the gates' product.
        blend: ``torch``: as above; ``manual``: ``(ones - z) * h_{t-1} + z * n``.
        rounding: of the shift of r * b.
        blend_rounding: of the shift of the blended sum.
        lowest: the lowest code of h, -127 or -128.
        sum_bits: 9: a 1024-entry table is read at the whole sum; 8: the sum saturates to int8 first.
        x_bits: width of the input codes, 1..12.
        overflow: ``refuse`` or ``wrap32``, see `bittwin.accumulate`.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, an impossible option, an accumulator that may overflow.

    Source: docs/spec/recurrent.md: inferred from the operands' shapes and from Gru2Array's trace.
    """

    weight_gates: NDArray[Any]
    weight_hidden: NDArray[Any]
    weight_input: NDArray[Any]
    bias_gates: NDArray[np.int32] | None
    bias_hidden: NDArray[np.int32] | None
    bias_input: NDArray[np.int32] | None
    requant_gates: Requant
    requant_hidden: Requant
    requant_input: Requant
    sigmoid_table: NDArray[Any]
    tanh_table: NDArray[Any]
    shift_bits: tuple[int, ...] = (-7, -7)
    ones: int = 127
    clean_after: int = 0
    row_order: str = "hx"
    blend: str = "torch"
    rounding: str = "half_up"
    blend_rounding: str = "half_down"
    lowest: int = -127
    sum_bits: int = 9

    array_fields: ClassVar[tuple[str, ...]] = (
        "weight_gates",
        "weight_hidden",
        "weight_input",
        "bias_gates",
        "bias_hidden",
        "bias_input",
        "sigmoid_table",
        "tanh_table",
    )
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    internal_names: ClassVar[tuple[str, ...]] = (
        "h",
        "gates",
        "hidden",
        "input",
        "z",
        "r",
        "rb",
        "n",
        "h_sum",
    )

    def __post_init__(self) -> None:
        of_input = self._weight("weight_input")
        hidden, inputs = of_input.shape
        gates = self._weight("weight_gates", 2 * hidden)
        of_hidden = self._weight("weight_hidden", hidden)
        if gates.shape[1] != hidden + inputs or of_hidden.shape[1] != hidden:
            raise ValueError(
                f"weight_gates, weight_hidden: found shapes {gates.shape} and {of_hidden.shape} beside "
                f"weight_input {of_input.shape}, wanted [2 * hidden, hidden + inputs] and "
                "[hidden, hidden] beside [hidden, inputs]"
            )
        readouts = []
        for name, columns in (("gates", 2 * hidden), ("hidden", hidden), ("input", hidden)):
            self._bias(f"bias_{name}", columns)
            rule = f"requant_{name}"
            readouts.append(Readout(rule, getattr(self, rule), columns))
        check_options(self)
        shifts = shift_list(self.shift_bits, (2,))
        object.__setattr__(self, "shift_bits", shifts)
        sigmoid = Table("sigmoid_table", self.sigmoid_table)
        reset, tanh = reset_and_table(self, shifts[0], sigmoid.largest, 128)
        object.__setattr__(self, "sigmoid_table", sigmoid.entries)
        object.__setattr__(self, "tanh_table", tanh.entries)
        self._prove()
        mix = Blend(self.blend, self.ones, (shifts[1], 0, 0), self.lowest, self.blend_rounding)
        object.__setattr__(self, "_ready", (*readouts, sigmoid, tanh, reset, mix))

    @property
    def inputs(self) -> int:
        """Codes of one input frame."""
        return int(self.weight_input.shape[1])

    @property
    def hidden(self) -> int:
        """Codes of one output frame."""
        return int(self.weight_input.shape[0])

    def matrices(self) -> dict[str, tuple[NDArray[Any], NDArray[np.int32] | None]]:
        """Gates, and both halves of the candidate."""
        return {
            "weight_gates": (self.weight_gates, self.bias_gates),
            "weight_hidden": (self.weight_hidden, self.bias_hidden),
            "weight_input": (self.weight_input, self.bias_input),
        }

    def _frames(self, x: NDArray[Any]) -> Frame:
        hidden = self.hidden
        gates = 2 * hidden
        of_h, of_x = parts(self.row_order, hidden, self.inputs)
        gates_x = self._packed("gates_x", lambda: self.weight_gates[:, of_x])
        all_h = self._packed(
            "all_h", lambda: np.concatenate([self.weight_gates[:, of_h], self.weight_hidden])
        )
        input_x = self._packed("input_x", lambda: self.weight_input)
        to_gates, to_b, to_a, sigmoid, tanh, reset, mix = self.__dict__["_ready"]
        a = to_a(products(x, input_x, self.bias_input, self.x_bits))
        fixed = np.zeros((x.shape[0], 3 * hidden), np.int32)
        fixed[:, :gates] = products(x, gates_x, self.bias_gates, self.x_bits)
        if self.bias_hidden is not None:
            fixed[:, gates:] = self.bias_hidden

        def frame(t: int, h: NDArray[np.int8]) -> Values:
            acc = products(h, all_h, None, 8)
            acc += fixed[t]
            g = to_gates(acc[:gates])
            b = to_b(acc[gates:])
            gated = sigmoid(g)
            z, r = gated[:hidden], gated[hidden:]
            rb = reset(r * b)
            n = tanh(np.add(a[t], rb, dtype=np.int32))
            total = mix.sum(z, n, h)
            return mix.code(total), g, b, a[t], z, r, rb, n, total

        return frame
