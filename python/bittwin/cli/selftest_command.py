# SPDX-License-Identifier: Apache-2.0
"""``bittwin selftest``."""

from __future__ import annotations

import click


@click.command(short_help="Test every kernel on this CPU.")
@click.option(
    "--level", type=click.Choice(["1", "2"]), default="1", show_default=True,
    help="1 takes seconds, 2 about a minute.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of the random cases."
)
def selftest(level: str, seed: int) -> int:
    """Test the kernels on this CPU: against known vectors, the big-integer oracle and each other.

    Exit codes: 0 all equal, 1 a kernel is wrong (the first wrong case is shown).
    """
    from bittwin.cli.output import LazyProgress, emit
    from bittwin.golden.report.tables import Cell, Line, Table, count
    from bittwin.selftest import run_selftest

    with LazyProgress("testing") as progress:
        found = run_selftest(int(level), seed=seed, progress=progress)
    table = Table(["check", "kernel", "cases", "codes", "result"], right=(2, 3))
    for check in found:
        result = Cell("ok", "green") if check.failure is None else Cell("WRONG", "bold red")
        table.rows.append(
            [
                Cell(check.name),
                Cell(check.kernel),
                Cell(count(check.cases)),
                Cell(count(check.codes)),
                result,
            ]
        )
    bad = [check for check in found if check.failure is not None]
    codes = count(sum(check.codes for check in found))
    emit([table])
    if bad:
        emit(
            [
                Line(
                    f"first wrong case: {bad[0].name}, kernel {bad[0].kernel}: {bad[0].failure}",
                    "bold red",
                )
            ]
        )
        return 1
    emit([Line(f"{len(found)} checks, {codes} codes: all equal", "bold green")])
    return 0
