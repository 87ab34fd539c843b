# SPDX-License-Identifier: Apache-2.0
"""Why a layer differs: computed causes, the most specific first, nothing that a stronger one implies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bittwin.golden.check import places
from bittwin.golden.check.chains import Chain
from bittwin.golden.check.evidence import Evidence
from bittwin.golden.check.hypotheses import Alternative
from bittwin.golden.check.results import FREE_RUNNING, TEACHER_FORCED, Diagnosis
from bittwin.golden.check.selection import row_range
from bittwin.golden.check.simulate import Simulator

if TYPE_CHECKING:
    from bittwin.golden.check.run import Key, Run
    from bittwin.golden.dump import CodeSet, DumpLayer

Causes = dict[tuple[str, str, str], tuple[Diagnosis, ...]]
_MOST = 3  # exact explanations worth listing
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
    exact = _exact(e)
    single = places.single_codes(e)
    if single is not None:
        return (single, *exact[:1])
    if exact:
        return tuple(exact)
    found = _placed(e)
    if found:
        return tuple(found)
    partial = _partial(e)
    if partial is not None:
        return tuple(partial)
    return (*places.common_property(e), *_if_none(e))


def _if_none(e: Evidence) -> tuple[Diagnosis, ...]:
    return () if places.common_property(e) else (places.spread(e),)


def _exact(e: Evidence) -> list[Diagnosis]:
    """Hypotheses under which every code is equal; one entry per kind."""
    found: dict[str, list[Alternative]] = {}
    for alternative in e.alternatives:
        if alternative.exact(e.wrong):
            found.setdefault(alternative.kind, []).append(alternative)
    if "rounding" in found:
        found.pop("wrap16", None)  # the same rule where nothing wraps
    result = []
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
        found_here = (order, *places.by_code(e), places.own_bias(e))
        result = [d for d in found_here if d is not None and d.exact]
    return result[:_MOST]


def _placed(e: Evidence) -> list[Diagnosis]:
    """Columns or frames that hold the differences; whichever holds more, columns first."""
    columns, frames = places.few_columns(e), places.few_frames(e)
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
            rest = [single] if single else _placed(left) or places.common_property(left)
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
    return places.by_code(e) or None


def explain(run: Run) -> Causes:
    """Diagnoses of every layer, set and mode that differs."""
    causes: Causes = {}
    for layer in run.chosen:
        own = {codes.name: _explain_own(run, layer, codes) for codes in layer.sets}
        rules = {found[0].rule for found in own.values() if found and found[0].exact}
        for name, found in own.items():
            if found:
                # A few codes in one set are no riddle when a rule explains all of another set.
                known = [d for d in found if d.exact and d.rule and d.rule in rules]
                causes[layer.name, name, TEACHER_FORCED] = tuple(known or found)
    for chain in run.chains:
        _explain_chain(run, chain, causes)
    return causes


def _explain_own(run: Run, layer: DumpLayer, codes: CodeSet) -> list[Diagnosis]:
    """Causes of the differences on the layer's own input."""
    tally = run.own.get((layer.name, codes.name))
    if tally is None or not tally.mismatches:
        return []
    sim = run.sims[layer.name]
    found = list(diagnose(sim, codes, row_range(codes, run.frames), run.block))
    found = _unknown_activation(run, layer.name, codes, found)
    free = run.free.get((layer.name, codes.name))
    if free is not None and free is not tally and free.mismatches == 0:
        text = (
            "the layer's own input file: "
            "fed with the simulated output of the layer before, every code is equal"
        )
        found.insert(0, Diagnosis(text, 1.0, "input_file", True))
    return found


def _unknown_activation(
    run: Run, name: str, codes: CodeSet, found: list[Diagnosis]
) -> list[Diagnosis]:
    """Say first that the activation is not known, where that can be the whole difference."""
    layer = run.sims[name].layer
    if not codes.activated or layer.activation_label != "unknown":
        return found
    text = "the activation is unknown, so the codes after it cannot be computed"
    return [Diagnosis(f"{text}: {layer.note}" if layer.note else text, 1.0, "activation"), *found]


def _explain_chain(run: Run, chain: Chain, causes: Causes) -> None:
    """Free-running differences: own, inherited, or gone under another rule in every layer."""
    wrong = [
        layer.name
        for layer in chain.layers
        if (t := run.free.get((layer.name, chain.set))) is not None and t.mismatches
    ]
    if not wrong:
        return
    everywhere = _rule_everywhere(run, chain, causes)
    for position, layer in enumerate(chain.layers):
        key = (layer.name, chain.set)
        if layer.name not in wrong:
            continue
        own = causes.get(_mode(key, TEACHER_FORCED), ())
        if position == 0:
            causes[_mode(key, FREE_RUNNING)] = own
            continue
        if run.own.get(key) == run.free[key]:
            causes[_mode(key, FREE_RUNNING)] = own  # the layers before pass no difference on
            continue
        found = everywhere.get(key)
        if found is None:
            before = [x.name for x in chain.layers[:position] if x.name in wrong]
            found = _inherited(run, chain, position, before, own)
        causes[_mode(key, FREE_RUNNING)] = tuple(found)


def _mode(key: Key, mode: str) -> tuple[str, str, str]:
    return key[0], key[1], mode


def _inherited(
    run: Run, chain: Chain, position: int, before: list[str], own: tuple[Diagnosis, ...]
) -> list[Diagnosis]:
    """What the layers before pass on to one that differs otherwise than on its own input."""
    if not before:
        return list(own) or [_link(run, chain, position)]
    if (chain.layers[position].name, chain.set) not in run.own:
        known = "the dump holds no input of its own"
    elif own:
        return [
            Diagnosis(f"inherited from {before[0]}, and own (see teacher-forced)", 1.0, "inherited")
        ]
    else:
        known = "exact on its own input"
    return [Diagnosis(f"inherited from {before[0]}; {known}", 1.0, "inherited")]


def _rule_everywhere(run: Run, chain: Chain, causes: Causes) -> dict[Key, list[Diagnosis]]:
    """Run the chain again under a rule that explains one of its layers; where all codes are equal, say so."""
    from bittwin.golden.check.run import run_chain
    from bittwin.requant import RULES

    found = {
        d.rule
        for layer in chain.layers
        for d in causes.get((layer.name, chain.set, TEACHER_FORCED), ())
        if d.exact and d.rule
    }
    rules = [rule for rule in RULES if rule in found]
    for rule in rules[:1]:
        sims = {x.name: Simulator(x, rule) for x in chain.layers}
        return {
            key: [
                Diagnosis(
                    f"another rounding: {rule} in every layer of the chain explains 100 % of the codes",
                    1.0,
                    "rounding",
                    True,
                    rule,
                )
            ]
            for key, tally in run_chain(run, chain, sims).items()
            if tally.mismatches == 0
        }
    return {}


def _link(run: Run, chain: Chain, position: int) -> Diagnosis:
    """The layers before are exact and so is this one: then its input is not the output before it."""
    layer, before = chain.layers[position], chain.layers[position - 1]
    text = f"its input of the dump is not the output of {before.name}: {before.name} is exact"
    codes, source = layer.set(chain.set), before.set(chain.set)
    tally = run.free[layer.name, chain.set]
    if (
        codes is not None
        and codes.input is not None
        and source is not None
        and tally.first is not None
    ):
        text += f" (first seen in frame {tally.first.frame}, column {tally.first.column})"
    return Diagnosis(text, 1.0, "link")


__all__ = ["diagnose", "explain"]
