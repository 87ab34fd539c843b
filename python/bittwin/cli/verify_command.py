# SPDX-License-Identifier: Apache-2.0
"""``bittwin verify``."""

from __future__ import annotations

import re

import click


class FrameRange(click.ParamType[slice]):
    """``N`` or ``A:B``, as a slice; either end of ``A:B`` may be left out."""

    name = "N|A:B"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> slice:
        """Parse, or fail with one line."""
        if isinstance(value, slice):
            return value
        text = str(value)
        if match := re.fullmatch(r"([0-9]{1,9})", text):
            return slice(0, int(match[1]))
        if (match := re.fullmatch(r"([0-9]{0,9}):([0-9]{0,9})", text)) is None or text == ":":
            self.fail(f"found {text!r}, wanted N (the first N frames) or A:B", param, ctx)
        first, last = match[1], match[2]
        return slice(int(first) if first else 0, int(last) if last else None)


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
def verify(
    dump: str,
    rounding: str | None,
    measured: str | None,
    json_to: str | None,
    layers: tuple[str, ...],
    frames: slice | None,
) -> int:
    """Check that every golden code of the folder DUMP is reproduced; say where and why not.

    Every layer is run on the dump's own input (teacher-forced) and on the simulated output of the
    layer before it (free-running).

    Exit codes: 0 equal, 1 differs, 2 bad usage or bad input.
    """
    from bittwin.cli.output import LazyProgress, emit, emit_json
    from bittwin.golden.check.verify import verify as run
    from bittwin.golden.report.report import build_report

    with LazyProgress("verifying") as progress:
        found = run(
            dump,
            rounding=rounding,
            measured=measured,
            layers=layers or None,
            frames=frames,
            progress=progress,
        )
    if json_to is not None:
        emit_json(found.to_json(), json_to)
    if json_to != "-":
        emit(build_report(found))
    return 0 if found.equal else 1
