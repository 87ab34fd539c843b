# SPDX-License-Identifier: Apache-2.0
"""A .npy file that is filled block by block and appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bittwin._files import open_atomic


class NpySink:
    """Output codes on their way to a file.

    Args:
        path: the file; an existing one is replaced at the end.
        frames: how many will come.
    """

    def __init__(self, path: str | os.PathLike[str], frames: int) -> None:
        self.path = Path(path)
        self._frames = frames
        self._file = open_atomic(self.path)
        self._shape: tuple[int, ...] = ()
        self._dtype: np.dtype[Any] | None = None
        self._done = 0
        self._ends: list[tuple[Any, Any]] = []

    def __enter__(self) -> NpySink:
        """Open a temporary file beside the path."""
        self._stream = self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the file into place, or remove it."""
        if kind is None and self._done != self._frames:
            error = ValueError(f"{self.path}: found {self._done} frames, wanted {self._frames}")
            kind = ValueError
        self._file.__exit__(kind, error, trace)

    def add(self, codes: NDArray[Any]) -> None:
        """Append a block of frames.

        Raises:
            ValueError: another shape or type than the block before.
        """
        if self._dtype is None:
            self._shape, self._dtype = codes.shape[1:], codes.dtype
            npy.write_array_header_1_0(
                self._stream,
                {
                    "descr": npy.dtype_to_descr(codes.dtype),
                    "fortran_order": False,
                    "shape": (self._frames, *self._shape),
                },
            )
        elif (codes.shape[1:], codes.dtype) != (self._shape, self._dtype):
            raise ValueError(
                f"{self.path}: found {codes.dtype} {codes.shape[1:]}, the block before has "
                f"{self._dtype} {self._shape}"
            )
        self._stream.write(np.ascontiguousarray(codes).tobytes())
        self._done += len(codes)
        if codes.size:
            self._ends.append((codes.min().item(), codes.max().item()))

    def facts(self) -> dict[str, Any]:
        """Shape, type and range of what was written, as JSON types."""
        assert self._dtype is not None
        ends = (
            [min(e[0] for e in self._ends), max(e[1] for e in self._ends)] if self._ends else None
        )
        return {"shape": [self._done, *self._shape], "dtype": self._dtype.name, "range": ends}
