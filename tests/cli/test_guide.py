# SPDX-License-Identifier: Apache-2.0
"""The output that the guides show is what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str) -> list[tuple[str, str]]:
    """Commands and what the page shows below each."""
    text = (ROOT / "docs" / "guide" / page).read_text()
    return re.findall(r"```console\n\$ bittwin (.*)\n((?:.*\n)*?)```", text)


BLOCKS = blocks("verify.md")


def test_guide_shows_output():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[b[0] for b in BLOCKS])
def test_shown_output_is_printed(command, shown, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = run(*command.split())
    assert found.code in (0, 1)
    assert found.out.rstrip("\n") == shown.rstrip("\n")


def without_times(text: str) -> str:
    """Seconds and frames per second are another machine's."""
    return re.sub(r"in [0-9.]+ m?s: [0-9,]+ frames/s", "in T s: N frames/s", text).rstrip("\n")


def test_the_page_on_simulate_in_one_go(run, monkeypatch, tmp_path):
    """Its commands write files that the next ones read, so they run in order, in a folder of their own."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    shown_here = blocks("simulate.md")
    assert len(shown_here) >= 4
    for command, shown in shown_here:
        found = run(*command.split())
        assert found.code in (0, 1), found.err
        assert without_times(found.out) == without_times(shown), command
