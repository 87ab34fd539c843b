# SPDX-License-Identifier: Apache-2.0
"""``bittwin verify``: exit codes, output in a pipe and on a terminal, JSON, refusals in one line."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys

import numpy as np
import pytest


def test_equal_dump_exits_0_and_says_so(run, dump):
    found = run("verify", dump)
    assert found.code == 0
    assert found.err == ""
    assert found.out.rstrip().endswith("codes compared, 0 differ")
    assert "2 layers, 3 sets, 2 modes: " in found.out
    assert "first" in found.out
    assert "relu" in found.out


def test_wrong_dump_exits_1_and_names_the_first_wrong_layer(run, wrong_dump):
    found = run("verify", wrong_dump)
    assert found.code == 1
    assert "first wrong layer: first (net 0), set expected, frame 2" in found.out
    assert "likely cause: 1 code in 1 frame: frame 2, column 5" in found.out


def test_pipe_output_is_plain(run, wrong_dump):
    out = run("verify", wrong_dump).out
    assert out.isascii()
    assert "\x1b" not in out
    assert not any(c in out for c in "│─┏╭")


def test_rounding_is_diagnosed(run, dump):
    found = run("verify", dump, "--rounding", "half_even")
    assert found.code == 1
    assert "another rounding: readout explains 100 % of the codes" in found.out


def test_json_to_stdout_is_only_json(run, wrong_dump):
    found = run("verify", wrong_dump, "--json", "-")
    assert found.code == 1
    data = json.loads(found.out)
    assert data["equal"] is False
    wrong = [e for e in data["layers"] if e["mismatches"]]
    assert {(e["name"], e["set"]) for e in wrong} == {("first", "expected")}
    assert wrong[0]["first"]["frame"] == 2


def test_json_to_a_file_comes_beside_the_report(run, dump, tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    found = run("verify", dump, "--json", path)
    assert found.code == 0
    assert "0 differ" in found.out
    assert json.loads(path.read_text())["equal"] is True
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dump", "result.json"]


def test_layer_and_frames(run, wrong_dump):
    assert run("verify", wrong_dump, "--layer", "second").code == 0
    assert run("verify", wrong_dump, "--frames", "2").code == 0
    assert run("verify", wrong_dump, "--frames", "2:3").code == 1
    assert run("verify", wrong_dump, "--frames", "3:").code == 0
    assert run("verify", wrong_dump, "--frames", ":3", "--layer", "first").code == 1


def test_measured(run, dump, tmp_path):
    golden = np.fromfile(dump / "map" / "expected_out.bin", "<i2")
    same = tmp_path / "same.bin"
    golden.tofile(same)
    found = run("verify", dump, "--measured", same)
    assert found.code == 0
    assert "measured: 2 layers, 600 codes, 0 differ" in found.out
    rng = np.random.default_rng(0)
    noisy = np.clip(golden + np.rint(rng.normal(0, 1, golden.size)), -128, 127).astype("<i2")
    noisy.tofile(tmp_path / "noisy.bin")
    found = run("verify", dump, "--measured", tmp_path / "noisy.bin", "--json", "-")
    assert found.code == 1
    measured = json.loads(found.out)["measured"]
    assert [m["name"] for m in measured] == ["first", "second"]
    assert measured[0]["raw"]["mean_column_std"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify",), "Missing argument 'DUMP'"),
        (("verify", "{tmp}/nothing"), "nothing"),
        (("verify", "{dump}", "--nope"), "No such option"),
        (("verify", "{dump}", "--layer", "x"), "found 'x', wanted one of first, second"),
        (("verify", "{dump}", "--rounding", "x"), "found 'x', wanted one of readout"),
        (("verify", "{dump}", "--frames", "x"), "found 'x', wanted N"),
        (("verify", "{dump}", "--frames", ":"), "found ':', wanted N"),
        (("verify", "{dump}", "--frames", "41"), "found 0:41, wanted A:B"),
        (("verify", "{dump}", "--frames", "5:5"), "found 5:5, wanted A:B"),
        (("verify", "{dump}", "--measured", "{tmp}/nothing"), "No such file"),
        (("verify", "{dump}", "--measured", "{dump}/map/layers.txt"), "wanted 1200"),
        (("verify", "{dump}", "--json", "{tmp}"), "wanted a file or -"),
        (("verify", "{dump}", "--json", "{tmp}/no/x.json"), "there is no folder"),
        (("verify", "{dump}/map/layers.txt"), "layers.txt"),
        (("frobnicate",), "No such command"),
        (("inspect", "{tmp}/nothing"), "found nothing"),
        (("inspect", "{dump}/map/layers.txt"), "layers.txt"),
    ],
)
def test_bad_usage_and_bad_input_exit_2_with_one_line(run, dump, tmp_path, arguments, words):
    found = run(*(a.format(tmp=tmp_path, dump=dump) for a in arguments))
    assert found.code == 2
    assert found.out == ""
    lines = found.err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("bittwin: error: ")
    assert words in lines[0]


@pytest.mark.parametrize("name", ["map/layers.txt", "map/expected_out.bin", "map/random_idx.txt"])
def test_damaged_files_exit_2_or_are_noticed(run, dump, name):
    path = dump / name
    path.write_bytes(path.read_bytes()[:-3] + b"?")
    found = run("verify", dump)
    assert found.code == 2
    assert len(found.err.splitlines()) == 1


def test_names_cannot_steer_the_terminal():
    from bittwin.golden.report.tables import Cell, Line, Table, render_plain

    blocks = [Line("a\x1b[31mb\nc"), Table(["x"], rows=[[Cell("\x07\x9b31m")]])]
    assert "\x1b" not in render_plain(blocks)
    assert "\x07" not in render_plain(blocks)
    assert len(render_plain(blocks).splitlines()) == 3


def test_interrupt_exits_130(run, dump, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    import importlib

    monkeypatch.setattr(
        importlib.import_module("bittwin.golden.check.verify"), "verify", interrupted
    )
    assert run("verify", dump).code == 130


def test_closed_pipe_is_quiet_and_keeps_the_exit_code(wrong_dump):
    process = subprocess.Popen(
        [sys.executable, "-m", "bittwin", "verify", str(wrong_dump)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert err == b""


def test_terminal_gets_colours_and_nothing_is_cut(wrong_dump):
    """Under a pseudo-terminal of 70 columns every number is still there."""
    main_end, side = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "70"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "bittwin", "verify", str(wrong_dump)], stdout=side, env=environment
    )
    os.close(side)
    seen = b""
    while select.select([main_end], [], [], 20)[0]:
        try:
            chunk = os.read(main_end, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(main_end)
    assert process.wait() == 1
    text = seen.decode()
    assert "\x1b[" in text
    assert "first wrong layer" in text
    assert "…" not in text


def test_progress_bar_only_on_a_terminal_and_only_after_a_second(monkeypatch, capfd):
    from bittwin.cli.output import LazyProgress

    with LazyProgress("verifying") as progress:
        progress(1, 10)
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with LazyProgress("verifying") as progress:
        progress(1, 10)
        assert progress._bar is None
        progress._start -= 2
        progress(2, 10)
        assert progress._bar is not None
    assert "verifying" in capfd.readouterr().err
