# SPDX-License-Identifier: Apache-2.0
"""``bittwin kernels``."""

from __future__ import annotations

import click


@click.command(short_help="List the kernels of this build and which one is in use.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def kernels(as_json: bool) -> int:
    """List the kernels, best first, whether this CPU can run them, and which one is in use.

    The environment variable BITTWIN_KERNEL forces one.
    """
    import dataclasses

    from bittwin import kernels as list_kernels
    from bittwin.cli.output import emit, emit_json
    from bittwin.golden.report.tables import Cell, Table

    found = list_kernels()
    if as_json:
        emit_json({"kernels": [dataclasses.asdict(k) for k in found]}, "-")
        return 0
    table = Table(["kernel", "in use", "available", "description"])
    for kernel in found:
        available = "yes" if kernel.available else f"no: {kernel.reason}"
        table.rows.append(
            [
                Cell(kernel.name, "bold"),
                Cell("yes" if kernel.active else "", "green"),
                Cell(available, "" if kernel.available else "dim"),
                Cell(kernel.description),
            ]
        )
    emit([table])
    return 0
