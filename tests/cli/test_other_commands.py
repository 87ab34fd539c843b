# SPDX-License-Identifier: Apache-2.0
"""``inspect``, ``kernels``, ``selftest``, ``--version``, and how light the start is."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import bittwin
from bittwin.selftest import run_selftest


def test_inspect_dump(run, dump):
    found = run("inspect", dump)
    assert found.code == 0
    assert "2 layers in 1 net, with sidecar" in found.out
    assert "12 -> 16" in found.out
    assert "relu (sidecar)" in found.out


def test_inspect_dump_json(run, dump, network):
    found = run("inspect", dump, "--json", "-")
    data = json.loads(found.out)
    assert data["kind"] == "dump"
    first, second = data["layers"]
    assert (first["name"], first["in"], first["out"], first["gain"]) == ("first", 12, 16, 256)
    assert second["bias_rows_used"] >= 1
    bound = network.layers[2].bound()
    assert second["operator"]["accumulator"]["low"] == bound.low
    assert second["operator"]["accumulator"]["high"] == bound.high
    assert first["sets"]["complete"]["frames"] == 36


def test_inspect_network(run, network, tmp_path):
    path = tmp_path / "net.npz"
    network.save(path)
    found = run("inspect", path)
    assert found.code == 0
    assert "network small, 3 layers, input [12]" in found.out
    data = json.loads(run("inspect", path, "--json", "-").out)
    assert [x["kind"] for x in data["layers"]] == ["linear", "relu", "linear"]
    assert data["layers"][0]["accumulator"]["fits_int32"] is True


def test_inspect_json_file(run, dump, tmp_path):
    path = tmp_path / "facts.json"
    assert run("inspect", dump, "--json", path).code == 0
    assert json.loads(path.read_text())["nets"] == [0]


def test_kernels(run):
    found = run("kernels")
    assert found.code == 0
    assert "ref" in found.out
    data = json.loads(run("kernels", "--json").out)
    assert [k["name"] for k in data["kernels"]][-1] == "ref"
    assert sum(k["active"] for k in data["kernels"]) == 1


def test_version_and_help(run):
    assert run("--version").out.strip() == f"bittwin {bittwin.__version__}"
    for arguments in ((), ("--help",)):
        found = run(*arguments)
        assert found.code == 0
        assert "verify" in found.out
    assert "Exit codes: 0 equal" in run("verify", "--help").out


def test_selftest_level_1_passes(run):
    before = bittwin.active_kernel()
    found = run("selftest")
    assert found.code == 0
    assert "all equal" in found.out
    assert "WRONG" not in found.out
    assert bittwin.active_kernel() == before


def test_selftest_reports_a_wrong_kernel(run, monkeypatch):
    right = bittwin.accumulate

    def saturating(x, weight, bias=None, **how):
        return np.clip(right(x, weight, bias, **how), -(1 << 20), 1 << 20)

    monkeypatch.setattr(bittwin, "accumulate", saturating)
    found = run("selftest")
    assert found.code == 1
    first = next(kernel.name for kernel in bittwin.kernels() if kernel.available)
    assert (
        f"first wrong case: known vectors, kernel {first}: 515 rows: at [0, 0] found" in found.out
    )


def test_selftest_reports_a_kernel_that_refuses(monkeypatch):
    def refusing(*_, **__):
        raise ValueError("no")

    monkeypatch.setattr(bittwin, "conv2d_accumulate", refusing)
    bad = [check for check in run_selftest(1) if check.failure]
    assert bad
    assert all("found ValueError (no), wanted numbers" in check.failure for check in bad)


def test_selftest_refuses_other_levels(run):
    with pytest.raises(ValueError, match="level: found 3"):
        run_selftest(3)
    assert run("selftest", "--level", "3").code == 2


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter."""
    import os

    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_unknown_forced_kernel_is_one_line(dump):
    code = "import sys; from bittwin.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for arguments in (["kernels"], ["verify", str(dump)]):
        found = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env={**__import__("os").environ, "BITTWIN_KERNEL": "nope"},
        )
        assert found.returncode == 2
        assert len(found.stderr.splitlines()) == 1
        assert "found 'nope'" in found.stderr


def test_heavy_modules_stay_out():
    """Neither rich nor hypothesis nor torch is imported for a plain report."""
    code = (
        "import sys; import bittwin.cli.main, bittwin.golden.check.verify, bittwin.golden.report.report\n"
        "print([m for m in ('rich', 'hypothesis', 'torch', 'importlib.metadata') if m in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"
