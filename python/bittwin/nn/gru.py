# SPDX-License-Identifier: Apache-2.0
"""The chip's three GRU forms, trained on their own equations, as `bittwin.nn.lstm`."""

from __future__ import annotations

import torch
from torch import Tensor

from bittwin import recurrent
from bittwin._check import integer
from bittwin.nn.config import QATConfig
from bittwin.nn.digital.cells import (
    BLEND_LIMITS,
    INT8,
    STATE_UNITS,
    RecurrentCell,
    State,
    integer_fields,
)
from bittwin.nn.digital.quantizers import over
from bittwin.nn.digital.tables import ActivationTable


class GRUCell(RecurrentCell):
    """One step of the chip's GRU with five operands (the reset gate acts on h before its product).

    Args:
        inputs: size of a frame.
        hidden: size of the state.
        bias: whether the products have one.
        config: for the products, see `LSTMCell`.
        codes_per_unit_x: input codes per real unit, a power of two.
        gain_gates: of the gates' product of [h, x] to z | r.
        gain_candidate: of the candidate's product of [rh, x].
        sigmoid_table: default 256 entries, 5 fraction bits.
        tanh_table: default 256 entries, 7.
        shift_bits: of r * h and of the blended sum.
        ones: the code of 1 in ``ones - z``.

    Source: docs/spec/recurrent.md; the equations are documented, the roundings inferred.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        bias: bool = True,
        *,
        config: QATConfig | None = None,
        codes_per_unit_x: float = STATE_UNITS,
        gain_gates: int = 2048,
        gain_candidate: int = 1024,
        sigmoid_table: ActivationTable | None = None,
        tanh_table: ActivationTable | None = None,
        shift_bits: tuple[int, int] = (-7, -7),
        ones: int = 127,
    ) -> None:
        super().__init__(inputs, hidden, config, codes_per_unit_x)
        self._factor = self.joined_scale()
        self.sigmoid_table = sigmoid_table or ActivationTable("sigmoid", 5)
        self.tanh_table = tanh_table or ActivationTable("tanh", 7)
        self.shift_bits = shift_bits
        self.ones = integer("ones", ones, 0, 255)
        units = STATE_UNITS, self.sigmoid_table.codes_per_unit
        self.gates = self.product(hidden + inputs, 2 * hidden, bias, units, gain_gates)
        units = STATE_UNITS, self.tanh_table.codes_per_unit
        self.candidate = self.product(hidden + inputs, hidden, bias, units, gain_candidate)

    def advance(self, x: Tensor, state: State) -> State:
        """One frame: (h,) after it."""
        scaled, old = x * self._factor, state[0]
        h = old * STATE_UNITS
        gates = self.gates(torch.cat((old, scaled), -1)) * self.sigmoid_table.codes_per_unit
        z, r = self.read(self.sigmoid_table, gates).chunk(2, -1)
        rh = over(self.shift(r * h, self.shift_bits[0], INT8), STATE_UNITS)
        q = self.candidate(torch.cat((rh, scaled), -1)) * self.tanh_table.codes_per_unit
        n = self.read(self.tanh_table, q)
        blended = self.shift((self.ones - z) * h + z * n, self.shift_bits[1], INT8)
        return (over(blended, STATE_UNITS),)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """[..., inputs] and h to the next h; default state: zeros."""
        return self.advance(x, self.checked(x, state))[0]

    def integer_cell(self) -> recurrent.GruCell:
        """`bittwin.recurrent.GruCell` of these integers."""
        return recurrent.GruCell(
            **integer_fields(gates=self.gates, candidate=self.candidate),
            sigmoid_table=self.sigmoid_table.entries,
            tanh_table=self.tanh_table.entries,
            shift_bits=self.shift_bits,
            ones=self.ones,
        )


class GruNewCell(RecurrentCell):
    """One step of the chip's GRU with seven operands (the reset gate acts behind the state's product).

    Args:
        inputs: size of a frame.
        hidden: size of the state.
        bias: whether the products have one.
        config: for the products, see `LSTMCell`.
        codes_per_unit_x: input codes per real unit, a power of two.
        gain_gates: of the gates' product of [h, x] to z | r.
        gain_hidden: of the state's half of the candidate.
        gain_input: of the input's half.
        sigmoid_table: default 256 entries, 5 fraction bits.
        tanh_table: read at a sum; default 1024 entries, 5.
        shift_bits: of r * b and of the blended sum.
        ones: the code of 1 in ``ones - z``.

    Source: docs/spec/recurrent.md; inferred from the operands' shapes.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        bias: bool = True,
        *,
        config: QATConfig | None = None,
        codes_per_unit_x: float = STATE_UNITS,
        gain_gates: int = 2048,
        gain_hidden: int = 2048,
        gain_input: int = 2048,
        sigmoid_table: ActivationTable | None = None,
        tanh_table: ActivationTable | None = None,
        shift_bits: tuple[int, int] = (-7, -7),
        ones: int = 127,
    ) -> None:
        super().__init__(inputs, hidden, config, codes_per_unit_x)
        self._factor = self.joined_scale()
        self.sigmoid_table = sigmoid_table or ActivationTable("sigmoid", 5)
        self.tanh_table = tanh_table or ActivationTable("tanh", 5, 1024)
        self.shift_bits = shift_bits
        self.ones = integer("ones", ones, 0, 255)
        units = STATE_UNITS, self.sigmoid_table.codes_per_unit
        self.gates = self.product(hidden + inputs, 2 * hidden, bias, units, gain_gates)
        y = self.tanh_table.codes_per_unit
        self.of_hidden = self.product(hidden, hidden, bias, (STATE_UNITS, y), gain_hidden)
        self.of_input = self.product(inputs, hidden, bias, (self.codes_per_unit_x, y), gain_input)

    def advance(self, x: Tensor, state: State) -> State:
        """One frame: (h,) after it."""
        old = state[0]
        gates = self.gates(torch.cat((old, x * self._factor), -1))
        z, r = self.read(self.sigmoid_table, gates * self.sigmoid_table.codes_per_unit).chunk(2, -1)
        units = self.tanh_table.codes_per_unit
        rb = self.shift(r * (self.of_hidden(old) * units), self.shift_bits[0])
        n = self.read(self.tanh_table, self.of_input(x) * units + rb)
        total = (self.ones - z) * n + z * (old * STATE_UNITS)
        h = self.shift(total, self.shift_bits[1], BLEND_LIMITS, "half_down")
        return (over(h, STATE_UNITS),)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """[..., inputs] and h to the next h; default state: zeros."""
        return self.advance(x, self.checked(x, state))[0]

    def integer_cell(self) -> recurrent.GruNewCell:
        """`bittwin.recurrent.GruNewCell` of these integers."""
        return recurrent.GruNewCell(
            **integer_fields(gates=self.gates, hidden=self.of_hidden, input=self.of_input),
            sigmoid_table=self.sigmoid_table.entries,
            tanh_table=self.tanh_table.entries,
            shift_bits=self.shift_bits,
            ones=self.ones,
        )


class Gru2ArrayCell(RecurrentCell):
    """One step of the chip's GRU of two products, PyTorch's equations.

    Args:
        inputs: size of a frame.
        hidden: size of the state.
        bias: whether the products have one.
        config: for the products, see `LSTMCell`.
        codes_per_unit_x: input codes per real unit.
        gain_input: of the input's product to z | r | n.
        gain_hidden: of the state's product.
        sigmoid_table: read at sums; default 1024 entries, 5 fraction bits.
        tanh_table: read at sums; default 1024 entries, 5.
        shift_bits: four, of r * b and of the blend: sum, first and second product.
        hidden_shift: of the state's product, saturated to int8.
        ones: the code of 1 in ``ones - z``.

    Source: docs/spec/recurrent.md; the defaults equal a vendor trace on every frame.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        bias: bool = True,
        *,
        config: QATConfig | None = None,
        codes_per_unit_x: float = STATE_UNITS,
        gain_input: int = 2048,
        gain_hidden: int = 2048,
        sigmoid_table: ActivationTable | None = None,
        tanh_table: ActivationTable | None = None,
        shift_bits: tuple[int, int, int, int] = (-7, -7, 0, 0),
        hidden_shift: int = 0,
        ones: int = 128,
    ) -> None:
        super().__init__(inputs, hidden, config, codes_per_unit_x)
        self.sigmoid_table = sigmoid_table or ActivationTable("sigmoid", 5, 1024)
        self.tanh_table = tanh_table or ActivationTable("tanh", 5, 1024)
        self.shift_bits = shift_bits
        self.hidden_shift = hidden_shift
        self.ones = integer("ones", ones, 0, 255)
        y = self.sigmoid_table.codes_per_unit
        x_units = self.codes_per_unit_x
        self.of_input = self.product(inputs, 3 * hidden, bias, (x_units, y), gain_input)
        self.of_hidden = self.product(hidden, 3 * hidden, bias, (STATE_UNITS, y), gain_hidden)

    def input_codes(self, x: Tensor) -> Tensor:
        """The input's product, which needs no state: all frames at once, if you like."""
        codes: Tensor = self.of_input(x) * self.sigmoid_table.codes_per_unit
        return codes

    def advance(self, x: Tensor, state: State) -> State:
        """One frame: (h,) after it."""
        return (self.blend(self.input_codes(x), state[0]),)

    def blend(self, a: Tensor, old: Tensor) -> Tensor:
        """The next h of the input's product and the old h."""
        b = self.of_hidden(old) * self.sigmoid_table.codes_per_unit
        if self.hidden_shift:
            b = self.shift(b, self.hidden_shift, INT8)
        (a_z, a_r, a_n), (b_z, b_r, b_n) = a.chunk(3, -1), b.chunk(3, -1)
        z = self.read(self.sigmoid_table, a_z + b_z)
        r = self.read(self.sigmoid_table, a_r + b_r)
        reset, outer, first, second = self.shift_bits
        n = self.read(self.tanh_table, a_n + self.shift(r * b_n, reset))
        kept = self.shift((self.ones - z) * n, first)
        taken = self.shift(z * (old * STATE_UNITS), second)
        h = self.shift(kept + taken, outer, BLEND_LIMITS, "half_down")
        return over(h, STATE_UNITS)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """[..., inputs] and h to the next h; default state: zeros."""
        return self.advance(x, self.checked(x, state))[0]

    def integer_cell(self) -> recurrent.Gru2ArrayCell:
        """`bittwin.recurrent.Gru2ArrayCell` of these integers."""
        return recurrent.Gru2ArrayCell(
            **integer_fields(input=self.of_input, hidden=self.of_hidden),
            sigmoid_table=self.sigmoid_table.entries,
            tanh_table=self.tanh_table.entries,
            shift_bits=self.shift_bits,
            hidden_shift=self.hidden_shift,
            ones=self.ones,
        )
