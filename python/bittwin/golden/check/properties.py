# SPDX-License-Identifier: Apache-2.0
"""What the differing codes have in common: a property of the exact result, or a function of the code."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bittwin.golden.check.evidence import Evidence
from bittwin.golden.check.places import numbers, percent
from bittwin.golden.check.results import Diagnosis

_FEW_CODES = 4  # so few fit any function
_MOST = 0.95  # share of the differing codes that must have a property for it to be named
_RARE = 1e-3  # chance below which a common property is no accident
_TEXTS = {
    "tie": "only ties: the exact result lies halfway between two codes",
    "saturated": "only saturation: the exact result lies beyond the ends of the range",
    "end": "only at the ends of the range: the exact result lies beyond, or golden is an end code",
    "negative": "only negative codes: the accumulator is below 0",
}


def common_property(e: Evidence) -> list[Diagnosis]:
    """Only ties, only saturated, only negative codes: where that cannot be an accident."""
    shares = {name: wrong / e.wrong for name, (_, wrong) in e.masks.items()}
    known = [n for n in _TEXTS if shares.get(n, 0.0) >= _MOST and not _accident(e, n)]
    for name in sorted(known, key=lambda n: shares[n] < 1):  # one that holds for all goes first
        (have, wrong), text, share = e.masks[name], _TEXTS[name], shares[name]
        if name == "tie" and e.sim.rule_name.startswith("readout"):
            text += " (below 0: or at -0.75, -1.75, ..., where readout steps)"
        cause = f"{text} in {wrong} of {e.wrong} differing codes ({percent(have / e.total)} of all codes do)"
        return [Diagnosis(cause, share, name if name != "end" else "saturated")]
    return _few_residues(e)


def _few_residues(e: Evidence) -> list[Diagnosis]:
    """A few remainders of the accumulator by the gain: ties of a rule that is not among the known ones."""
    every, wrong = e.residues
    found = np.flatnonzero(wrong)
    places = min(np.count_nonzero(e.by_column), np.count_nonzero(e.by_row))
    if not 0 < found.size <= _FEW_CODES or e.wrong < 8 * found.size or places <= _FEW_CODES:
        return []
    have = int(every[found].sum())
    # So few remainders may be chosen in many ways.
    if e.wrong * np.log(have / e.total) + found.size * np.log(every.size) > np.log(_RARE):
        return []
    cause = (
        f"only where the accumulator modulo the gain {every.size} is {numbers(found)}: "
        f"{e.wrong} of {e.wrong} differing codes ({percent(have / e.total)} of all codes do)"
    )
    return [Diagnosis(cause, 1.0, "tie")]


def _accident(e: Evidence, name: str) -> bool:
    """Whether codes drawn from all, from the same columns or from the same frames would share it, too."""
    rows, columns = e.by_row.size - len(e.skip), e.by_column.size
    chances = [e.wrong * np.log(max(e.masks[name][0], 1) / e.total)]
    for have, wrong, size in (
        (e.mask_column[name], e.by_column, rows),
        (e.mask_row[name], e.by_row, columns),
    ):
        chances.append(float((wrong * np.log(np.maximum(have, 1) / size)).sum()))
    return bool(max(chances) > np.log(_RARE))


def dead_layer(e: Evidence) -> Diagnosis | None:
    """One golden code everywhere, while the simulation varies."""
    low, high = int(e.low["g"].min()), int(e.high["g"].max())
    simulated = int(e.low["s"].min()), int(e.high["s"].max())
    if low != high or simulated[0] == simulated[1]:
        return None
    cause = (
        f"golden is the constant {low} in every frame and column (the layer is dead), "
        f"simulated {simulated[0]}..{simulated[1]}"
    )
    return Diagnosis(cause, 1.0, "dead_layer")


def _limits(low: int, top: int) -> list[tuple[str, str, Callable[[int], int]]]:
    """Clip and limits; a clip needs room above 0."""
    found: list[tuple[str, str, Callable[[int], int]]] = []
    if top > 0:
        text = f"golden fits the activation clip 0..{top}"
        found.append(("activation", text, lambda v: min(max(v, 0), top)))
    if low < top:
        text = f"golden is limited to {low}..{top}"
        found.append(("limits", text, lambda v: min(max(v, low), top)))
    return found


def by_code(e: Evidence) -> list[Diagnosis]:
    """Golden as a function of the code before the activation: another activation, limit, offset or table."""
    pairs = e.pairs()
    if not pairs or e.wrong <= _FEW_CODES:
        return []
    golden = {g for seen in pairs.values() for g in seen}
    top, low = max(golden), min(golden)
    steps: dict[int, int] = {}
    for code, seen in pairs.items():
        for g, count in seen.items():
            steps[g - code] = steps.get(g - code, 0) + count
    step = max(steps, key=lambda k: steps[k])
    lo, hi = min(pairs), max(pairs)
    after = "after" if e.codes.activated else "instead of the code before"
    functions: list[tuple[str, str, Callable[[int], int]]] = [
        ("activation", f"golden fits no activation ({after} the readout nothing)", lambda v: v),
        ("activation", "golden fits the activation relu", lambda v: max(v, 0)),
        ("activation", "golden fits the activation relu x2", lambda v: 2 * max(v, 0)),
        ("activation", "golden fits relu x2, cut at 127", lambda v: min(2 * max(v, 0), 127)),
        *_limits(low, top),
        ("negated", "golden has the opposite sign", lambda v: -v),
        ("negated", "golden has the opposite sign, cut at 127", lambda v: min(-v, 127)),
        ("offset", f"golden = simulated {step:+d}", lambda v: v + step),
        (
            "offset",
            f"golden = simulated {step:+d}, cut at the ends",
            lambda v: min(max(v + step, lo), hi),
        ),
    ]
    right = sum(seen.get(_actual(e, code), 0) for code, seen in pairs.items())
    for kind, cause, function in functions:
        hits = sum(seen.get(function(code), 0) for code, seen in pairs.items())
        gained = (hits - right) / e.wrong
        if gained > 0.9 and hits > right:
            exact = hits == e.total
            return [
                Diagnosis(
                    f"{cause}: {percent(hits / e.total)} of all codes",
                    min(gained, 1.0),
                    kind,
                    exact,
                )
            ]
    single = all(len(seen) == 1 for seen in pairs.values())
    if single and len(golden) > 1 and e.total >= 20 * len(pairs):
        code = max(pairs, key=lambda c: sum(pairs[c].values()) if next(iter(pairs[c])) != c else -1)
        cause = (
            f"golden is a table of the code before the activation: each of {len(pairs)} codes always meets "
            f"one golden code (for example {code} -> {next(iter(pairs[code]))})"
        )
        return [Diagnosis(cause, 1.0, "table", True)]
    return []


def _actual(e: Evidence, code: int) -> int:
    """The compared code for a code before the activation."""
    active = e.sim.active
    if not e.codes.activated or active is None:
        return code
    return int(np.asarray(e.sim.after(np.array([[code]], active.dtype)))[0, 0])
