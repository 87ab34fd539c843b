# SPDX-License-Identifier: Apache-2.0
"""Other ways in which a layer's golden codes might have been computed.

Each `Alternative` computes the codes of one such way from a block of the second pass and counts how many
of the differing codes it puts right and how many equal ones it breaks. Nothing is claimed from a look at
the differences alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.check.selection import SelectionError
from bittwin.golden.reading.codes import take_rows

if TYPE_CHECKING:
    from bittwin.golden.check.simulate import Simulator
    from bittwin.golden.dump import CodeSet
    from bittwin.requant import Requant

Ints = NDArray[Any]
ABSENT = 1 << 30  # stands where an alternative has no code to offer (edges of a shift)
_STREAM_SHIFT_LIMIT = 4096  # rows up to which a shift by stream frame is looked for


@dataclass
class Window:
    """One block of the second pass: everything that the alternatives may look at."""

    sim: Simulator
    codes: CodeSet
    rows: Ints
    x: Ints
    acc: NDArray[np.int32] | None
    before: Ints
    actual: Ints
    golden: Ints
    wrong: NDArray[np.bool_]
    wide: Ints  # simulated codes of the rows around, one more at each side where there is one
    first: int  # row number of the first row of `wide`

    def finish(self, before: Ints) -> Ints:
        """Apply what lies between the readout and the golden file."""
        return self.sim.compared(before, self.codes)

    def requantized(
        self, acc: Ints, requant: Requant | None = None, high: Ints | None = None
    ) -> Ints:
        """Codes of other accumulators, or of another requantiser."""
        from bittwin import requantize

        used = self.sim.active if requant is None else requant
        assert used is not None
        info = np.iinfo(np.int32)
        narrow = np.ascontiguousarray(np.clip(acc, info.min, info.max), dtype=np.int32)
        return self.finish(requantize(narrow, used, high=high))

    def shifted(self, by: int) -> Ints:
        """Simulated codes of the row ``by`` rows away, `ABSENT` beyond the ends."""
        out: Ints = np.full(self.actual.shape, ABSENT, np.int64)
        at = self.rows - self.first + by
        inside = (at >= 0) & (at < self.wide.shape[0])
        out[inside] = self.wide[at[inside]]
        return out


@dataclass
class Alternative:
    """One hypothesis and its counts.

    Attributes:
        kind: machine-readable name.
        cause: text, without the share.
        compute: codes of the hypothesis for one block.
        rule: the rounding rule it is about, if any.
        fixed: differing codes that it explains.
        broken: equal codes that it would make differ.
        judged: differing codes for which it offers a code at all.
    """

    kind: str
    cause: str
    compute: Callable[[Window], Ints]
    rule: str = ""
    fixed: int = 0
    broken: int = 0
    judged: int = 0

    def update(self, window: Window) -> None:
        """Count one block."""
        found = self.compute(window)
        offered = found != ABSENT
        same = found == window.golden
        self.judged += int(np.count_nonzero(window.wrong & offered))
        self.fixed += int(np.count_nonzero(window.wrong & same))
        self.broken += int(np.count_nonzero(~window.wrong & offered & ~same))

    def exact(self, wrong: int) -> bool:
        """Every code it can judge is equal under it, and it judges most of the differing ones."""
        return self.broken == 0 and self.fixed == self.judged and 2 * self.judged > wrong


def alternatives(sim: Simulator, codes: CodeSet) -> list[Alternative]:
    """All hypotheses that make sense for a layer, the most specific first."""
    found = _rules(sim)
    if sim.accumulates:
        found += _gains(sim) + _biases(sim) + _signs(sim)
    if codes.activated and sim.layer.activation:
        found.append(
            Alternative(
                "activation", "golden is before the activation, not after it", lambda w: w.before
            )
        )
    if not codes.activated and sim.layer.activation:
        label = sim.layer.activation_label
        found.append(
            Alternative(
                "activation",
                f"golden is after the activation ({label}), not before it",
                lambda w: w.sim.after(w.before),
            )
        )
    return found + _shifts(codes)


def _rules(sim: Simulator) -> list[Alternative]:
    from bittwin.requant import RULES

    found: list[Alternative] = []
    if not sim.accumulates and not sim.in_two_rounds:
        return found
    for name in RULES:
        if name == sim.rule_name:
            continue
        try:
            requant = sim.rule(name)
        except SelectionError:
            continue  # the rule cannot take this gain, so nobody can have used it

        def compute(w: Window, requant: Requant = requant) -> Ints:
            if w.acc is not None:
                return w.requantized(w.acc, requant)
            return w.finish(w.sim.layer.run_rows(w.x, requant))

        if name == "readout_wrap16":
            text = "the C-model's 16-bit converter code wraps (rule readout_wrap16)"
            found.append(Alternative("wrap16", text, compute, name))
        else:
            found.append(Alternative("rounding", f"another rounding: {name}", compute, name))
    return found


def _gains(sim: Simulator) -> list[Alternative]:
    found: list[Alternative] = []
    for factor in (2.0, 0.5, 4.0, 0.25, 8.0, 0.125):
        gain = sim.gain * factor
        try:
            if gain < 1 or gain != int(gain):
                continue
            requant = sim.rule(sim.rule_name, int(gain))
        except SelectionError:
            continue
        times = f"{factor:g} times" if factor > 1 else f"1/{1 / factor:g} of"
        text = f"gain {int(gain)}, {times} the {sim.gain} of this layer"

        def compute(w: Window, requant: Requant = requant) -> Ints:
            assert w.acc is not None
            return w.requantized(w.acc, requant)

        found.append(Alternative("gain", text, compute))
    return found


def _biases(sim: Simulator) -> list[Alternative]:
    found: list[Alternative] = []
    bias = sim.bias()
    if bias is not None:
        cases = (
            ("bias left out", -bias),
            ("bias added twice", bias),
            ("bias subtracted instead of added", -2 * bias),
            ("only half of the bias added", -(bias // 2)),
            ("bias rows counted once instead of 128 times", bias // 128 - bias),
            ("bias multiplied by 128 once more", 127 * bias),
        )
        for text, change in cases:

            def compute(w: Window, change: Ints = change) -> Ints:
                assert w.acc is not None
                return w.requantized(w.acc + change)

            found.append(Alternative("bias", text, compute))
    high = sim.layer.bias_high
    if high is not None and np.any(high):

        def compute_high(w: Window) -> Ints:
            assert w.acc is not None
            return w.requantized(w.acc, high=np.ascontiguousarray(high, np.int16))

        text = "bias_high.txt added as a digital part in output codes"
        found.append(Alternative("bias_high", text, compute_high))
    return found


def _signs(sim: Simulator) -> list[Alternative]:
    """The input bytes taken with another sign; the accumulator is linear in them."""
    bias = sim.bias()
    signed = bool(getattr(sim.layer.operator, "x_signed", False))
    bits = int(getattr(sim.layer.operator, "x_bits", 8))
    span = 1 << bits

    def part(w: Window, mask: Ints) -> Ints:
        """Weights of the inputs under a mask, summed per column."""
        ones = w.sim.accumulators(mask.astype(np.int16)).astype(np.int64)
        return ones if bias is None else ones - bias

    def as_signed(w: Window) -> Ints:
        assert w.acc is not None
        return w.requantized(w.acc - span * part(w, w.x >= span // 2))

    def as_unsigned(w: Window) -> Ints:
        assert w.acc is not None
        return w.requantized(w.acc + span * part(w, w.x < 0))

    def without_negative(w: Window) -> Ints:
        return w.requantized(w.sim.accumulators(np.maximum(w.x, 0)))

    def without_large(w: Window) -> Ints:
        return w.requantized(w.sim.accumulators(np.where(w.x >= span // 2, 0, w.x)))

    if signed:
        return [
            Alternative("input_sign", "input read as unsigned instead of signed", as_unsigned),
            Alternative("input_sign", "negative inputs taken as 0", without_negative),
        ]
    return [
        Alternative("input_sign", "input read as signed instead of unsigned", as_signed),
        Alternative("input_sign", f"inputs from {span // 2} up taken as 0", without_large),
    ]


def _shifts(codes: CodeSet) -> list[Alternative]:
    found: list[Alternative] = []
    for by, word in ((-1, "one frame late"), (1, "one frame early")):
        at = f"row f is the simulation of row f{by:+d}"
        found.append(
            Alternative("frame_shift", f"golden comes {word}: {at}", lambda w, by=by: w.shifted(by))  # type: ignore[misc]
        )
    index = codes.frame_index
    if index is not None and index.size <= _STREAM_SHIFT_LIMIT and (np.diff(index) != 1).any():
        for by in (-1, 1):
            text = f"golden belongs to the stream frame {by:+d}: the frame numbers are off by one"
            found.append(Alternative("frame_shift", text, lambda w, by=by: _stream_shift(w, by)))  # type: ignore[misc]
    for by in (1, -1):
        text = f"golden is shifted by one column: column c is simulated column c{-by:+d}"
        found.append(Alternative("column_shift", text, lambda w, by=by: _column_shift(w, by)))  # type: ignore[misc]
    return found


def _stream_shift(w: Window, by: int) -> Ints:
    index, source = w.codes.frame_index, w.codes.input
    assert index is not None
    assert source is not None
    unique, first = np.unique(index, return_index=True)
    wanted = index[w.rows] + by
    at = np.minimum(np.searchsorted(unique, wanted), unique.size - 1)
    known = np.flatnonzero(unique[at] == wanted)
    out = np.full(w.actual.shape, ABSENT, np.int64)
    if known.size:
        x = take_rows(source, first[at[known]])
        out[known] = w.finish(w.sim.before(x, source.source))
    return out


def _column_shift(w: Window, by: int) -> Ints:
    out = np.full(w.actual.shape, ABSENT, np.int64)
    if by > 0:
        out[:, by:] = w.actual[:, :-by]
    else:
        out[:, :by] = w.actual[:, -by:]
    return out


__all__ = ["ABSENT", "Alternative", "Window", "alternatives"]
