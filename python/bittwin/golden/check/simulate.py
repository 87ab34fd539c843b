# SPDX-License-Identifier: Apache-2.0
"""One layer of a dump under one rounding rule, with refusals that name the layer and the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import DumpError
from bittwin.golden.check.selection import SelectionError
from bittwin.network import SplitRounds

if TYPE_CHECKING:
    from bittwin.golden.dump import CodeSet, DumpLayer
    from bittwin.requant import Requant

Ints = NDArray[Any]
_CODES_PER_BLOCK = 1 << 21


class Simulator:
    """Runs a dump's layer; the rule may replace the layer's own, its gain and bits stay."""

    def __init__(self, layer: DumpLayer, rounding: str | None = None) -> None:
        """Take the layer's requantiser, or the named rule with the same gain and bits.

        Raises:
            SelectionError: the rule is unknown or cannot take this layer's gain.
        """
        self.layer = layer
        self.rounding = rounding
        self.requant: Requant | None = None if rounding is None else self.rule(rounding)
        own = None if layer.operator is None else layer.operator.requant
        used = self.requant if self.requant is not None else own
        self.active: Requant | None = used
        self.rule_name = "-" if used is None else str(used.rule)

    def rule(self, name: str, gain: int | None = None) -> Requant:
        """The named rule with this layer's gain (or another one) and bits.

        Raises:
            SelectionError: unknown rule, or one that cannot take the gain.
        """
        from bittwin import requant

        if name not in requant.RULES:
            raise SelectionError(
                f"rounding: found {name!r}, wanted one of {', '.join(requant.RULES)}"
            )
        own = None if self.layer.operator is None else self.layer.operator.requant
        bits = 8 if own is None else own.bits
        try:
            return requant.by_name(name, self.gain if gain is None else gain, bits=bits)
        except (TypeError, ValueError) as error:
            raise SelectionError(
                f"rounding: {name} for layer {self.layer.name}: {error}"
            ) from error

    @property
    def gain(self) -> int:
        """Accumulator units per output code."""
        own = None if self.layer.operator is None else self.layer.operator.requant
        gain = None if own is None else own.gain
        return int(gain) if isinstance(gain, int) else int(self.layer.gain)

    @property
    def block(self) -> int:
        """Frames per block that keep the largest array near two million codes."""
        widest = max(self.layer.in_columns, self.layer.out_columns, 1)
        return max(1, min(8192, _CODES_PER_BLOCK // widest))

    def before(self, rows: Ints, source: str) -> Ints:
        """Output codes before the activation.

        Args:
            rows: input codes, int16 [n, in].
            source: where they come from, for messages.

        Raises:
            DumpError: the layer refuses these inputs.
        """
        try:
            return self.layer.run_rows(rows, self.requant)
        except (TypeError, ValueError, OverflowError) as error:
            raise DumpError(f"{source}: layer {self.layer.name} refuses it: {error}") from error

    def after(self, codes: Ints) -> Ints:
        """Codes after the activation."""
        if not self.layer.activation:
            return codes
        try:
            return self.layer.activate_rows(codes)
        except (TypeError, ValueError) as error:
            raise DumpError(f"layer {self.layer.name}: activation: {error}") from error

    def compared(self, before: Ints, codes: CodeSet) -> Ints:
        """What a set's output file should hold, given the codes before the activation."""
        return self.after(before) if codes.activated else before

    @property
    def accumulates(self) -> bool:
        """A single accumulator exists and one requantiser serves all its columns."""
        operator = self.layer.operator
        if operator is None or self.active is None or self.in_two_rounds:
            return False
        return hasattr(operator, "accumulate") and self.active.channels == 1

    @property
    def in_two_rounds(self) -> bool:
        """A layer with wide inputs, which has no single accumulator."""
        return isinstance(self.layer.operator, SplitRounds)

    def accumulators(self, rows: Ints) -> NDArray[np.int32]:
        """Accumulators of input rows, int32 [n, out]; only where `accumulates`."""
        return self.layer.accumulate_rows(rows)

    def bias(self) -> NDArray[np.int64] | None:
        """Bias per output column in accumulator units, None without one that is not all zero."""
        operator = self.layer.operator
        bias = None if operator is None else operator.bias
        if bias is None or not np.any(bias):
            return None
        flat = np.asarray(bias, np.int64).ravel()
        return np.tile(flat, self.layer.out_columns // flat.size)
