# SPDX-License-Identifier: Apache-2.0
"""`TraceWriter` and `write_trace`: the codes of every layer as a layer_debug folder and a sidecar."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import integer
from bittwin.golden.reading.sidecar import SIDECAR
from bittwin.golden.trace.stages import Stage, source_codes, stages, to_rows
from bittwin.golden.writing.writer import refuse_existing
from bittwin.golden.writing.writer_files import table_lines

if TYPE_CHECKING:
    from bittwin.network import Network, Trace

FORMAT = "bittwin trace"
VERSION = 1
#: Codes that a trace can hold.
LOW, HIGH = -(1 << 31), (1 << 31) - 1


class TraceWriter:
    """Writes a trace block of frames by block of frames; the folder appears whole or not at all.

    Used in a `with` statement: leaving it without an exception renames the folder into place.

    Args:
        path: folder to make; it must not exist, or be empty.
        network: whose codes come.
        net: number of the net, as in `layer_debug/netN`.

    Raises:
        ValueError: net is not 0..9999.
        FileNotFoundError: the folder that `path` lies in does not exist.
        FileExistsError: `path` exists and is not an empty folder.
    """

    def __init__(self, path: str | os.PathLike[str], network: Network, net: int = 0) -> None:
        self.path = Path(os.path.abspath(path))
        self.net = integer("net", net, 0, 9999)
        self.stages = stages(network)
        self._name = network.name
        self._frames = 0
        self._facts: dict[str, dict[str, Any]] = {}
        refuse_existing(self.path)
        self._temporary = self.path.parent / f".{self.path.name}.{secrets.token_hex(4)}.tmp"

    def __enter__(self) -> TraceWriter:
        """Make the temporary folder."""
        for stage in self.stages:
            os.makedirs(self._round(stage))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the folder into place, or remove it."""
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, trace: Trace) -> None:
        """Append the codes of the next frames.

        Raises:
            ValueError: a code beyond INT32, or a layer whose codes change their type between blocks.
        """
        frames = 0
        for stage in self.stages:
            inputs = [source_codes(trace, trace.input, name) for name in stage.sources]
            output = trace[stage.last]
            frames = len(output)
            facts = {
                "inputs": [_facts(x) for x in inputs],
                "output": _facts(output),
            }
            before = self._facts.setdefault(stage.name, facts)
            if before != facts:
                raise ValueError(
                    f"layer {stage.name}: found {facts}, the block before has {before}"
                )
            for place, codes in enumerate(inputs):
                self._append(stage, f"input{place}.txt", codes)
            # The mapper shows every output byte as int8; the sidecar says what it is.
            shown = output.view(np.int8) if output.dtype == np.uint8 else output
            self._append(stage, "output0.txt", shown)
        self._frames += frames

    def _append(self, stage: Stage, name: str, codes: NDArray[Any]) -> None:
        if codes.dtype.kind not in "iu":
            return  # values, such as a dequantised output: a trace holds codes
        if codes.dtype.itemsize > 2 and codes.size:
            low, high = int(codes.min()), int(codes.max())
            if low < LOW or high > HIGH:
                raise ValueError(
                    f"layer {stage.name}: found the codes {low}..{high}, a trace holds {LOW}..{HIGH}"
                )
        with (self._round(stage) / name).open("ab") as stream:
            stream.write(table_lines(to_rows(codes)).encode("ascii"))

    def _round(self, stage: Stage) -> Path:
        return self._temporary / "layer_debug" / f"net{self.net}" / stage.folder / "round0"

    def _finish(self) -> None:
        if not self._frames:
            raise ValueError("trace: found 0 frames, wanted at least 1")
        listed = [
            {
                "index": stage.index,
                "name": stage.name,
                "folder": stage.folder,
                "layers": [{"name": name, "kind": kind} for name, kind in stage.layers],
                "from": list(stage.sources),
                **self._facts[stage.name],
            }
            for stage in self.stages
        ]
        content = {
            "format": FORMAT,
            "version": VERSION,
            "frames": self._frames,
            "nets": [{"net": self.net, "name": self._name, "layers": listed}],
        }
        text = json.dumps(content, indent=1, allow_nan=False)
        (self._temporary / SIDECAR).write_text(text + "\n", encoding="utf-8", newline="\n")
        if self.path.is_dir():
            os.rmdir(self.path)
        os.rename(self._temporary, self.path)


def _facts(codes: NDArray[Any]) -> dict[str, Any]:
    return {"shape": list(codes.shape[1:]), "dtype": codes.dtype.name}


def write_trace(path: str | os.PathLike[str], network: Network, x: Any, *, net: int = 0) -> None:
    """Run a network and write the codes of every layer in the mapper's layer_debug format.

    An array layer and the activations right behind it share a folder, whose output is the code after them,
    as the mapper has it; every other layer has one of its own. Compare with `compare_traces`.

    Args:
        path: folder to make; it must not exist, or be empty.
        network: the network.
        x: [frames, ...] codes, at least one frame; a mapping from input name to codes for several inputs.
        net: number of the net, as in `layer_debug/netN`.

    Raises:
        NetworkError: what a layer refuses.
        ValueError: no frames; a code beyond INT32.
        OSError: the folder exists and is not empty, or cannot be written.

    Source: docs/spec/dump.md (layer_debug: measured).

    >>> import pathlib, tempfile
    >>> import numpy as np, bittwin
    >>> from bittwin.golden import write_trace
    >>> from bittwin.network import Linear, Network, Relu
    >>> net = Network([Linear("fc", np.array([[64, -64]], np.int8), None, bittwin.readout(256)), Relu("r")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_trace(folder, net, np.array([[100, 20], [20, 100]], np.uint8))
    ...     print((pathlib.Path(folder) / "layer_debug/net0/1_fc/round0/output0.txt").read_text(), end="")
    20
    0
    """
    with TraceWriter(path, network, net) as writer:
        writer.add(network.run(x, trace=True))
