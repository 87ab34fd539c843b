# SPDX-License-Identifier: Apache-2.0
"""What a verification found, as plain immutable data.

Every class here is a frozen dataclass whose ``to_json`` gives plain Python objects: the contract of
``bittwin verify --json``. Differences are counted in output codes (LSB) as *simulated - golden*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TEACHER_FORCED = "teacher_forced"
FREE_RUNNING = "free_running"
MODES = (TEACHER_FORCED, FREE_RUNNING)
SETS = ("expected", "complete", "debug")


@dataclass(frozen=True)
class Diagnosis:
    """One cause for the differences of a layer, found by computing it.

    Attributes:
        cause: one line of text with the numbers in it (columns, frames, offsets, gains).
        explains: share of the differing codes that this cause accounts for, 0..1.
        kind: machine-readable name of the cause, for example ``rounding`` or ``column``.
        exact: with this cause put right every code of the layer would be equal.
        rule: the rounding rule that the cause names, empty when it names none.
    """

    cause: str
    explains: float
    kind: str = "other"
    exact: bool = False
    rule: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain objects; ``explains`` is rounded to six digits."""
        return {
            "cause": self.cause,
            "explains": round(self.explains, 6),
            "kind": self.kind,
            "exact": self.exact,
            "rule": self.rule or None,
        }


@dataclass(frozen=True)
class First:
    """The first differing code of a set, in file order.

    Attributes:
        frame: row in the file, from 0.
        column: output column, from 0.
        expected: the golden code of the dump.
        actual: the simulated code.
        stream_frame: the row's frame in the recorded stream, None when the order is unknown.
    """

    frame: int
    column: int
    expected: int
    actual: int
    stream_frame: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain objects."""
        return {
            "frame": self.frame,
            "column": self.column,
            "expected": self.expected,
            "actual": self.actual,
            "stream_frame": self.stream_frame,
        }


@dataclass(frozen=True)
class LayerResult:
    """One layer in one set and one mode.

    Attributes:
        name: layer name, unique in the dump.
        net: number of the net it belongs to.
        set: ``expected``, ``complete`` or ``debug``.
        mode: ``teacher_forced`` (own input of the dump) or ``free_running`` (chained).
        activation: the layer's activation, with where it was taken from.
        rule: the rounding rule the simulation used.
        frames: rows compared.
        left_out: rows that free running could not reach (their frame is not in the first layer's set).
        codes: codes compared.
        mismatches: codes that differ.
        max_abs: largest difference in LSB.
        first: the first differing code, None when there is none.
        histogram: difference (simulated - golden) to count, differing codes only.
        diagnosis: causes, most specific first.
    """

    name: str
    net: int
    set: str
    mode: str
    activation: str
    rule: str
    frames: int
    left_out: int
    codes: int
    mismatches: int
    max_abs: int
    first: First | None
    histogram: dict[int, int]
    diagnosis: tuple[Diagnosis, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain objects, the schema of ``verify --json``."""
        return {
            "name": self.name,
            "net": self.net,
            "set": self.set,
            "mode": self.mode,
            "activation": self.activation,
            "rule": self.rule,
            "frames": self.frames,
            "left_out": self.left_out,
            "codes": self.codes,
            "mismatches": self.mismatches,
            "max_abs": self.max_abs,
            "first": None if self.first is None else self.first.to_json(),
            "histogram": {str(k): v for k, v in sorted(self.histogram.items())},
            "diagnosis": [d.to_json() for d in self.diagnosis],
        }


@dataclass(frozen=True)
class ErrorStatistics:
    """Statistics of the error (measured - golden) of one layer, in LSB.

    The definitions are those of the programming log of the chip's own bring-up tool.

    Attributes:
        max_frame_std: largest standard deviation over the columns of one frame.
        mean_frame_std: its mean over the frames.
        max_column_std: largest standard deviation over the frames of one column.
        mean_column_std: its mean over the columns.
        max_frame_mean: largest absolute mean error of a frame.
        mean_error: mean over all codes.
        max_column_mean: largest absolute mean error of a column.
        worst_column: the column that has it.
        gain: least-squares slope of measured against golden; None when golden is constant.
        offset: the fitted line's value at golden code 0; None when golden is constant.
        cosine: cosine similarity of measured and golden; None when one of them is all zero.
    """

    max_frame_std: float
    mean_frame_std: float
    max_column_std: float
    mean_column_std: float
    max_frame_mean: float
    mean_error: float
    max_column_mean: float
    worst_column: int
    gain: float | None
    offset: float | None
    cosine: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain objects, numbers rounded to nine digits after the point."""
        found: dict[str, Any] = {}
        for key, value in vars(self).items():
            found[key] = round(value, 9) if isinstance(value, float) else value
        return found


@dataclass(frozen=True)
class MeasuredResult:
    """One layer's measured codes against its golden codes.

    Attributes:
        name: layer name.
        net: number of its net.
        set: the set the measured file was laid out like, ``expected`` or ``complete``.
        frames: rows compared.
        codes: codes compared.
        mismatches: codes that differ.
        max_abs: largest absolute error in LSB.
        first: the first differing code; ``actual`` is the measured one.
        raw: statistics of the codes as they are.
        corrected: the same after each column's mean error was taken away.
        diagnosis: what is wrong with the measurement, most specific first.
    """

    name: str
    net: int
    set: str
    frames: int
    codes: int
    mismatches: int
    max_abs: int
    first: First | None
    raw: ErrorStatistics
    corrected: ErrorStatistics
    diagnosis: tuple[Diagnosis, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain objects."""
        return {
            "name": self.name,
            "net": self.net,
            "set": self.set,
            "frames": self.frames,
            "codes": self.codes,
            "mismatches": self.mismatches,
            "max_abs": self.max_abs,
            "first": None if self.first is None else self.first.to_json(),
            "raw": self.raw.to_json(),
            "corrected": self.corrected.to_json(),
            "diagnosis": [d.to_json() for d in self.diagnosis],
        }


@dataclass(frozen=True)
class LayerFacts:
    """What the report's header and table say about a layer, apart from the comparison.

    Attributes:
        name: layer name.
        net: number of its net.
        shape: ``800 -> 256``, columns in and out.
        gain: accumulator units per output code.
        rule: the rounding rule the simulation used, ``-`` without weights.
        activation: label of the activation.
        activation_source: where the label was taken from.
        inferred: the activation was deduced from the data.
    """

    name: str
    net: int
    shape: str
    gain: int
    rule: str
    activation: str
    activation_source: str
    inferred: bool


@dataclass(frozen=True)
class Verification:
    """Everything that :func:`bittwin.verify` found.

    Attributes:
        equal: every compared code is equal (and every measured one, where there are any).
        rounding: the rule that was simulated; ``per layer`` when the layers' rules differ.
        layers: one entry per layer, set and mode, in the dump's order.
        measured: one entry per layer of the measured file.
        notes: remarks: what was inferred, left out or could not be compared.
        facts: what each layer is.
        path: the dump, or the trace.
        against: the trace that was taken for right, where two were compared.
    """

    equal: bool
    rounding: str
    layers: tuple[LayerResult, ...]
    measured: tuple[MeasuredResult, ...] = ()
    notes: tuple[str, ...] = ()
    facts: tuple[LayerFacts, ...] = field(default=(), repr=False)
    path: str = ""
    against: str = ""

    @property
    def codes(self) -> int:
        """Codes compared in all layers, sets and modes."""
        return sum(r.codes for r in self.layers)

    @property
    def mismatches(self) -> int:
        """Codes that differ in all layers, sets and modes."""
        return sum(r.mismatches for r in self.layers)

    @property
    def first_wrong(self) -> LayerResult | None:
        """The entry to look at first: the first layer that differs, on its own input if it does so there."""
        wrong = [r for r in self.layers if r.mismatches]
        own = [r for r in wrong if r.mode == TEACHER_FORCED]
        if own and wrong and own[0].name == wrong[0].name:
            return own[0]
        return wrong[0] if wrong else None

    def to_json(self) -> dict[str, Any]:
        """Plain objects, the schema of ``verify --json``.

        >>> Verification(True, "readout", ()).to_json()["equal"]
        True
        """
        return {
            "equal": self.equal,
            "rounding": self.rounding,
            "dump": self.path,
            **({"against": self.against} if self.against else {}),
            "codes": self.codes,
            "mismatches": self.mismatches,
            "layers": [r.to_json() for r in self.layers],
            "measured": [m.to_json() for m in self.measured],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """The plain-text report."""
        from bittwin.golden.report.report import plain_report

        return plain_report(self)
