# SPDX-License-Identifier: Apache-2.0
"""Timing that can be trusted: one pinned core, contenders interleaved, medians of process CPU time.

A task file lists `Contender`s, has them checked, and only then timed. Rounds go through all contenders in
turn, so that a change of clock speed hits them alike: figures of one run may be divided by each other,
figures of two runs may not.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Samples are stretched to this by repeated calls: the clock itself takes a good part of a microsecond.
SAMPLE_NS = 1_000_000
#: Below this a sample starts with one uncounted call, so that it does not pay for its predecessor's cache.
WARM_NS = 5_000_000
#: From here on three samples do, and two: steps of a large layer, the reference kernel.
SLOW_NS, VERY_SLOW_NS = 50_000_000, 400_000_000


class AbsentError(Exception):
    """A contender cannot run here; the message says why."""


@dataclass(frozen=True)
class Contender:
    """One way to do a task.

    Attributes:
        name: in tables and records.
        run: the timed call.
        role: ``ours``; ``peer``: the same task by somebody else, called on arrays, counted in ratios;
            ``bound``: the same on buffers bound beforehand, named beside the ratio; ``float``: torch's
            float32 layer; ``context``: shown, not counted; ``limit``: a register-only loop (see peak.py).
        result: integers of one run, to be compared with the exact ones; None: nothing to compare.
        wanted: the exact integers, where they are not the case's own (another rounding, raw accumulators).
        before: called before every sample, outside the clock.
        kernel: our kernel's name; of a limit, the loop's.
        macs: multiply-accumulates per call, where they are not the case's own.
    """

    name: str
    run: Callable[[], object]
    role: str = "context"
    result: Callable[[], NDArray[Any]] | None = None
    wanted: NDArray[Any] | None = None
    before: Callable[[], object] | None = None
    kernel: str = ""
    macs: int | None = None


@dataclass(frozen=True)
class Timing:
    """Microseconds per call: median, lower and upper quartile, and how many samples."""

    us: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds per contender, and the least and the most samples."""

    seconds: float = 0.2
    least: int = 5
    most: int = 41


FULL, QUICK, SMOKE = Effort(), Effort(0.05, 3, 9), Effort(0, 1, 1)


def pin_to_one_core() -> None:
    """Keep this process and its children on one core, where the system allows it.

    Math libraries count the cores when they are loaded, and their idle threads then spin: on one core that is
    charged to whoever is timed next. So a process that may use several cores pins itself and starts anew.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.execv(sys.executable, [sys.executable, *sys.argv])


def collect(*makers: Callable[[], Sequence[Contender]]) -> tuple[list[Contender], dict[str, str]]:
    """The contenders that can run here, and the reasons of those that cannot.

    Each maker returns contenders, or raises `AbsentError`, or ImportError for a package not installed.
    """
    found: list[Contender] = []
    skipped: dict[str, str] = {}
    for maker in makers:
        name = getattr(maker, "__name__", None) or maker.func.__name__  # type: ignore[attr-defined]
        try:
            found += maker()
        except AbsentError as reason:
            skipped[name] = str(reason)
        except ImportError as error:
            skipped[name] = f"{error.name or error} is not installed"
    return found, skipped


def lazy(module: str, name: str) -> Callable[..., Sequence[Contender]]:
    """A maker whose module is imported when it is called: its package may not be installed."""

    def maker(*arguments: object) -> Sequence[Contender]:
        found: Sequence[Contender] = getattr(import_module(module), name)(*arguments)
        return found

    maker.__name__ = name
    return maker


def exact(contender: Contender, wanted: NDArray[Any]) -> bool | None:
    """Whether a contender computes the exact integers; None where it has none to compare.

    Raises:
        AssertionError: one of ours does not. Other people's contenders may be inexact (int16 pairs that
            saturate, on CPUs without VNNI): they are timed, marked and not counted.
    """
    if contender.result is None:
        return None
    if contender.before is not None:
        contender.before()
    found = contender.result()
    wanted = wanted if contender.wanted is None else contender.wanted
    same = found.shape == wanted.shape and bool((found == wanted).all())
    if contender.role == "ours" and not same:
        if found.shape != wanted.shape:
            raise AssertionError(f"{contender.name}: found {found.shape}, wanted {wanted.shape}")
        raise AssertionError(f"{contender.name}: {int((found != wanted).sum())} codes differ")
    return same


def measure(
    contenders: Sequence[Contender],
    effort: Effort = FULL,
    clock: Callable[[], int] = time.process_time_ns,
) -> dict[str, Timing]:
    """Time contenders, interleaved.

    Args:
        contenders: with distinct names.
        effort: how long.
        clock: nanoseconds; the default is CPU time of this process, `time.perf_counter_ns` is the choice
            where several threads or other processes work.
    """
    assert len({c.name for c in contenders}) == len(contenders), "names must be distinct"
    calls: dict[str, int] = {}
    samples: dict[str, int] = {}
    warm: dict[str, bool] = {}
    for c in contenders:
        once = max(1, _sample(c, 1, clock, False))
        if (
            effort.seconds and once < SLOW_NS
        ):  # the first call also paid for page faults and packing
            once = max(1, min(once, _sample(c, 1, clock, False)))
        calls[c.name] = math.ceil(SAMPLE_NS / once) if effort.seconds else 1
        wanted = int(effort.seconds * 1e9 / (once * calls[c.name]))
        least = min(
            effort.least, 2 if once > VERY_SLOW_NS else 3 if once > SLOW_NS else effort.least
        )
        samples[c.name] = min(effort.most, max(least, wanted))
        warm[c.name] = once < WARM_NS
    times: dict[str, list[float]] = {c.name: [] for c in contenders}
    rounds = max(samples.values(), default=0)
    for r in range(rounds):
        for c in contenders:
            n = samples[c.name]
            # A contender with fewer samples than rounds has them spread over all rounds.
            if (r + 1) * n // rounds == r * n // rounds:
                continue
            elapsed = _sample(c, calls[c.name], clock, warm[c.name])
            times[c.name].append(elapsed / calls[c.name] / 1000)
    return {name: _timing(sorted(t)) for name, t in times.items()}


def _sample(contender: Contender, calls: int, clock: Callable[[], int], warm: bool) -> int:
    if contender.before is not None:
        contender.before()
    run = contender.run
    if warm:
        run()
    start = clock()
    for _ in range(calls):
        run()
    return clock() - start


def _timing(times: list[float]) -> Timing:
    n = len(times)
    return Timing(float(np.median(times)), times[n // 4], times[(3 * n) // 4], n)
