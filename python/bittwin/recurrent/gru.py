# SPDX-License-Identifier: Apache-2.0
"""The chip's GRU with concatenated rows (docs/spec/recurrent.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin.recurrent.blend import Blend
from bittwin.recurrent.cell import Cell, Frame, Values
from bittwin.recurrent.gru_options import check_options, parts
from bittwin.recurrent.rules import Readout, Shift, Table, products, shift_list
from bittwin.requant import Requant


@dataclass(frozen=True, eq=False)
class GruCell(Cell):
    """The GRU with five operands.

    ::

        z, r = sigmoid_table[ requant_gates(weight_gates [h_{t-1}, x_t] + bias_gates) ]      rows z | r
        rh   = saturate(SHIFT(r * h_{t-1}, s[0]))                                            int8
        n    = tanh_table[ requant_candidate(weight_candidate [rh, x_t] + bias_candidate) ]
        h_t  = saturate(SHIFT((ones - z) * h_{t-1} + z * n, s[1]))                           int8

    Args:
        weight_gates: [2 * hidden, hidden + inputs] int8 or int16, columns as `row_order` says.
        weight_candidate: [hidden, hidden + inputs] int8 or int16.
        bias_gates: [2 * hidden] int32 in accumulator units, or None.
        bias_candidate: [hidden] int32, or None.
        requant_gates: the gates' rule, such as ``readout(2048)``; int8 codes.
        requant_candidate: the candidate's rule.
        sigmoid_table: [256] or [1024] int8 or uint8.
        tanh_table: [256] or [1024].
        shift_bits: two numbers; negative divides.
        ones: the code of 1 in ``ones - z``, 0..255.
        clean_after: the vendor's ``clean_ht``: h is set to 0 after this many frames; 0: never.
        row_order: ``hx`` (the manual's formula): h comes first in the product, or ``xh``.
        blend: ``manual``: as above; ``torch``: z weighs the old state, ``(ones - z) * n + z * h_{t-1}``.
        rounding: of the shift of r * h_{t-1}.
        blend_rounding: of the shift of the blended sum.
        lowest: the lowest code of h, -128 or -127.
        x_bits: width of the input codes, 1..12.
        overflow: ``refuse`` or ``wrap32``, see `bittwin.accumulate`.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, an impossible option, an accumulator that may overflow.

    Source: docs/spec/recurrent.md: equations documented, roundings inferred; no trace of this form exists.

    >>> import numpy as np, bittwin
    >>> from bittwin.recurrent import GruCell
    >>> half = np.full(256, 64, np.int8)
    >>> line = np.arange(256, dtype=np.uint8).view(np.int8)
    >>> cell = GruCell(np.zeros((2, 2), np.int8), np.array([[0, 64]], np.int8), None, None,
    ...                bittwin.readout(256), bittwin.readout(256), half, line, ones=128)
    >>> cell.run(np.full((4, 1), 200, np.uint8))[0][:, 0].tolist()
    [25, 38, 44, 47]
    """

    weight_gates: NDArray[Any]
    weight_candidate: NDArray[Any]
    bias_gates: NDArray[np.int32] | None
    bias_candidate: NDArray[np.int32] | None
    requant_gates: Requant
    requant_candidate: Requant
    sigmoid_table: NDArray[Any]
    tanh_table: NDArray[Any]
    shift_bits: tuple[int, ...] = (-7, -7)
    ones: int = 127
    clean_after: int = 0
    row_order: str = "hx"
    blend: str = "manual"
    rounding: str = "half_up"
    blend_rounding: str = "half_up"
    lowest: int = -128

    array_fields: ClassVar[tuple[str, ...]] = (
        "weight_gates",
        "weight_candidate",
        "bias_gates",
        "bias_candidate",
        "sigmoid_table",
        "tanh_table",
    )
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    internal_names: ClassVar[tuple[str, ...]] = (
        "h",
        "gates",
        "candidate",
        "z",
        "r",
        "rh",
        "n",
        "h_sum",
    )

    def __post_init__(self) -> None:
        candidate = self._weight("weight_candidate")
        hidden, rows = candidate.shape
        gates = self._weight("weight_gates", 2 * hidden)
        if gates.shape[1] != rows or rows < hidden:
            raise ValueError(
                f"weight_gates: found shape {gates.shape} beside weight_candidate {candidate.shape}, "
                "wanted [2 * hidden, hidden + inputs] beside [hidden, hidden + inputs]"
            )
        self._bias("bias_gates", 2 * hidden)
        self._bias("bias_candidate", hidden)
        readouts = (
            Readout("requant_gates", self.requant_gates, 2 * hidden),
            Readout("requant_candidate", self.requant_candidate, hidden),
        )
        check_options(self)
        shifts = shift_list(self.shift_bits, (2,))
        object.__setattr__(self, "shift_bits", shifts)
        sigmoid, tanh = (
            Table("sigmoid_table", self.sigmoid_table),
            Table("tanh_table", self.tanh_table),
        )
        object.__setattr__(self, "sigmoid_table", sigmoid.entries)
        object.__setattr__(self, "tanh_table", tanh.entries)
        self._prove()
        reset = Shift(shifts[0], -128, 127, self.rounding)
        mix = Blend(self.blend, self.ones, (shifts[1], 0, 0), self.lowest, self.blend_rounding)
        object.__setattr__(self, "_ready", (*readouts, sigmoid, tanh, reset, mix))

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
        hidden = self.hidden
        of_h, of_x = parts(self.row_order, hidden, self.inputs)
        gates_h = self._packed("gates_h", lambda: self.weight_gates[:, of_h])
        gates_x = self._packed("gates_x", lambda: self.weight_gates[:, of_x])
        candidate_h = self._packed("candidate_h", lambda: self.weight_candidate[:, of_h])
        candidate_x = self._packed("candidate_x", lambda: self.weight_candidate[:, of_x])
        fixed_gates = products(x, gates_x, self.bias_gates, self.x_bits)
        fixed_candidate = products(x, candidate_x, self.bias_candidate, self.x_bits)
        to_gates, to_candidate, sigmoid, tanh, reset, mix = self.__dict__["_ready"]

        def frame(t: int, h: NDArray[np.int8]) -> Values:
            acc = products(h, gates_h, None, 8)
            acc += fixed_gates[t]
            g = to_gates(acc)
            gated = sigmoid(g)
            z, r = gated[:hidden], gated[hidden:]
            rh = reset(r * h)
            acc = products(rh, candidate_h, None, 8)
            acc += fixed_candidate[t]
            q = to_candidate(acc)
            n = tanh(q)
            total = mix.sum(z, n, h)
            return mix.code(total), g, q, z, r, rh, n, total

        return frame
