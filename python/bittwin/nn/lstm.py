# SPDX-License-Identifier: Apache-2.0
"""The LSTM trained on the chip's own equations: the forward codes are `bittwin.recurrent`'s, bit for bit.

Array products run through `bittwin.nn.Linear`, so through the same kernels as every other layer; tables and
shifts pass straight-through gradients (docs/spec/digital_training.md, "Recurrent cells"). States are real
values of int8 codes, 128 codes per unit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bittwin import recurrent
from bittwin.nn.config import QATConfig
from bittwin.nn.digital.cells import (
    INT8,
    STATE_UNITS,
    RecurrentCell,
    State,
    integer_fields,
)
from bittwin.nn.digital.quantizers import over, signed
from bittwin.nn.digital.tables import ActivationTable


class LSTMCell(RecurrentCell):
    """One step of the chip's LSTM.

    Its `gates` is a `Linear` of [x, h] to i | f | o, its `candidate` one of [x, h]. Their weights have
    gain * (codes per unit of the table) / 128 codes per unit: by default they reach 0.25 and 0.125.

    Args:
        inputs: size of a frame.
        hidden: size of the state.
        bias: whether the products have one.
        config: for the products: mode, rounding, weight_bits, bias_rows, noise; x and y have 8 bits and the
            input is signed, whatever the config says of negative_input.
        codes_per_unit_x: input codes per real unit, a power of two.
        gain_gates: of the gates' product, accumulator units per code.
        gain_candidate: of the candidate's product.
        sigmoid_table: of the gates; default 256 entries, 5 fraction bits.
        tanh_table: of the candidate; default 256 entries, 7.
        state_table: of c; default tanh, 256 entries, 7.
        shift_bits: of fc, ic, c and h; negative divides, half up.

    Source: docs/spec/recurrent.md.

    >>> import torch
    >>> from bittwin.nn import LSTMCell
    >>> h, c = LSTMCell(3, 2)(torch.zeros(5, 3))
    >>> h.shape, bool((h * 128 == (h * 128).round()).all())
    (torch.Size([5, 2]), True)
    """

    states = 2

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
        state_table: ActivationTable | None = None,
        shift_bits: tuple[int, int, int, int] = (0, 0, -7, -7),
    ) -> None:
        super().__init__(inputs, hidden, config, codes_per_unit_x)
        self._factor = self.joined_scale()
        self.sigmoid_table = sigmoid_table or ActivationTable("sigmoid", 5)
        self.tanh_table = tanh_table or ActivationTable("tanh", 7)
        self.state_table = state_table or ActivationTable("tanh", 7)
        self.shift_bits = shift_bits
        rows = inputs + hidden
        units = STATE_UNITS, self.sigmoid_table.codes_per_unit
        self.gates = self.product(rows, 3 * hidden, bias, units, gain_gates)
        units = STATE_UNITS, self.tanh_table.codes_per_unit
        self.candidate = self.product(rows, hidden, bias, units, gain_candidate)

    def advance(self, x: Tensor, state: State) -> State:
        """One frame: (h, c) after it."""
        v = torch.cat((x * self._factor, state[0]), -1)
        c = state[1] * STATE_UNITS
        gates = self.read(self.sigmoid_table, self.gates(v) * self.sigmoid_table.codes_per_unit)
        i, f, o = gates.chunk(3, -1)
        n = self.read(self.tanh_table, self.candidate(v) * self.tanh_table.codes_per_unit)
        s0, s1, s2, s3 = self.shift_bits
        word = signed(16)
        kept, taken = self.shift(f * c, s0, word), self.shift(i * n, s1, word)
        c = self.shift(kept + taken, s2, INT8)
        h = self.shift(o * self.read(self.state_table, c), s3, INT8)
        return over(h, STATE_UNITS), over(c, STATE_UNITS)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> State:
        """[..., inputs] and (h, c) to the next (h, c); default state: zeros."""
        return self.advance(x, self.checked(x, state))

    def integer_cell(self) -> recurrent.LstmCell:
        """`bittwin.recurrent.LstmCell` of these integers."""
        return recurrent.LstmCell(
            **integer_fields(gates=self.gates, candidate=self.candidate),
            sigmoid_table=self.sigmoid_table.entries,
            tanh_table=self.tanh_table.entries,
            state_table=self.state_table.entries,
            shift_bits=self.shift_bits,
            product_overflow="saturate16",
        )
