# SPDX-License-Identifier: Apache-2.0
"""The chip's TDNN layer: a product over several frames (docs/spec/recurrent.md)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import (
    WEIGHT_DTYPES,
    bias_array,
    choice,
    code_range,
    dense_array,
    input_codes,
    integer,
)
from bittwin.bounds import AccumulatorBound, prove_fits
from bittwin.functional import OVERFLOWS, requantize
from bittwin.recurrent.rules import HISTORY_LIMIT, frozen, history_codes, joined, packed, products
from bittwin.requant import Requant

OFFSET_LIMIT = 1 << 16


@dataclass(frozen=True, eq=False)
class TdnnCell:
    """A linear layer over the frames ``t - max(offsets) + offset``, oldest first.

    ::

        u_t = [x[t - max(offsets) + offset] for offset in offsets]          x before the first frame = 0
        y_t = requant(weight u_t + bias)

    The output of frame t never looks ahead: positive offsets delay it.

    Args:
        weight: [out, inputs * len(offsets)] int8 or int16, one block of columns per offset.
        bias: [out] int32 in accumulator units, or None.
        requant: the rule, such as ``readout(1024)``.
        offsets: the vendor's ``time_offsets``: distinct integers, ascending; gaps are fine.
        x_bits: width of the input codes, 1..12.
        overflow: ``refuse`` or ``wrap32``, see `bittwin.accumulate`.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, offsets that do not ascend, an accumulator that may overflow.

    Source: docs/spec/recurrent.md: documented.

    >>> import numpy as np, bittwin
    >>> from bittwin.recurrent import TdnnCell
    >>> cell = TdnnCell(np.array([[1, 10]], np.int8), None, bittwin.readout(256), (-2, 1))
    >>> y, state = cell.run(np.full((5, 1), 128, np.uint8))
    >>> y[:, 0].tolist(), state[0].tolist()
    ([5, 5, 5, 6, 6], [[128], [128], [128]])
    """

    weight: NDArray[Any]
    bias: NDArray[np.int32] | None
    requant: Requant
    offsets: tuple[int, ...]
    x_bits: int = 8
    overflow: str = "refuse"

    array_fields: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __post_init__(self) -> None:
        weight = dense_array("weight", self.weight, WEIGHT_DTYPES, 2)
        offsets = self.offsets
        if not isinstance(offsets, tuple | list) or not offsets:
            raise ValueError(f"offsets: found {offsets!r}, wanted at least one integer")
        taken = tuple(integer("offsets", v, -OFFSET_LIMIT, OFFSET_LIMIT) for v in offsets)
        if any(b <= a for a, b in pairwise(taken)):
            raise ValueError(f"offsets: found {list(taken)}, wanted distinct integers, ascending")
        if 0 in weight.shape or weight.shape[1] % len(taken):
            raise ValueError(
                f"weight: found shape {weight.shape}, wanted [out, inputs * {len(taken)}] for "
                f"{len(taken)} offsets"
            )
        bias = bias_array(self.bias, weight.shape[0])
        if not isinstance(self.requant, Requant):
            raise TypeError(f"requant: found {type(self.requant).__name__}, wanted a Requant")
        if self.requant.channels not in (1, weight.shape[0]):
            raise ValueError(
                f"requant: found {self.requant.channels} channels, wanted 1 or {weight.shape[0]}"
            )
        integer("x_bits", self.x_bits, 1, 12)
        if choice("overflow", self.overflow, OVERFLOWS) == "refuse":
            prove_fits("tdnn", weight, bias, *self._range())
        object.__setattr__(self, "weight", frozen(weight))
        object.__setattr__(self, "bias", None if bias is None else frozen(bias))
        object.__setattr__(self, "offsets", taken)
        if self.span * self.inputs > HISTORY_LIMIT:
            raise ValueError(
                f"offsets: found a history of {self.span} frames of {self.inputs} codes, wanted at most "
                f"{HISTORY_LIMIT} codes"
            )

    def _range(self) -> tuple[int, int]:
        return code_range(np.dtype(np.int16), self.x_bits)

    @property
    def inputs(self) -> int:
        """Codes of one input frame."""
        return int(self.weight.shape[1] // len(self.offsets))

    @property
    def outputs(self) -> int:
        """Codes of one output frame."""
        return int(self.weight.shape[0])

    @property
    def span(self) -> int:
        """Frames of history: max(offsets) - min(offsets)."""
        return self.offsets[-1] - self.offsets[0]

    def bound(self) -> AccumulatorBound:
        """The range that the weights prove for the accumulator."""
        return AccumulatorBound(*_core.accumulator_bound(self.weight, self.bias, *self._range()))

    def initial_state(self) -> tuple[NDArray[Any], ...]:
        """The history before the first frame: zeros, [span, inputs] int16, oldest first."""
        return (np.zeros((self.span, self.inputs), np.int16),)

    def accumulate(
        self, x: NDArray[Any], state: tuple[NDArray[Any], ...] | None = None
    ) -> tuple[NDArray[np.int32], tuple[NDArray[Any], ...]]:
        """The accumulators of all frames, [frames, out] int32, and the history after them."""
        codes, _, _ = input_codes(x, self.x_bits, 2)
        if codes.shape[1] != self.inputs:
            raise ValueError(f"x: found shape {codes.shape}, wanted [frames, {self.inputs}]")
        given = self.initial_state() if state is None else state
        if not isinstance(given, tuple | list) or len(given) != 1:
            raise ValueError(f"state: found {type(given).__name__}, wanted (history,)")
        history = history_codes(given[0], (self.span, self.inputs), *self._range())
        rows = joined(history, codes, 0)
        frames = codes.shape[0]
        first = self.offsets[0]
        seen = [rows[offset - first : offset - first + frames] for offset in self.offsets]
        if "_parts" not in self.__dict__:
            object.__setattr__(self, "_parts", packed(self.weight))
        window = np.concatenate(seen, axis=1)
        acc = products(window, self.__dict__["_parts"], self.bias, self.x_bits)
        return acc, (rows[frames:].astype(np.int16),)

    def run(
        self, x: NDArray[Any], state: tuple[NDArray[Any], ...] | None = None
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Compute frames in time order; the same codes as one `step` per frame.

        Args:
            x: [frames, inputs] uint8, int8, uint16 or int16 codes of x_bits.
            state: what the run before returned; default `initial_state`.

        Returns:
            [frames, out] codes of requant.dtype; the state after the last frame.

        Raises:
            TypeError: a wrong dtype.
            ValueError: shapes that do not match, codes outside x_bits.
        """
        acc, after = self.accumulate(x, state)
        return requantize(acc, self.requant), after

    def step(
        self, x: NDArray[Any], state: tuple[NDArray[Any], ...] | None = None
    ) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Compute one frame: [inputs] codes to [out] codes, and the state for the next one."""
        if not isinstance(x, np.ndarray) or x.ndim != 1:
            found = f"shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"x: found {found}, wanted one frame [{self.inputs}]")
        y, after = self.run(x[None], state)
        return y[0], after

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weight and, where there is one, the bias."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def settings(self) -> dict[str, Any]:
        """Everything else as JSON types."""
        return {
            "requant": self.requant.to_config(),
            "offsets": list(self.offsets),
            "x_bits": self.x_bits,
            "overflow": self.overflow,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any], arrays: dict[str, Any]) -> TdnnCell:
        """Build a cell from `settings` and `arrays`."""
        plain = {**settings, "requant": Requant.from_config(settings.get("requant"))}
        return cls(**{"bias": None, **arrays, **plain})

    def __reduce__(self) -> tuple[Any, ...]:
        return TdnnCell.from_settings, (self.settings(), self.arrays())
