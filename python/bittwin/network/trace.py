# SPDX-License-Identifier: Apache-2.0
"""`Trace`: the codes of every layer of one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray


class Trace(Mapping[str, NDArray[Any]]):
    """The codes of every layer of one run: a mapping from layer name to output codes, in order.

    Attributes:
        input: what the network was run on: an array, or arrays by input name.
    """

    def __init__(
        self, x: Any, codes: dict[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> None:
        self.input = x
        self._codes = codes
        self._outputs = (next(reversed(codes)),) if outputs is None else tuple(outputs)

    @property
    def output(self) -> Any:
        """What `Network.run` returns: the output layer's codes, or codes by name for several."""
        if len(self._outputs) == 1:
            return self._codes[self._outputs[0]]
        return {name: self._codes[name] for name in self._outputs}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._codes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._codes)

    def __len__(self) -> int:
        return len(self._codes)
