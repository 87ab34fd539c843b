# SPDX-License-Identifier: Apache-2.0
"""The targets, and whether a merged record meets them.

The figures are for a CPU with AMX. On one with AVX512-VNNI only, targets 3 to 5 hold at 0.4 of the ratio;
on one with AVX2 only they ask for the speed of torch's float32 layer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import overhead
import peak
from results import Results, Row, fastest, is_peer, micro, speed_ratio

MET, MISSED, NOT_HERE, NOT_RUN = "met", "missed", "not applicable", "not measured"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        number: the target's.
        what: in words.
        shape: which shape, or empty.
        wanted: in words and figures.
        measured: the same.
        verdict: ``met``, ``missed``, ``not applicable`` (on this CPU) or ``not measured``.
        why: of a verdict other than met; or what it was compared with.
    """

    number: int
    what: str
    shape: str
    wanted: str
    measured: str
    verdict: str
    why: str = ""


#: Kernel -> (part of its name, loop that bounds it, wanted share of that loop by shape).
SHARES = {
    "AMX": ("amx", "amx_int8", {"S2": 0.25, "S3": 0.36, "S4": 0.36, "S5": 0.28}),
    "AVX512-VNNI": ("vnni", "avx512_vnni", dict.fromkeys(("S2", "S3", "S4", "S5"), 0.65)),
    "AVX2": ("avx2", "avx2", dict.fromkeys(("S2", "S3", "S4", "S5"), 0.80)),
}
LINEAR_PEERS = {"S1": 1.5, "S2": 1.5, "S3": 1.0, "S4": 0.9, "S5": 0.9}
CONV_PEERS = dict.fromkeys(("8x16", "32x64", "7x7 s2", "depthwise"), 0.9)
FORWARD = {"S2": 2.8, "S3": 5.0, "S4": 5.0, "S5": 5.0}
FORWARD |= {"8x16": 3.3, "32x64": 4.5, "7x7 s2": 2.2, "depthwise": 1.3}
#: Step targets are times; as speed: 1 / 1.05 and so on.
STEP = {"S2": 1 / 1.05, "S3": 1 / 0.9, "S4": 1 / 0.9, "S5": 1 / 0.9}
STEP_BFLOAT16 = dict.fromkeys(("S3", "S4", "S5"), 1 / 0.45)
OVERHEAD = {overhead.RAW: 1.0, overhead.PYTHON: 6.0, overhead.BEYOND: 35.0}
THREADS = dict.fromkeys(("S3", "S4", "S5"), 1.6)
FRAMES = {"batch 1": 100_000, "batch 100": 1_200_000, "batch 1000": 1_200_000}
VERIFY_MS = 300
VNNI_FACTOR = 0.4
#: Share of two cores below which a missed thread target says nothing.
QUIET = 0.9


def judge(results: Results) -> list[Line]:
    """Every target's lines."""
    return [
        *_exactness(results),
        *_shares(results),
        *_peers(results),
        *_training(results),
        Line(6, "noise", "", "", "", NOT_RUN, "the noise stage has a benchmark of its own"),
        *_overhead(results),
        *_threads(results),
        *_network(results),
        *_verify(results),
    ]


def level(results: Results) -> str:
    """The best instruction set of this CPU that the targets know: amx, vnni, avx2 or none."""
    sets = results.machine["instruction_sets"]
    return next((part for part, loop, _ in SHARES.values() if loop in sets), "none")


def _exactness(results: Results) -> Iterator[Line]:
    rows = results.find("linear", "ends", "exactness", "bittwin ")
    checked = [row["name"].removeprefix("bittwin ") for row in rows]
    sets = results.machine["instruction_sets"]
    there = [name for name, (_, loop, _) in SHARES.items() if loop in sets]
    absent = [name for name in there if not any(SHARES[name][0] in kernel for kernel in checked)]
    wanted = ", ".join(["ref", *there])
    # A kernel that is not exact stops the run: rows of ours are exact rows.
    count = sum(1 for row in results.rows if row["role"] == "ours" and row.get("exact"))
    measured = f"{', '.join(checked) or 'none'}; {count} timed contenders"
    if not rows:
        yield Line(1, "exact", "", wanted, "", NOT_RUN, results.why_not("linear"))
    elif absent:
        why = f"this build has no kernel for {', '.join(absent)}"
        yield Line(1, "exact", "", wanted, measured, MISSED, why)
    else:
        yield Line(1, "exact", "", wanted, measured, MET)


def _shares(results: Results) -> Iterator[Line]:
    for name, (part, loop, shapes) in SHARES.items():
        for shape, wanted in shapes.items():
            what = f"linear, {name}, share of the limit"
            text = f">= {100 * wanted:.0f} %"
            if loop not in results.machine["instruction_sets"]:
                yield Line(2, what, shape, text, "", NOT_HERE, f"this CPU has no {name}")
                continue
            rows = results.find("linear", shape, "linear", functools.partial(_forced, part))
            if not rows:
                there = any(part in kernel for kernel in results.machine["kernels"])
                why = "not measured in this run" if there else "no such kernel in this build"
                verdict = NOT_RUN if there or not results.has("linear") else MISSED
                yield Line(2, what, shape, text, "", verdict, why)
                continue
            row = rows[0]
            if "share" not in row:
                why = "no compiler for the limit's loop"
                yield Line(2, what, shape, text, f"{row['gmacs']:.0f} GMAC/s", NOT_RUN, why)
                continue
            measured = f"{100 * row['share']:.1f} % ({row['gmacs']:.0f} GMAC/s)"
            yield Line(2, what, shape, text, measured, _verdict(row["share"], wanted))


def _forced(part: str, row: Row) -> bool:
    kernel = str(row.get("kernel", ""))
    return part in kernel and row["name"] == f"bittwin {kernel}"


def _peers(results: Results) -> Iterator[Line]:
    for shape, wanted in LINEAR_PEERS.items():
        yield _against_peers(results, "linear", shape, wanted)
    for shape, wanted in CONV_PEERS.items():
        yield _against_peers(results, "conv", shape, wanted)


def _against_peers(results: Results, task: str, shape: str, wanted: float) -> Line:
    what = f"{task}, speed against the best exact peer"
    rows = results.find(task, shape, task, lambda r: True)
    mine = fastest(r for r in rows if r["role"] == "ours" and r["name"].startswith("bittwin ("))
    if level(results) == "avx2":
        return _ratio(3, f"{task}, speed against torch float32", shape, 1.0, rows, mine, "float")
    return _ratio(3, what, shape, wanted * _factor(results), rows, mine, "peer")


def _ratio(
    number: int, what: str, shape: str, wanted: float, rows: list[Row], mine: Row | None, role: str
) -> Line:
    base = [r for r in rows if (is_peer(r) if role == "peer" else r["role"] == role)]
    text = f">= {wanted:.2f}x"
    if mine is None or not base:
        why = "no figure of ours" if mine is None else f"no {role} to compare with"
        return Line(number, what, shape, text, "", NOT_RUN, why)
    best = fastest(base)
    assert best is not None
    ratio = speed_ratio(base, mine)
    measured = f"{ratio:.2f}x ({micro(mine['us'])} us)"
    why = f"{best['name']}: {micro(best['us'])} us"
    bound = fastest(r for r in rows if r["role"] == "bound" and r.get("exact"))
    if role == "peer" and bound is not None and bound["us"] < best["us"]:
        why += f"; with bound buffers {micro(bound['us'])} us ({speed_ratio([bound], mine):.2f}x)"
    inexact = [r["name"] for r in rows if r.get("exact") is False]
    if inexact:
        why += f"; not counted, inexact here: {', '.join(inexact)}"
    return Line(number, what, shape, text, measured, _verdict(ratio, wanted), why)


def _training(results: Results) -> Iterator[Line]:
    for number, what, prefix, targets in (
        (4, "forward", "bittwin.nn (", FORWARD),
        (5, "step", "bittwin.nn (", STEP),
        (5, "step", "bittwin.nn, bfloat16", STEP_BFLOAT16),
    ):
        kind = f"{what}, bfloat16 backward" if "bfloat16" in prefix else what
        label = f"training {kind}, speed against torch float32"
        for shape, wanted in targets.items():
            rows = results.find("training", shape, what, lambda r: True)
            mine = fastest(r for r in rows if r["name"].startswith(prefix))
            goal = 1.0 if level(results) == "avx2" else wanted * _factor(results)
            yield _ratio(number, label, shape, goal, rows, mine, "float")


def _factor(results: Results) -> float:
    return 1.0 if level(results) == "amx" else VNNI_FACTOR


def _overhead(results: Results) -> Iterator[Line]:
    for name, wanted in OVERHEAD.items():
        rows = results.find("overhead", "call", "overhead", name)
        text = f"<= {wanted:g} us"
        if not rows:
            yield Line(7, name, "", text, "", NOT_RUN, results.why_not("overhead"))
            continue
        yield Line(7, name, "", text, f"{rows[0]['us']:.2f} us", _verdict(wanted, rows[0]["us"]))


def _threads(results: Results) -> Iterator[Line]:
    what = "linear, two threads against one"
    for shape, wanted in THREADS.items():
        rows = results.find("threads", shape, "threads", "bittwin (")
        text = f">= {wanted:.1f}x"
        if len(rows) < 2:
            why = results.why_not("threads")
            verdict = NOT_HERE if "one core" in why else MISSED if "not there" in why else NOT_RUN
            yield Line(8, what, shape, text, "", verdict, why)
            continue
        one, two = rows
        ratio = speed_ratio([one], two)
        verdict, why = _verdict(ratio, wanted), ""
        if verdict == MISSED and one.get("quiet", 1.0) < QUIET:
            verdict, why = NOT_RUN, f"the machine gave {200 * one['quiet']:.0f} % of a core only"
        yield Line(8, what, shape, text, f"{ratio:.2f}x", verdict, why)


def _network(results: Results) -> Iterator[Line]:
    for shape, wanted in FRAMES.items():
        what, text = "network, frames per second", f">= {wanted:,}"
        mine = fastest(results.find("network", shape, "network", "Network.run"))
        if mine is None:
            yield Line(9, what, shape, text, "", NOT_RUN, results.why_not("network"))
            continue
        rate = mine["frames_per_second"]
        limits = results.find("network", shape, "network", lambda r: r["role"] == "limit")
        limit = max((r["gmacs"] for r in limits if r.get("kernel") in peak.INTEGER), default=0.0)
        need = wanted * mine["macs_per_frame"] / 1e9
        share = f", {100 * need / limit:.0f} % of this core's limit" if limit else ""
        why = f"needs {need:.0f} GMAC/s{share}"
        verdict = NOT_HERE if limit and need > limit else _verdict(rate, wanted)
        yield Line(9, what, shape, text, f"{rate:,.0f}", verdict, why)


def _verify(results: Results) -> Iterator[Line]:
    what, text = "bittwin verify of the keyword-spotting dump, whole process", f"< {VERIFY_MS} ms"
    own = results.find("verify", "own dump", "process", "bittwin verify")
    if own:
        ms = own[0]["us"] / 1000
        yield Line(10, what, "", text, f"{ms:.0f} ms", _verdict(VERIFY_MS, ms))
        return
    example = results.find("verify", "example dump", "process", "bittwin verify")
    measured = f"{example[0]['us'] / 1000:.0f} ms for the example's dump" if example else ""
    why = "no dump given: --dump OUTPUT_FOLDER" if example else results.why_not("verify")
    yield Line(10, what, "", text, measured, NOT_RUN, why)


def _verdict(value: float, wanted: float) -> str:
    return MET if value >= wanted else MISSED
