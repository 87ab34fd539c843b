# SPDX-License-Identifier: Apache-2.0
"""`Stream`: a network fed frame by frame, its layers remembering what they have to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.network.base import Layer, State

if TYPE_CHECKING:
    from bittwin.network.network import Network


class Stream:
    """A network with memory; made by `Network.stream`.

    The codes of frame after frame equal those of one run over all frames.

    >>> import numpy as np, bittwin
    >>> from bittwin.network import Linear, Network
    >>> net = Network([Linear("fc", np.array([[64, -64]], np.int8), None, bittwin.readout(256))])
    >>> stream = net.stream()
    >>> stream.step(np.array([100, 20], np.uint8))
    array([20], dtype=int8)
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._states: dict[str, State] = {}

    def reset(self) -> None:
        """Forget all frames: the next one is the first."""
        self._states = {}

    def step(self, frame: Any) -> Any:
        """One frame in, one frame out.

        Args:
            frame: the codes of one frame, without a frame axis; by input name where there are several.

        Returns:
            The frame's output codes, without a frame axis; by name where there are several outputs.

        Raises:
            NetworkError: what a layer refuses; the stream is then as it was before the step.
        """
        codes = self.run(_each(frame, _with_axis))
        return _each(codes, lambda y: y[0])

    def run(self, x: Any, *, trace: bool = False) -> Any:
        """Frames in time order, continuing after those before; as `Network.run`.

        Args:
            x: [frames, ...] codes; by input name where there are several.
            trace: return every layer's codes, not only the output's.

        Returns:
            [frames, ...] codes; by name where there are several outputs; or a `Trace`.

        Raises:
            NetworkError: what a layer refuses; the stream is then as it was before the call.
        """
        states = dict(self._states)

        def call(layer: Layer, xs: list[NDArray[Any]]) -> NDArray[Any]:
            if not layer.stateful:
                return layer.run_many(*xs)
            (x,) = xs
            before = states.get(layer.name)
            if before is None:
                before = layer.initial_state(tuple(x.shape[1:]))
            y, states[layer.name] = layer.run_state(x, before)
            return y

        result = self.network.run_with(call, x, trace=trace)
        self._states = states
        return result


def _each(codes: Any, change: Any) -> Any:
    if isinstance(codes, Mapping):
        return {name: change(y) for name, y in codes.items()}
    return change(codes)


def _with_axis(frame: Any) -> NDArray[Any]:
    if not isinstance(frame, np.ndarray):
        raise TypeError(f"frame: found {type(frame).__name__}, wanted a numpy array of codes")
    return frame[np.newaxis]
