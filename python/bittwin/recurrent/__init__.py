# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers on codes: LSTM, the GRU forms, TDNN, and convolutions over time.

A cell is an immutable set of weights, requantisers and tables. ``cell.run(x, state)`` takes frames in time
order, ``cell.step(x, state)`` one of them; both return codes and the next state, and both give the same
codes. Everything that needs no state is computed for all frames at once: an INT32 accumulator is the same
sum whether its input half and its state half are added before or after (docs/spec/recurrent.md).
"""

from __future__ import annotations

from bittwin.recurrent.cell import Cell, Internals, State
from bittwin.recurrent.gru import GruCell
from bittwin.recurrent.gru2array import Gru2ArrayCell
from bittwin.recurrent.gru_new import GruNewCell
from bittwin.recurrent.lstm import LstmCell
from bittwin.recurrent.streaming import conv2d_frames, conv_transpose2d_frames, first_history
from bittwin.recurrent.tdnn import TdnnCell

__all__ = [
    "Cell",
    "Gru2ArrayCell",
    "GruCell",
    "GruNewCell",
    "Internals",
    "LstmCell",
    "State",
    "TdnnCell",
    "conv2d_frames",
    "conv_transpose2d_frames",
    "first_history",
]
