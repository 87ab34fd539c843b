# SPDX-License-Identifier: Apache-2.0
"""A network over many frames, block by block; memory over time is kept between the blocks."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError
from bittwin.network import Network
from bittwin.simulation.inputs import InputCodes

#: Codes of all layers together that one block may have.
_BLOCK_CODES = 8 << 20
_MOST_FRAMES = 4096


class Simulation:
    """One run of a network over frames in time order.

    Args:
        network: the network.
        inputs: codes per input of the network.
        frames: which ones; all of them by default. A network with memory starts at the first of them.
        trace: give every layer's codes, not only the outputs'.
        block: frames at a time; only speed and memory depend on it.

    Raises:
        NetworkError: missing or unknown inputs, other numbers of frames, shapes that a layer refuses.
        ValueError: frames that are not there.
    """

    def __init__(
        self,
        network: Network,
        inputs: Mapping[str, InputCodes],
        *,
        frames: slice | None = None,
        trace: bool = False,
        block: int | None = None,
    ) -> None:
        if set(inputs) != set(network.input_shapes):
            raise NetworkError(
                f"inputs: found {', '.join(inputs) or 'none'}, wanted {', '.join(network.input_shapes)}"
            )
        counts = {name: codes.frames for name, codes in inputs.items()}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise NetworkError(f"inputs: found frames {found}, wanted as many of each")
        self.network, self.inputs, self.trace = network, inputs, trace
        self.first, self.last = _range(frames, next(iter(counts.values())))
        shapes = {name: codes.frame_shape for name, codes in inputs.items()}
        codes = sum(math.prod(s) for s in (*shapes.values(), *network.shapes(shapes).values()))
        if block is not None and block < 1:
            raise ValueError(f"block: found {block}, wanted at least 1")
        self.block = block or max(1, min(_MOST_FRAMES, _BLOCK_CODES // max(codes, 1)))
        self.seconds = 0.0
        """Time spent in the network so far."""

    @property
    def frames(self) -> int:
        """Frames in all."""
        return self.last - self.first

    def run(self) -> Iterator[tuple[int, Any]]:
        """Compute block by block.

        Yields:
            How many frames are done, and what `Network.run` returns for the block.

        Raises:
            NetworkError: what a layer refuses.
        """
        stream = self.network.stream()  # a block goes on where the one before it ended
        stateful = any(layer.stateful for layer in self.network.layers)
        for start in range(self.first, self.last, self.block):
            stop = min(start + self.block, self.last)
            x = {name: codes.block(start, stop) for name, codes in self.inputs.items()}
            begin = time.perf_counter()
            if stateful:
                y = stream.run(x, trace=self.trace)
            elif self.trace:
                y = self.network.run(x, trace=True)
            else:
                y = self.network.run(next(iter(x.values())) if len(x) == 1 else x)
            self.seconds += time.perf_counter() - begin
            yield stop - self.first, y


def _range(frames: slice | None, most: int) -> tuple[int, int]:
    """First frame and the one after the last."""
    if frames is None:
        return 0, most
    start = 0 if frames.start is None else frames.start
    stop = most if frames.stop is None else frames.stop
    if not 0 <= start < stop <= most:
        raise NetworkError(
            f"frames: found {start}:{stop}, wanted A:B with 0 <= A < B <= {most} (the input's frames)"
        )
    return start, stop


def by_output(network: Network, y: Any) -> dict[str, NDArray[Any]]:
    """The output codes of one block by layer name, of a trace too."""
    if isinstance(y, np.ndarray):
        return {network.outputs[0]: y}
    return {name: y[name] for name in network.outputs}
