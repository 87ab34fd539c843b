# SPDX-License-Identifier: Apache-2.0
"""``bittwin verify``."""

from __future__ import annotations

import click

from bittwin.cli.frames import FrameRange


@click.command(short_help="Check a mapper's output folder against the integer twin.")
@click.argument("dump", type=click.Path())
@click.option("--rounding", metavar="NAME", help="Rule to use in every layer instead of its own.")
@click.option(
    "--measured", type=click.Path(), metavar="FILE",
    help="Measured codes: int16 in expected_out.bin's layout, or npz with an array per layer.",
)  # fmt: skip
@click.option("--json", "json_to", metavar="FILE|-", help="Write the result as JSON; - is stdout.")
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME",
    help="Only this layer; may be given several times.",
)  # fmt: skip
@click.option("--frames", type=FrameRange(), help="Only these frames of every set.")
@click.option(
    "--against", type=click.Path(), metavar="TRACE",
    help="Compare two traces instead: DUMP's layer_debug with TRACE's, which is taken for right.",
)  # fmt: skip
def verify(
    dump: str,
    rounding: str | None,
    measured: str | None,
    json_to: str | None,
    layers: tuple[str, ...],
    frames: slice | None,
    against: str | None,
) -> int:
    """Check that every golden code of the folder DUMP is reproduced; say where and why not.

    Every layer is run on the dump's own input (teacher-forced) and on the simulated output of the
    layer before it (free-running). With --against nothing is run: two folders with the codes of every
    layer, such as `bittwin simulate --trace` writes, are compared with each other.

    Exit codes: 0 equal, 1 differs, 2 bad usage or bad input.
    """
    from bittwin.cli.output import LazyProgress, emit, emit_json
    from bittwin.golden.check.verify import verify as run
    from bittwin.golden.report.report import build_report

    chosen = layers or None
    with LazyProgress("verifying") as progress:
        if against is not None:
            if rounding is not None or measured is not None:
                raise click.UsageError(
                    "--against: nothing is run, so no --rounding and no --measured"
                )
            from bittwin.golden.trace.compare import compare_traces

            found = compare_traces(dump, against, layers=chosen, frames=frames, progress=progress)
        else:
            found = run(
                dump,
                rounding=rounding,
                measured=measured,
                layers=chosen,
                frames=frames,
                progress=progress,
            )
    if json_to is not None:
        emit_json(found.to_json(), json_to)
    if json_to != "-":
        emit(build_report(found))
    return 0 if found.equal else 1
