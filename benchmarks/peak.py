# SPDX-License-Identifier: Apache-2.0
"""The limit of one core: register-only loops (peak.cpp), compiled here with the system's compiler.

    python benchmarks/peak.py [--out RECORD.json]

The other tasks run the same loops between their contenders, so that a share of the limit divides two
figures of one run. Without a compiler there are no shares; everything else works.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Contender

if TYPE_CHECKING:
    from record import Options, Report

SOURCE = Path(__file__).with_name("peak.cpp")
FOLDER = SOURCE.parent.parent / "build" / "benchmarks"
#: Loops that bound integer kernels, best first.
INTEGER = ("amx_int8", "avx512_vnni", "avx2")
#: Part of a kernel's name -> the loop that bounds it, most special first.
_BOUNDS = (("amx", "amx_int8"), ("vnni", "avx512_vnni"), ("avx2", "avx2"))
#: About a millisecond at 4 GHz, so that a loop is timed like a contender.
_TURNS = 500_000


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled loops, or None without a compiler; kept in build/benchmarks by the source's hash."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    path = FOLDER / f"peak-{digest}.so"
    if not path.exists() and not _compile(path):
        return None
    loaded = ctypes.CDLL(str(path))
    loaded.peak_name.restype = ctypes.c_char_p
    loaded.peak_macs.restype = ctypes.c_int64
    loaded.peak_run.argtypes = (ctypes.c_int, ctypes.c_int64)
    return loaded


def _compile(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CXX", "c++")
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    # Old assemblers do not know the tile instructions.
    for extra in ([], ["-DPEAK_NO_AMX"]):
        line = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", *extra]
        try:
            done = subprocess.run(
                [*line, str(SOURCE), "-o", str(draft)], capture_output=True, check=False
            )
        except OSError:
            return False
        if done.returncode == 0:
            draft.replace(path)
            return True
    return False


def _supported() -> dict[str, int]:
    loaded = library()
    if loaded is None:
        return {}
    indices = range(loaded.peak_count())
    return {loaded.peak_name(i).decode(): i for i in indices if loaded.peak_supported(i)}


def instruction_sets() -> list[str]:
    """Names of the loops that this CPU can run; empty without a compiler."""
    return list(_supported())


def contenders() -> list[Contender]:
    """The loops as contenders; one float32 loop, the wider."""
    loaded = library()
    found = []
    names = _supported()
    for name, index in names.items():
        if name == "float32_ymm" and "float32_zmm" in names:
            continue
        assert loaded is not None
        macs = loaded.peak_macs(index)
        # Tiles do in one turn what takes vectors many: turns by the instructions' rough rates.
        turns = _TURNS // 12 if not name.startswith("amx") else _TURNS // 150
        run = functools.partial(loaded.peak_run, index, turns)
        limit = Contender(f"limit {name}", run, "limit", kernel=name, macs=macs * turns)
        found.append(limit)
    return found


def parallel_speed() -> float | None:
    """How much of two cores this machine gives: 1.0 when it is quiet, 0.5 when one of two is taken.

    The same register-only work once, and then twice at a time on two threads; ctypes lets go of the
    interpreter meanwhile, so nothing is shared but the machine. None without a compiler.
    """
    loaded, names = library(), _supported()
    if loaded is None or not names:
        return None
    # The last is a float loop: no instruction set of its own clock.
    work = functools.partial(loaded.peak_run, list(names.values())[-1], 40 * _TURNS)
    shares = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(7):
            start = time.perf_counter()
            work()
            one = time.perf_counter() - start
            start = time.perf_counter()
            list(pool.map(lambda _: work(), range(2)))
            shares.append(min(1.0, one / (time.perf_counter() - start)))
    return statistics.median(shares)


def limit_of(kernel: str, rates: Mapping[str, float]) -> str | None:
    """The loop that bounds a kernel; for any other name, somebody else's library included, the best."""
    for part, loop in _BOUNDS:
        if part in kernel:
            return loop if loop in rates else None
    return next((loop for loop in INTEGER if loop in rates), None)


def run(options: Options) -> Report:
    """Time the loops alone."""
    from record import Report

    report = Report()
    if library() is None:
        report.skipped["peak"] = "no compiler that takes peak.cpp"
    report.time("one core", contenders(), options, what="limit", limits=False)
    return report


if __name__ == "__main__":
    import record

    record.command("the limit of one core, register-only loops", run)
