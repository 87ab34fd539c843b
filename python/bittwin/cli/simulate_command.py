# SPDX-License-Identifier: Apache-2.0
"""``bittwin simulate``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bittwin.cli.frames import FrameRange

if TYPE_CHECKING:
    from bittwin.golden.report.tables import Block
    from bittwin.simulation import Simulation, Source


@click.command(short_help="Run a network over an array of input codes.")
@click.argument("network", type=click.Path())
@click.option(
    "--input", "inputs", multiple=True, required=True, metavar="[NAME=]FILE",
    help="Input codes: .npy, .npz or .txt; with several inputs once per name.",
)  # fmt: skip
@click.option(
    "--output", "outputs", multiple=True, metavar="[NAME=]FILE",
    help="Write the output codes (.npy); with several outputs once per name.",
)  # fmt: skip
@click.option(
    "--trace", type=click.Path(), metavar="DIR",
    help="Write every layer's codes in the mapper's layer_debug format; DIR must be new or empty.",
)  # fmt: skip
@click.option(
    "--optimize", type=click.Path(), metavar="FILE", help="The mapper's optimise config, for ONNX."
)
@click.option("--net", type=click.IntRange(0), help="Which net of a dump that holds several.")
@click.option("--frames", type=FrameRange(), help="Only these frames of the input.")
@click.option("--json", "json_to", metavar="FILE|-", help="Write the facts as JSON; - is stdout.")
def simulate(
    network: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    trace: str | None,
    optimize: str | None,
    net: int | None,
    frames: slice | None,
    json_to: str | None,
) -> int:
    """Run NETWORK on input codes, exactly: an ONNX file, a mapper's output folder, or a saved .npz.

    A network with memory (LSTM, GRU, TDNN, convolution over time) takes the frames in time order.

    Exit codes: 0 done, 2 bad usage or bad input.
    """
    from bittwin.cli.output import LazyProgress, emit, emit_json
    from bittwin.simulation import Simulation, code_range, load_source, open_input, takes_values

    if not outputs and trace is None:
        raise click.UsageError("found neither --output nor --trace, wanted at least one")
    source = load_source(network, net=net, optimize=optimize)
    graph = source.network
    reads = _assigned("--input", inputs, list(graph.input_shapes))
    writes = _assigned("--output", outputs, list(graph.outputs)) if outputs else {}
    _check_targets(writes.values(), reads.values(), trace)
    opened = {
        name: open_input(
            reads[name],
            name,
            shape=shape,
            codes=code_range(graph, name),
            values=takes_values(graph, name),
        )
        for name, shape in graph.input_shapes.items()
    }
    run = Simulation(graph, opened, frames=frames, trace=trace is not None)
    with LazyProgress("simulating") as progress:
        written = _write(run, writes, trace, source.net, progress)
    facts = _facts(source, run, writes, written, trace)
    if json_to is not None:
        emit_json(facts, json_to)
    if json_to != "-":
        emit(_report(facts))
    return 0


def _assigned(option: str, given: tuple[str, ...], names: list[str]) -> dict[str, Path]:
    """Files by name; a file without a name is the only one's."""
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or name not in names:
            if len(names) > 1:
                raise click.UsageError(
                    f"{option}: found {text!r}, wanted NAME=FILE with a name of {', '.join(names)}"
                )
            name, path = names[0], text
        if name in found:
            raise click.UsageError(f"{option}: found {name!r} twice, wanted each once")
        found[name] = Path(path)
    missing = [name for name in names if name not in found]
    if missing and option == "--input":
        raise click.UsageError(f"{option}: found no file for {', '.join(missing)}")
    return found


def _check_targets(writes: Iterable[Path], reads: Iterable[Path], trace: str | None) -> None:
    """Refuse what could not be written, before anything is computed."""
    taken = {path.resolve() for path in reads}
    for path in writes:
        if path.suffix.lower() != ".npy":
            raise click.UsageError(f"--output: found {path}, wanted a file that ends in .npy")
        if path.is_dir():
            raise click.UsageError(f"--output: found the folder {path}, wanted a file")
        if not path.parent.is_dir():
            raise click.UsageError(f"--output: {path}: there is no folder {path.parent}")
        if path.resolve() in taken:
            raise click.UsageError(f"--output: found {path}, which is an input or another output")
        taken.add(path.resolve())
    if trace is not None:
        from bittwin.golden.writing.writer import refuse_existing

        refuse_existing(Path(trace).absolute())


def _write(
    run: Simulation, writes: dict[str, Path], trace: str | None, net: int, progress: Any
) -> dict[str, dict[str, Any]]:
    """Run, and write every block where it belongs; all files appear at the end, or none."""
    from bittwin.golden.trace.writer import TraceWriter
    from bittwin.simulation.run import by_output
    from bittwin.simulation.sink import NpySink

    with ExitStack() as stack:
        sinks = {n: stack.enter_context(NpySink(path, run.frames)) for n, path in writes.items()}
        tracer = None
        if trace is not None:
            tracer = stack.enter_context(TraceWriter(trace, run.network, net))
        for done, y in run.run():
            codes = by_output(run.network, y)
            for name, sink in sinks.items():
                sink.add(codes[name])
            if tracer is not None:
                tracer.add(y)
            progress(done, run.frames)
    return {name: sink.facts() for name, sink in sinks.items()}


def _facts(
    source: Source,
    run: Simulation,
    writes: dict[str, Path],
    written: dict[str, dict[str, Any]],
    trace: str | None,
) -> dict[str, Any]:
    return {
        "kind": source.kind,
        "path": str(source.path),
        "network": source.network.name,
        "layers": len(source.network.layers),
        "frames": run.frames,
        "seconds": round(run.seconds, 6),
        "frames_per_second": round(run.frames / max(run.seconds, 1e-9), 3),
        "outputs": [{"name": n, "path": str(writes[n]), **facts} for n, facts in written.items()],
        "trace": trace,
        "notes": [*source.notes, *(x.note for x in run.inputs.values() if x.note)],
    }


def _report(facts: dict[str, Any]) -> list[Block]:
    from bittwin.golden.report.tables import Cell, Line, Table, count

    layers = facts["layers"]
    head = f"{facts['path']}: network {facts['network']}, {layers} layer{'s' * (layers != 1)}"
    blocks: list[Block] = [Line(head, "bold")]
    if facts["outputs"]:
        table = Table(["output", "file", "shape", "type", "codes"])
        for x in facts["outputs"]:
            ends = "-" if x["range"] is None else f"{x['range'][0]}..{x['range'][1]}"
            shape = " x ".join(map(str, x["shape"]))
            cells = (x["path"], shape, x["dtype"], ends)
            table.rows.append([Cell(x["name"], "bold"), *map(Cell, cells)])
        blocks.append(table)
    blocks += [Line(f"note: {note}", "dim") for note in facts["notes"]]
    if facts["trace"] is not None:
        blocks.append(Line(f"trace of every layer: {facts['trace']}"))
    frames, speed = facts["frames"], round(facts["frames_per_second"])
    seconds = facts["seconds"]
    time = f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.2f} ms"
    text = f"{count(frames)} frame{'s' * (frames != 1)} in {time}: {count(speed)} frames/s"
    blocks.append(Line(text, "bold green"))
    return blocks
