# SPDX-License-Identifier: Apache-2.0
"""Golden codes: a mapper's output folders read, written and verified."""

from __future__ import annotations

from bittwin.golden.check.results import Verification
from bittwin.golden.check.verify import verify
from bittwin.golden.dump import Codes, CodeSet, Dump, DumpLayer, Region
from bittwin.golden.reading.reader import read_dump
from bittwin.golden.trace.compare import compare_traces
from bittwin.golden.trace.writer import write_trace
from bittwin.golden.writing.writer import write_dump

__all__ = [
    "CodeSet",
    "Codes",
    "Dump",
    "DumpLayer",
    "Region",
    "Verification",
    "compare_traces",
    "read_dump",
    "verify",
    "write_dump",
    "write_trace",
]
