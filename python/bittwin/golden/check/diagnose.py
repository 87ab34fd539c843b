# SPDX-License-Identifier: Apache-2.0
"""Why a layer differs: computed causes, the most specific first, nothing that a stronger one implies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bittwin.golden.check import places, properties
from bittwin.golden.check.evidence import Evidence
from bittwin.golden.check.hypotheses import Alternative
from bittwin.golden.check.results import Diagnosis
from bittwin.golden.check.simulate import Simulator

if TYPE_CHECKING:
    from bittwin.golden.dump import CodeSet

_MOST = 3  # exact explanations worth listing
_NEARLY = 0.9  # share above which a rule that leaves differences outranks a common property
_PROVEN = (
    "bias_column", "column_order", "dead_column", "offset_column", "rounding_column",
    "rounding_frames", "weight", "frame",
)  # fmt: skip
_MOSTLY = 0.5  # share above which a hypothesis that leaves differences is named at all
_BREAKS = 0.05  # equal codes it may spoil, per code it puts right


def diagnose(
    sim: Simulator, codes: CodeSet, bounds: tuple[int, int], block: int | None = None
) -> tuple[Diagnosis, ...]:
    """Causes of the differences of one layer that reads its own input.

    Args:
        sim: the layer under the active rule.
        codes: the set to look at; it has input and output.
        bounds: first row and the row after the last one.
        block: frames per block.

    Returns:
        At least one diagnosis when there are differences, else none.
    """
    e = Evidence(sim, codes, bounds, block)
    if e.wrong == 0:
        return ()
    return tuple(_causes(e) or [places.spread(e)])


def _causes(e: Evidence) -> list[Diagnosis]:
    """Causes in order of strength; empty when there is none."""
    exact = _exact(e)
    single = places.single_codes(e)
    if single is not None:
        return [single, *exact[:1]]
    shared = properties.common_property(e)
    full = [d for d in shared if d.explains == 1]
    if exact:
        weaker = ("table", "bias_columns") if full and full[0].kind == "tie" else ("table",)
        return [*full, *exact] if exact[0].kind in weaker else exact
    placed = _placed(e)
    if placed and (not full or placed[0].kind in _PROVEN):
        known = sum(d.explains for d in placed) > 1 - 1e-9
        return placed if known else _two_faults(e) or placed
    partial = _partial(e)
    if full and not (partial and partial[0].explains >= _NEARLY):
        # Columns and frames are few where such codes are rare: only a run of frames says more.
        return [*full, *(d for d in placed if d.kind != "columns")]
    if partial and sum(d.explains for d in partial) > 1 - 1e-9:
        return partial
    return _two_faults(e) or partial or shared


def _two_faults(e: Evidence) -> list[Diagnosis]:
    """Frames that stand out are one fault; the rest without them must have a cause of its own."""
    frames = places.standing_out(e)
    if not frames or e.skip or e.base is not None:
        return []
    rest = Evidence(e.sim, e.codes, e.bounds, e.block, skip=frames)
    found = _causes(rest) if rest.wrong else []
    if not found or not (found[0].exact or found[0].kind in _PROVEN or found[0].explains == 1):
        return []
    held = e.wrong - rest.wrong
    word = "frame" if len(frames) == 1 else "frames"
    cause = f"{word} {places.numbers(list(frames))}: {held} codes differ there"
    cause += places.other_row(e, frames[0] - e.bounds[0])
    result = [Diagnosis(cause, held / e.wrong, word)]
    for diagnosis in found[:2]:
        share = diagnosis.explains * rest.wrong / e.wrong
        text = f"the rest: {diagnosis.cause}"
        result.append(replace(diagnosis, cause=text, explains=share, exact=False))
    return result


def _exact(e: Evidence) -> list[Diagnosis]:
    """Hypotheses under which every code is equal; one entry per kind."""
    found: dict[str, list[Alternative]] = {}
    for alternative in e.alternatives:
        if alternative.exact(e.wrong):
            found.setdefault(alternative.kind, []).append(alternative)
    if "rounding" in found:
        found.pop("wrap16", None)  # the same rule where nothing wraps
    dead = properties.dead_layer(e)
    result = [] if dead is None else [dead]
    for kind, same in found.items():
        share = same[0].fixed / e.wrong
        cause = f"{same[0].cause} explains 100 % of the codes"
        if same[0].judged < e.wrong:
            cause = f"{same[0].cause}; explains every code but those at the edge"
        if len(same) > 1:
            also = ", ".join(a.cause.removeprefix("another rounding: ") for a in same[1:])
            cause += f" (so does {also})"
        result.append(Diagnosis(cause, share, kind, True, same[0].rule))
    if not result:
        order = places.other_order(e)
        found_here = (order, *properties.by_code(e), places.own_bias(e))
        result = [d for d in found_here if d is not None and d.exact]
    return result[:_MOST]


def _placed(e: Evidence) -> list[Diagnosis]:
    """Columns or frames that hold the differences; whichever holds more, columns first."""
    columns = places.few_columns(e)
    if not all(d.kind in _PROVEN for d in columns) or not columns:
        rule = places.other_rule(e)
        if rule is not None:
            return [rule]
    frames = places.few_frames(e) or places.scattered_frames(e)
    held = [sum(d.explains for d in found) for found in (columns, frames)]
    if not columns or (frames and held[1] > held[0]):
        return frames
    if frames and len(columns) > 1:
        return frames
    return columns


def _partial(e: Evidence) -> list[Diagnosis] | None:
    """The best hypothesis that leaves a few codes differing, and a look at those."""
    good = [
        a for a in e.alternatives if a.fixed > _MOSTLY * e.wrong and a.broken <= _BREAKS * a.fixed
    ]
    if good:
        best = max(good, key=lambda a: a.fixed - a.broken)
        left = Evidence(e.sim, e.codes, e.bounds, e.block, base=best)
        share = best.fixed / e.wrong
        cause = f"{best.cause} explains {places.percent(share)} of the differing codes"
        found = [
            Diagnosis(
                f"{cause}; {left.wrong} still differ with it", share, best.kind, rule=best.rule
            )
        ]
        if left.wrong:
            single = places.single_codes(left)
            rest = [single] if single else _placed(left) or properties.common_property(left)
            for diagnosis in rest[:2]:
                share = diagnosis.explains * left.wrong / e.wrong
                found.append(
                    replace(
                        diagnosis, cause=f"the rest: {diagnosis.cause}", explains=share, exact=False
                    )
                )
        return found
    for other in (places.other_order(e), places.own_bias(e)):
        if other is not None:
            return [other]
    return properties.by_code(e) or None
