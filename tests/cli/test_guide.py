# SPDX-License-Identifier: Apache-2.0
"""The output that the guide shows is what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide" / "verify.md"
BLOCKS = re.findall(r"```console\n\$ bittwin (.*)\n((?:.*\n)*?)```", GUIDE.read_text())


def test_guide_shows_output():
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[b[0] for b in BLOCKS])
def test_shown_output_is_printed(command, shown, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = run(*command.split())
    assert found.code in (0, 1)
    assert found.out.rstrip("\n") == shown.rstrip("\n")
