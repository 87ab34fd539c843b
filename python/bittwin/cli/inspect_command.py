# SPDX-License-Identifier: Apache-2.0
"""``bittwin inspect``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Show what is in a dump folder or a network file.")
@click.argument("path", type=click.Path())
@click.option("--json", "json_to", metavar="FILE|-", help="Write the facts as JSON; - is stdout.")
def inspect(path: str, json_to: str | None) -> int:
    """Show what is in PATH: a mapper's output folder, or a network saved as .npz.

    Layers, shapes, gains, array regions, bias rows, accumulator bounds, activations, golden sets.
    """
    from bittwin.cli.output import emit, emit_json
    from bittwin.golden.report.describe import (
        describe_dump,
        describe_network,
        dump_facts,
        network_facts,
    )

    where = Path(path)
    if not where.exists():
        raise click.UsageError(f"{path}: found nothing, wanted a dump folder or a network (.npz)")
    if where.is_dir():
        from bittwin.golden.reading.reader import read_dump

        facts = dump_facts(read_dump(where))
        blocks = describe_dump(facts)
    else:
        from bittwin.network import load_network

        facts = network_facts(load_network(where), path)
        blocks = describe_network(facts)
    if json_to is not None:
        emit_json(facts, json_to)
    if json_to != "-":
        emit(blocks)
    return 0
