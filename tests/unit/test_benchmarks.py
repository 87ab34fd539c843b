# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run, and their bookkeeping is right: timing, exactness, medians, verdicts, the page."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"
TASKS = ("linear", "conv", "training", "overhead", "network", "threads", "verify")
MODULES = ("harness", "peak", "record", "results", "shapes", "ours", "overhead", "judge", "page")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The record and the output of a smoke run: every task, tiny shapes, one process."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    path = tmp_path_factory.mktemp("bench") / "record.json"
    line = [sys.executable, str(FOLDER / "targets.py"), "--smoke", "--out", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text(encoding="utf-8")), done.stdout


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, ModuleType]]:
    """The benchmarks' modules under the names that they import each other by; forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - before:
            source = getattr(sys.modules[name], "__file__", None) or ""
            if Path(source).parent == FOLDER:
                del sys.modules[name]


def test_every_task_runs(smoke: tuple[dict[str, Any], str]) -> None:
    record, output = smoke
    ran = {row["task"] for row in record["rows"]}
    skipped = {name.partition(":")[0] for name in record["skipped"]}
    assert set(TASKS) <= ran | skipped
    assert {p.stem for p in FOLDER.glob("*.py")} >= set(TASKS)
    assert record["failures"] == []
    assert {line["number"] for line in record["targets"]} == set(range(1, 11))
    assert "smoke run" in output
    for key in ("cpu", "compiler", "commit", "instruction_sets", "kernels", "numpy", "torch"):
        assert record["machine"][key], key


def test_every_contender_of_ours_was_compared(smoke: tuple[dict[str, Any], str]) -> None:
    rows = [r for r in smoke[0]["rows"] if r["task"] in ("linear", "conv") and r["role"] == "ours"]
    assert rows
    assert all(row["exact"] is True for row in rows)


def test_unknown_task_is_refused() -> None:
    line = [sys.executable, str(FOLDER / "targets.py"), "--only", "linear,warp9"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "--only: found warp9, wanted linear, conv" in done.stderr


def test_rounds_interleave_and_medians_are_right(bench: dict[str, ModuleType]) -> None:
    harness = bench["harness"]
    now, order, took = [0], [], {"a": [7, 1, 9, 1, 5, 1], "b": [2] * 40}

    def contender(name: str) -> Any:
        def run() -> None:
            order.append(name)
            now[0] += 1000 * took[name].pop(0) * 1_000_000  # milliseconds times 1000: no warm-up

        return harness.Contender(name, run)

    effort = harness.Effort(1e-9, 5, 5)
    times = harness.measure([contender("a"), contender("b")], effort, clock=lambda: now[0])
    # One estimate each, slow ones only once, then rounds of both in turn; very slow ones get two samples.
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert times["a"].us == pytest.approx((1 + 9) / 2 * 1e6)
    assert times["b"].us == pytest.approx(2e6)
    assert times["a"].samples == 2


def test_short_calls_are_repeated_and_divided(bench: dict[str, ModuleType]) -> None:
    harness = bench["harness"]
    now = [0]

    def run() -> None:
        now[0] += 10_000

    effort = harness.Effort(0.01, 3, 4)
    timing = harness.measure([harness.Contender("c", run)], effort, clock=lambda: now[0])["c"]
    assert timing.us == 10.0
    assert timing.samples == 4


def test_wrong_codes_of_ours_stop_the_task_and_of_others_are_marked(
    bench: dict[str, ModuleType],
) -> None:
    harness = bench["harness"]
    right, wrong = np.array([1, 2]), np.array([1, 3])

    def contender(role: str, result: Any, wanted: Any = None) -> Any:
        return harness.Contender("c", lambda: None, role, lambda: result, wanted)

    assert harness.exact(contender("ours", right), right) is True
    assert harness.exact(contender("peer", wrong), right) is False
    assert harness.exact(contender("peer", wrong, wrong), right) is True
    assert harness.exact(harness.Contender("c", lambda: None), right) is None
    with pytest.raises(AssertionError, match="c: 1 codes differ"):
        harness.exact(contender("ours", wrong), right)
    equal = np.array([2, 2])  # a shorter result must not be stretched to the wanted one
    for bad in (equal[:1], np.array([2, 2, 2]), equal[:, None]):
        with pytest.raises(AssertionError, match=r"c: found \(.*\), wanted \(2,\)"):
            harness.exact(contender("ours", bad), equal)


def test_absent_contenders_are_named(bench: dict[str, ModuleType]) -> None:
    harness = bench["harness"]

    def gone() -> list[Any]:
        raise harness.AbsentError("no such operator")

    found, skipped = harness.collect(harness.lazy("a_package_nobody_has", "maker"), gone)
    assert found == []
    assert skipped == {"maker": "a_package_nobody_has is not installed", "gone": "no such operator"}


def test_data_breaks_a_kernel_that_saturates_pairs(bench: dict[str, ModuleType]) -> None:
    shapes = bench["shapes"]
    case = shapes.linear_case("S", 5, 64, 7)
    pairs = case.x[:, None, :].astype(np.int64) * case.weight[None].astype(np.int64)
    np.testing.assert_array_equal(pairs.sum(-1), case.acc)
    saturated = np.clip(pairs.reshape(5, 7, 32, 2).sum(-1), -32768, 32767).sum(-1)
    assert (saturated != case.acc).mean() > 0.9
    assert (np.abs(case.readout.astype(int)) < 127).mean() > 0.9


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_exact_convolution_is_the_definition(bench: dict[str, ModuleType], groups: int) -> None:
    shapes = bench["shapes"]
    conv = shapes.Conv((2, 4, 5, 6), 8, 3, 2, 1, groups)
    case = shapes.conv_case("c", conv)
    n, o, h, w = conv.output
    assert case.acc.shape == (n, o, h, w)
    per_in, per_out = 4 // groups, 8 // groups
    for at in np.ndindex(n, o, h, w):
        total, first = 0, at[1] // per_out * per_in
        for c, ky, kx in np.ndindex(per_in, 3, 3):
            y, x = 2 * at[2] + ky - 1, 2 * at[3] + kx - 1
            if 0 <= y < 5 and 0 <= x < 6:
                total += int(case.x[at[0], first + c, y, x]) * int(case.weight[at[1], c, ky, kx])
        assert case.acc[at] == total


def row(task: str, shape: str, name: str, role: str, runs: list[float], **more: Any) -> Any:
    fields = {"task": task, "shape": shape, "what": task, "name": name, "role": role}
    return {**fields, "us": sorted(runs)[len(runs) // 2], "us_runs": runs, **more}


def results_of(bench: dict[str, ModuleType], rows: list[Any], sets: list[str]) -> Any:
    machine = {"instruction_sets": sets, "kernels": {"ref": "runs"}, "cpu": "x"}
    return bench["results"].Results({"machine": machine, "rows": rows, "skipped": {}})


def peers_line(bench: dict[str, ModuleType], rows: list[Any], sets: list[str]) -> Any:
    lines = bench["judge"].judge(results_of(bench, rows, sets))
    (line,) = (e for e in lines if e.number == 3 and e.shape == "S3")
    return line


def test_ratio_is_the_median_of_each_launch_and_inexact_peers_do_not_count(
    bench: dict[str, ModuleType],
) -> None:
    rows = [
        row("linear", "S3", "bittwin (amx)", "ours", [10.0, 20.0, 40.0], exact=True),
        row("linear", "S3", "fast but wrong", "peer", [1.0, 1.0, 1.0], exact=False),
        row("linear", "S3", "a", "peer", [12.0, 22.0, 90.0], exact=True),
        row("linear", "S3", "b", "peer", [90.0, 90.0, 60.0], exact=True),
        row("linear", "S3", "torch float32", "float", [50.0, 50.0, 50.0]),
    ]
    line = peers_line(bench, rows, ["amx_int8", "avx512_vnni", "avx2"])
    assert line.measured.startswith("1.20x")  # of 1.2, 1.1 and 1.5
    assert (line.verdict, line.wanted) == ("met", ">= 1.00x")
    assert "inexact here: fast but wrong" in line.why
    assert peers_line(bench, rows, ["avx512_vnni", "avx2"]).wanted == ">= 0.40x"
    line = peers_line(bench, rows, ["avx2"])
    assert line.wanted == ">= 1.00x"
    assert line.measured.startswith("2.50x")  # float32: 5, 2.5 and 1.25


def test_missed_missing_and_not_applicable_differ(bench: dict[str, ModuleType]) -> None:
    slow = row("linear", "S3", "bittwin avx2", "ours", [9.0], kernel="avx2", share=0.79, gmacs=9.0)
    lines = bench["judge"].judge(results_of(bench, [slow], ["avx512_vnni", "avx2"]))
    two = {(e.what, e.shape): e for e in lines if e.number == 2}
    assert two["linear, AVX2, share of the limit", "S3"].verdict == "missed"
    assert two["linear, AMX, share of the limit", "S3"].verdict == "not applicable"
    vnni = two["linear, AVX512-VNNI, share of the limit", "S3"]
    assert (vnni.verdict, vnni.why) == ("missed", "no such kernel in this build")


def test_merge_keeps_medians_and_forgets_no_inexact_launch(bench: dict[str, ModuleType]) -> None:
    def launch(us: float, exact: bool) -> Any:
        r = {"shape": "S1", "what": "w", "name": "n", "role": "peer", "us": us, "exact": exact}
        return {"t": {"machine": {}, "rows": [r], "skipped": {}, "notes": ["a"]}}

    merged = bench["results"].merge([launch(1.0, True), launch(9.0, False), launch(2.0, True)])
    (found,) = merged["rows"]
    assert (found["us"], found["us_runs"], found["exact"]) == (2.0, [1.0, 9.0, 2.0], False)
    assert (merged["launches"], merged["notes"]) == (3, ["a"])


def test_page_is_replaced_between_its_markers_only(
    bench: dict[str, ModuleType], smoke: tuple[dict[str, Any], str], tmp_path: Path
) -> None:
    page = bench["page"]
    path = tmp_path / "page.md"
    path.write_text(f"head\n{page.BEGIN}\nold\n{page.END}\ntail\n", encoding="utf-8")
    page.write([smoke[0]], path)
    once = path.read_text(encoding="utf-8")
    page.write([smoke[0]], path)
    assert path.read_text(encoding="utf-8") == once
    assert once.startswith("head\n")
    assert once.endswith("\ntail\n")
    assert "old" not in once
    assert "| torch float32 |" in once
    path.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="no markers"):
        page.write([smoke[0]], path)
    with pytest.raises(FileNotFoundError, match="make bench"):
        page.read_records(tmp_path)


def test_committed_page_has_the_markers(bench: dict[str, ModuleType]) -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.count(bench["page"].BEGIN) == text.count(bench["page"].END) == 1


def test_peak_needs_a_compiler_and_says_so(tmp_path: Path) -> None:
    code = (
        "import peak; from pathlib import Path; peak.FOLDER = Path(r'%s'); print(peak.contenders())"
    )
    env = {**os.environ, "CXX": "no-such-compiler", "PYTHONPATH": str(FOLDER)}
    line = [sys.executable, "-c", code % tmp_path]
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
