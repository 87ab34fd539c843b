# SPDX-License-Identifier: Apache-2.0
"""Recurrent cells over frames: `LSTM`, `GRU`, `GruNew`, `Gru2Array`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bittwin.nn.digital.cells import RecurrentCell, State
from bittwin.nn.gru import Gru2ArrayCell, GRUCell, GruNewCell
from bittwin.nn.lstm import LSTMCell


class Sequence(torch.nn.Module):
    """A cell over frames.

    Args:
        sizes: the cell's positional arguments.
        batch_first: [batch, frames, inputs] and outputs alike; an input of two axes is [frames, inputs].
        layer_axis: states come and go with a leading axis of length 1, as torch.nn.LSTM's.
        options: the cell's keyword arguments.
    """

    make: Callable[..., RecurrentCell]

    def __init__(
        self, *sizes: Any, batch_first: bool = False, layer_axis: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.cell = type(self).make(*sizes, **options)
        self.batch_first = bool(batch_first)
        self.layer_axis = bool(layer_axis)

    def _frames(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        if x.ndim < 2:
            raise ValueError(f"x: found shape {tuple(x.shape)}, wanted [frames, ..., inputs]")
        turned = self.batch_first and x.ndim > 2
        if turned:
            x = x.transpose(0, 1)
        if not x.shape[0]:
            raise ValueError("x: found no frames, wanted one or more")
        kept = self.cell.checked(x[0], self._without_axis(state))
        outputs = []
        for frame in x:
            kept = self.cell.advance(frame, kept)
            outputs.append(kept[0])
        if self.layer_axis:
            kept = tuple(s.unsqueeze(0) for s in kept)
        return torch.stack(outputs, 1 if turned else 0), kept

    def _without_axis(self, state: Any) -> Any:
        if state is None or not self.layer_axis:
            return state
        given = (state,) if isinstance(state, Tensor) else tuple(state)
        if any(s.ndim < 2 or s.shape[0] != 1 for s in given):
            found = [tuple(s.shape) for s in given]
            raise ValueError(f"state: found shapes {found}, wanted [1, ..., hidden]: one layer")
        return tuple(s[0] for s in given)

    def extra_repr(self) -> str:
        """The options that differ from their defaults."""
        names = ("batch_first", "layer_axis")
        return ", ".join(f"{name}=True" for name in names if getattr(self, name))


class LSTM(Sequence):
    """`LSTMCell` over frames; takes the cell's arguments, and batch_first and layer_axis.

    >>> import torch
    >>> from bittwin.nn import LSTM
    >>> y, (h, c) = LSTM(3, 2, batch_first=True)(torch.zeros(5, 7, 3))
    >>> y.shape, h.shape
    (torch.Size([5, 7, 2]), torch.Size([5, 2]))
    """

    make = LSTMCell

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, State]:
        """[frames, ..., inputs] to [frames, ..., hidden] and the last (h, c)."""
        return self._frames(x, state)


class _Gru(Sequence):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[frames, ..., inputs] to [frames, ..., hidden] and the last h."""
        y, kept = self._frames(x, state)
        return y, kept[0]


class GRU(_Gru):
    """`GRUCell` over frames; takes the cell's arguments, and batch_first and layer_axis."""

    make = GRUCell


class GruNew(_Gru):
    """`GruNewCell` over frames; takes the cell's arguments, and batch_first and layer_axis."""

    make = GruNewCell


class Gru2Array(_Gru):
    """`Gru2ArrayCell` over frames; takes the cell's arguments, and batch_first and layer_axis."""

    make = Gru2ArrayCell
