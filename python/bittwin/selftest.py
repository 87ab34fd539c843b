# SPDX-License-Identifier: Apache-2.0
"""The kernels on the user's own CPU: against known vectors, the big-integer oracle, and int64 numpy.

Every check runs under every kernel that this CPU can run; a kernel that another agrees with is held
against the same wanted numbers, so all of them equal the reference. Two defences against a test that
proves nothing: 70 % of the random codes come from the ends of their ranges (random data never finds a
saturating kernel), and the wanted numbers never come from the code under test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin.kernel_info import active_kernel, kernels

Array = NDArray[Any]
_ROUNDS = {1: 25, 2: 750}
Progress = Callable[[int, int], None]


class Case(NamedTuple):
    """One comparison: what it is, how to compute it, what must come out."""

    text: str
    run: Callable[[], Array]
    wanted: Array


@dataclass
class Check:
    """The outcome of one check under one kernel.

    Attributes:
        name: what was checked.
        kernel: the kernel it ran under.
        cases: calls compared.
        codes: numbers compared.
        failure: the first wrong case, None when all were equal.
    """

    name: str
    kernel: str
    cases: int = 0
    codes: int = 0
    failure: str | None = None

    def update(self, case: Case) -> None:
        """Run one case; after a failure nothing more is run."""
        if self.failure is not None:
            return
        self.cases += 1
        try:
            found = np.asarray(case.run())
        except Exception as error:  # a kernel that refuses what it must take is wrong, too
            self.failure = f"{case.text}: found {type(error).__name__} ({error}), wanted numbers"
            return
        wanted = np.asarray(case.wanted)
        self.codes += wanted.size
        if found.shape != wanted.shape:
            self.failure = f"{case.text}: found shape {found.shape}, wanted {wanted.shape}"
            return
        wrong = found.astype(np.int64) != wanted.astype(np.int64)
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            self.failure = (
                f"{case.text}: at {list(at)} found {int(found[at])}, wanted {int(wanted[at])} "
                f"({int(np.count_nonzero(wrong))} of {wrong.size} wrong)"
            )


def run_selftest(
    level: int = 1, *, seed: int = 0, progress: Progress | None = None
) -> tuple[Check, ...]:
    """Run all checks.

    Args:
        level: 1 takes a few seconds, 2 about a minute.
        seed: of the random cases; the same seed gives the same cases.
        progress: called with (work done, work in all).

    Returns:
        One `Check` per check and kernel; those with a ``failure`` went wrong.

    Raises:
        ValueError: an unknown level.
        RuntimeError: BITTWIN_KERNEL forces a kernel that cannot be had.
    """
    if level not in _ROUNDS:
        raise ValueError(f"level: found {level}, wanted 1 or 2")
    from bittwin._selftest_cases import CHECKS

    before = active_kernel()
    names = [k.name for k in kernels() if k.available]
    rounds = _ROUNDS[level]
    found: list[Check] = []
    done = 0
    try:
        for number, (name, cases) in enumerate(CHECKS):
            checks = [Check(name, kernel) for kernel in names]
            for i in range(rounds):
                rng = np.random.default_rng([seed, i, number])
                _run(checks, cases(rng, i))
                done += 1
                if progress is not None:
                    progress(done, rounds * len(CHECKS))
            found += checks
    finally:
        _core.force_kernel(before)
    return tuple(found)


def _run(checks: list[Check], cases: Iterable[Case] | Iterator[Case]) -> None:
    for case in cases:
        for check in checks:
            _core.force_kernel(check.kernel)
            check.update(case)
