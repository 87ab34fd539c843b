# SPDX-License-Identifier: Apache-2.0
"""Compare a dump's golden codes with the integer twin, layer by layer.

Two passes: the first only counts differences (a matching dump pays for nothing else); the second looks
for causes in the layers that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bittwin.errors import DumpError
from bittwin.golden.check.chains import build_chains
from bittwin.golden.check.results import (
    FREE_RUNNING,
    MODES,
    SETS,
    Diagnosis,
    LayerFacts,
    LayerResult,
    MeasuredResult,
    Verification,
)
from bittwin.golden.check.run import Run, run_free, run_teacher_forced
from bittwin.golden.check.selection import check_frames, row_range, select_layers
from bittwin.golden.check.simulate import Simulator
from bittwin.golden.dump import Dump

if TYPE_CHECKING:
    from bittwin.golden.dump import DumpLayer

Progress = Callable[[int, int], None]


def verify(
    dump: Dump | str | Path,
    *,
    rounding: str | None = None,
    measured: str | Path | None = None,
    layers: Iterable[str] | None = None,
    frames: slice | int | None = None,
    block: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check that every golden code of a dump is reproduced, and say why not where it is not.

    Each layer is run twice in each of its sets: *teacher-forced* on the dump's own input, and
    *free-running* on the simulated output of the layer before, so that an error's growth is seen.
    Golden codes of the sets ``expected`` and ``complete`` are before the activation, those of
    ``debug`` after it.

    Args:
        dump: a dump, or the path of its folder.
        rounding: name of a rule (``bittwin.requant.RULES``) to use in every layer instead of its own;
            gains and bits stay.
        measured: file of measured codes to compare with the golden ones, too.
        layers: names of the layers to compare; all of them by default.
        frames: rows of each set to compare: the first N, or ``slice(A, B)``.
        block: frames per block; only speed and memory depend on it.
        progress: called with (work done, work in all) after every block.

    Returns:
        The comparison; ``equal`` is True when every compared code is equal.

    Raises:
        TypeError: dump is neither a dump nor a path.
        DumpError: a file of the dump is bad, or it holds nothing that could be compared.
        ValueError: no such layer, rule or frame; a measured file that does not fit.
    """
    if isinstance(dump, (str, Path)):
        from bittwin.golden.reading.reader import read_dump

        dump = read_dump(dump)
    if not isinstance(dump, Dump):
        raise TypeError(f"dump: found {type(dump).__name__}, wanted a Dump or a folder's path")
    if block is not None and block < 1:
        raise ValueError(f"block: found {block}, wanted at least 1")
    chosen = select_layers(dump, layers)
    sims = {
        layer.name: Simulator(layer, rounding)
        for layer in dump.layers
        if layer.operator is not None
    }
    longest = max((s.frames for layer in chosen for s in layer.sets), default=0)
    cut = check_frames(frames, longest)
    run = Run(dump, chosen, sims, cut, block, lambda _: None)
    run.chains = [c for name in SETS for c in build_chains(dump, name)]
    if progress is not None:
        run.step = _stepper(progress, _work(run))

    from bittwin.golden.measured.measured import compare_measured, open_measured

    source = None if measured is None else open_measured(dump, measured)
    for layer in chosen:
        for name in SETS:
            run_teacher_forced(run, layer, name)
    for chain in run.chains:
        run_free(run, chain)
    if not run.own and not run.free and source is None:
        raise DumpError(
            f"{dump.path}: nothing to compare: no layer has both weights and golden codes"
        )
    found = _results(run)
    statistics: tuple[MeasuredResult, ...] = ()
    notes = [*dump.notes, *_notes(run)]
    if source is not None:
        statistics, more = compare_measured(source, chosen, cut, block)
        notes += more
    equal = not any(r.mismatches for r in found) and not any(m.mismatches for m in statistics)
    return Verification(
        equal=equal,
        rounding=_rule_of(run),
        layers=found,
        measured=statistics,
        notes=tuple(dict.fromkeys(notes)),
        facts=tuple(_facts(run, layer) for layer in chosen),
        path=str(dump.path),
    )


def _stepper(progress: Progress, total: int) -> Callable[[int], None]:
    done = 0

    def step(work: int) -> None:
        nonlocal done
        done += work
        progress(min(done, total), total)

    return step


def _work(run: Run) -> int:
    """Multiplications in all, roughly."""
    total = 0
    for layer in run.chosen:
        for codes in layer.sets:
            first, last = row_range(codes, run.frames)
            total += 2 * (last - first) * layer.in_columns * layer.out_columns
    return max(total, 1)


def _results(run: Run) -> tuple[LayerResult, ...]:
    """The tallies as results, with a diagnosis for those that differ."""
    causes: dict[tuple[str, str, str], tuple[Diagnosis, ...]] = {}
    if any(t.mismatches for t in (*run.own.values(), *run.free.values())):
        from bittwin.golden.check.explain import explain

        causes = explain(run)
    found: list[LayerResult] = []
    for layer in run.chosen:
        for name in SETS:
            for mode, tallies in zip(MODES, (run.own, run.free), strict=True):
                tally = tallies.get((layer.name, name))
                if tally is None:
                    continue
                left = run.left_out.get((layer.name, name), 0) if mode == FREE_RUNNING else 0
                found.append(
                    LayerResult(
                        name=layer.name,
                        net=layer.net,
                        set=name,
                        mode=mode,
                        activation=_activation(layer),
                        rule=run.sims[layer.name].rule_name,
                        frames=tally.frames,
                        left_out=left,
                        codes=tally.codes,
                        mismatches=tally.mismatches,
                        max_abs=tally.max_abs,
                        first=tally.first,
                        histogram=dict(sorted(tally.histogram.items())),
                        diagnosis=causes.get((layer.name, name, mode), ()),
                    )
                )
    return tuple(found)


def _activation(layer: DumpLayer) -> str:
    return layer.activation_label


def _facts(run: Run, layer: DumpLayer) -> LayerFacts:
    sim = run.sims.get(layer.name)
    return LayerFacts(
        name=layer.name,
        net=layer.net,
        shape=f"{layer.in_columns} -> {layer.out_columns}",
        gain=layer.gain if sim is None else sim.gain,
        rule="-" if sim is None else sim.rule_name,
        activation=layer.activation_label,
        activation_source=layer.activation_source,
        inferred=layer.inferred,
    )


def _rule_of(run: Run) -> str:
    rules = list(
        dict.fromkeys(run.sims[x.name].rule_name for x in run.chosen if x.name in run.sims)
    )
    return rules[0] if len(rules) == 1 else "per layer" if rules else "-"


def _notes(run: Run) -> list[str]:
    """What was inferred, left out or could not be compared; one line per fact, not per set."""
    facts: dict[str, list[str]] = {}
    for layer in run.chosen:
        for name in SETS:
            codes = layer.set(name)
            if codes is not None and (why := _not_compared(run, layer, name)):
                facts.setdefault(f"{layer.name}: {why}", []).append(name)
            left = run.left_out.get((layer.name, name), 0)
            if left:
                text = f"{layer.name}: {left} rows left out of free running"
                text += ": the first layer's set lacks their frames"
                facts.setdefault(text, []).append(name)
    for chain in run.chains:
        if chain.reason and any(layer in run.chosen for layer in chain.layers):
            text = f"free running starts again at {chain.layers[0].name}: {chain.reason}"
            facts.setdefault(text, []).append(chain.set)
    return [f"{text} (set{'s' * (len(s) > 1)} {', '.join(s)})" for text, s in facts.items()]


def _not_compared(run: Run, layer: DumpLayer, name: str) -> str:
    codes = layer.set(name)
    assert codes is not None
    if layer.operator is None:
        return "not compared: the dump has no weights for it"
    if codes.output is None:
        return "not compared: no golden output"
    first, last = row_range(codes, run.frames)
    if first == last:
        return "not compared: no frame of this set was chosen"
    if (layer.name, name) not in run.own:
        how = "only free-running" if (layer.name, name) in run.free else "not compared"
        return f"{how}: the dump has no input for it"
    if (layer.name, name) not in run.free:
        return "only teacher-forced"
    return ""
