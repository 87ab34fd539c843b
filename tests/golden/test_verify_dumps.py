# SPDX-License-Identifier: Apache-2.0
"""Two real mapper outputs, where they are at hand, and the bundled example."""

from __future__ import annotations

from pathlib import Path

import pytest

import bittwin

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"
DUMPS = {"kws_dnn": (5, 595_080), "attention": (2, 382_120)}


@pytest.fixture(params=DUMPS)
def real_dump(request, shared_dir):
    return shared_dir / "data" / "dumps" / request.param


def test_every_code_of_a_real_dump_is_reproduced(real_dump):
    layers, codes = DUMPS[real_dump.name]
    found = bittwin.verify(real_dump)
    assert found.equal
    assert (found.mismatches, found.codes) == (0, codes)
    assert len(found.layers) == layers * 3 * 2
    assert {r.left_out for r in found.layers} == {0}
    assert not found.notes


def test_half_even_on_a_real_dump_is_diagnosed_as_readout(real_dump):
    found = bittwin.verify(real_dump, rounding="half_even")
    assert not found.equal
    wrong = [r for r in found.layers if r.mismatches]
    assert len({r.name for r in wrong}) == DUMPS[real_dump.name][0]
    for entry in wrong:
        first = entry.diagnosis[0]
        assert (first.rule, first.exact, first.explains) == ("readout", True, 1.0)
        assert "readout" in first.cause
        assert "explains 100 %" in first.cause
    assert entry.max_abs == 1


@pytest.mark.skipif(not EXAMPLE.is_dir(), reason=f"no bundled example: {EXAMPLE} is not a folder")
class TestExample:
    def test_equal(self):
        found = bittwin.verify(EXAMPLE / "dump")
        assert found.equal
        assert found.codes > 10_000

    def test_measured_faults_are_named(self):
        found = bittwin.verify(EXAMPLE / "dump", measured=EXAMPLE / "measured.bin")
        assert not found.equal
        assert found.mismatches == 0
        kinds = {d.kind for m in found.measured for d in m.diagnosis}
        assert {"offset_column", "stuck_column", "noise"} <= kinds
