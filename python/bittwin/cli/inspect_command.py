# SPDX-License-Identifier: Apache-2.0
"""``bittwin inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bittwin.golden.report.tables import Block
    from bittwin.mapping import Mapping


@click.command(
    short_help="Show what is in a dump folder or a network file, and whether it fits the chip."
)
@click.argument("path", type=click.Path())
@click.option("--json", "json_to", metavar="FILE|-", help="Write the facts as JSON; - is stdout.")
@click.option(
    "--optimize", type=click.Path(), metavar="FILE", help="The mapper's optimise config, for ONNX."
)
@click.option(
    "--picture", type=click.Path(), metavar="FILE",
    help="Draw the array with every block in its place (.svg or .png; needs the extra report).",
)  # fmt: skip
@click.option("--check", is_flag=True, help="Exit with 1 where the network does not fit the chip.")
def inspect(
    path: str, json_to: str | None, optimize: str | None, picture: str | None, check: bool
) -> int:
    """Show what is in PATH: a mapper's output folder, an ONNX file, or a network saved as .npz.

    Layers, shapes, gains, bias rows, accumulator bounds, activations, golden sets; then what each layer
    takes of the chip (rows, columns, bias rows, gain, cells, tables, register file) and what does not fit.

    Exit codes: 0 done, 1 does not fit (with --check), 2 bad usage or bad input.
    """
    from bittwin.cli.output import emit, emit_json
    from bittwin.mapping.report import describe_mapping

    facts, blocks, mapping = _look(path, optimize)
    facts["mapping"] = mapping.to_json()
    if picture is not None:
        from bittwin.mapping import draw_mapping

        draw_mapping(mapping, picture, title=path)
    if json_to is not None:
        emit_json(facts, json_to)
    if json_to != "-":
        emit(blocks + describe_mapping(mapping))
    return 1 if check and not mapping.fits else 0


def _look(path: str, optimize: str | None) -> tuple[dict[str, Any], list[Block], Mapping]:
    from bittwin.golden.report.describe import (
        describe_dump,
        describe_network,
        dump_facts,
        network_facts,
    )
    from bittwin.golden.report.tables import Line
    from bittwin.mapping import check_dump, check_mapping

    where = Path(path)
    if not where.exists():
        raise click.UsageError(
            f"{path}: found nothing, wanted a dump folder, an ONNX file or a network (.npz)"
        )
    if where.is_dir() and optimize is None:
        from bittwin.golden.reading.reader import read_dump

        dump = read_dump(where)
        facts = dump_facts(dump)
        return facts, describe_dump(facts), check_dump(dump)
    from bittwin.simulation import load_source

    source = load_source(where, optimize=optimize)
    facts = network_facts(source.network, path)
    facts["notes"] = list(source.notes)
    blocks = describe_network(facts) + [Line(f"note: {note}", "dim") for note in source.notes]
    if source.kind != "onnx":
        return facts, blocks, check_mapping(source.network)
    from bittwin.mapping.plans import plans_of

    plans, splits = plans_of(source.network, optimize)
    return facts, blocks, check_mapping(source.network, plans=plans, split_inputs=splits)
