# SPDX-License-Identifier: Apache-2.0
"""A whole network: keyword spotting, five linear layers, 401,920 multiply-accumulates per frame.

    python benchmarks/network.py [--quick] [--dump OUTPUT_FOLDER] [--out RECORD.json]

With a dump the network is the dump's and its frames are the dump's golden inputs; without one, layers of
the same shapes with random weights. Frames go one at a time, and in batches. Codes are compared layer by
layer with exact products, requantised by the reference kernel, and with the dump's own codes.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import ours
from harness import Contender
from record import Options, Report, command
from shapes import Ints, corner_codes

import bittwin
from bittwin import _core
from bittwin.network import Linear, Network, Relu

TITLE = "a whole network, one thread, medians, interleaved"
#: in and out of each layer; ReLU between layers; gain 1024 as in the dump.
WIDTHS = (800, 256, 256, 256, 256, 2)
GAIN = 1024
BATCHES = (1, 100, 1000)


def stand_in() -> tuple[Network, Ints]:
    """A network of the dump's shapes, with weights small enough that few codes saturate, and frames."""
    rng = np.random.default_rng(0)
    layers: list[Any] = []
    for i, (k, n) in enumerate(itertools.pairwise(WIDTHS), 1):
        weight = np.clip(np.rint(rng.normal(0, 700 / np.sqrt(k), (n, k))), -128, 127).astype(
            np.int8
        )
        bias = bittwin.quantize_bias(rng.normal(0, 20000, n), rows=9)
        layers.append(Linear(f"linear_{i}", weight, bias, bittwin.readout(GAIN)))
        if n != WIDTHS[-1]:
            layers.append(Relu(f"relu_{i}"))
    frames = corner_codes(rng, 0, 255, (max(BATCHES), WIDTHS[0]), "uint8")
    return Network(layers, name="keyword spotting, random weights", input_shape=WIDTHS[:1]), frames


def from_dump(path: str) -> tuple[Network, Ints, Ints | None]:
    """A dump's network, its golden input frames, and the golden output codes where all layers chain."""
    dump = bittwin.read_dump(path)
    first, last = dump.layers[0], dump.layers[-1]
    inputs = {s.name: s for s in first.sets}["debug"]
    outputs = {s.name: s for s in last.sets}.get("debug")
    assert inputs.input is not None, "the dump's first layer has no debug input"
    x = inputs.input.block(0, inputs.input.frames)
    assert x.min() >= 0, "a network of unsigned input codes is wanted"
    y = None
    if outputs is not None and outputs.output is not None and outputs.output.frames == len(x):
        y = outputs.output.block(0, len(x))
    return dump.network(), x.astype(np.uint8), y


def check(network: Network, x: Ints, golden: Ints | None) -> Ints:
    """The network's codes, compared with exact products of every layer; returns the last layer's."""
    trace = network.run(x, trace=True)
    previous = x
    for layer in network.layers:
        if isinstance(layer, Linear):
            exact = previous.astype(np.int64) @ layer.weight.astype(np.int64).T
            exact += 0 if layer.bias is None else layer.bias
            _core.force_kernel("ref")
            wanted = bittwin.requantize(exact.astype(np.int32), layer.requant)
            _core.force_kernel("")
            np.testing.assert_array_equal(trace[layer.name], wanted, layer.name)
        previous = trace[layer.name]
    np.testing.assert_array_equal(network.run(x), previous)
    if golden is not None:
        np.testing.assert_array_equal(previous.astype(np.int64), golden, "the dump's codes")
    return previous


def one_at_a_time(network: Network, frames: Ints) -> Callable[[], Ints]:
    """Next frame by next frame, each an array of its own."""
    singles = itertools.cycle([np.ascontiguousarray(frames[i : i + 1]) for i in range(len(frames))])
    return lambda: network.run(next(singles))


def run(options: Options) -> Report:
    """Measure."""
    _core.force_kernel("")
    report = Report()
    golden = None
    if options.dump:
        network, frames, golden = from_dump(options.dump)
    else:
        network, frames = stand_in()
    check(network, frames, golden)
    arrays = [layer for layer in network.layers if isinstance(layer, Linear)]
    macs = sum(layer.weight.size for layer in arrays)
    report.notes.append(f"{network.name}: {len(arrays)} linear layers, {macs:,} MAC per frame")
    for batch in BATCHES[:2] if options.smoke else BATCHES:
        x = np.resize(frames, (batch, *frames.shape[1:]))
        call = one_at_a_time(network, frames) if batch == 1 else functools.partial(network.run, x)
        name = f"Network.run ({ours.default_kernel()})"
        mine = Contender(name, call, "ours", before=ours.force(""), kernel=ours.default_kernel())
        report.time(f"batch {batch}", [mine], options, what="network", macs=macs * batch)
        for row in report.rows:
            if row["shape"] == f"batch {batch}" and row["role"] == "ours":
                row["frames_per_second"] = 1e6 * batch / row["us"]
                row["macs_per_frame"] = macs
                row["note"] = f"{row['frames_per_second']:,.0f} frames/s"
    return report


if __name__ == "__main__":
    command(TITLE, run)
