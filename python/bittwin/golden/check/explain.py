# SPDX-License-Identifier: Apache-2.0
"""Causes of every layer, set and mode of a run: a layer's own, inherited, or a rule in every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bittwin.golden.check.chains import Chain
from bittwin.golden.check.diagnose import diagnose
from bittwin.golden.check.results import FREE_RUNNING, TEACHER_FORCED, Diagnosis
from bittwin.golden.check.selection import row_range
from bittwin.golden.check.simulate import Simulator

if TYPE_CHECKING:
    from bittwin.golden.check.run import Key, Run
    from bittwin.golden.dump import CodeSet, DumpLayer

Causes = dict[tuple[str, str, str], tuple[Diagnosis, ...]]


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
