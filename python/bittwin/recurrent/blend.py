# SPDX-License-Identifier: Apache-2.0
"""How a GRU mixes its old state with the new candidate (docs/spec/recurrent.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bittwin.recurrent.rules import Shift

BLENDS = ("torch", "manual")


class Blend:
    """``h = limit(SHIFT(SHIFT((ones - z) * first, s1) + SHIFT(z * second, s2), s0))``.

    With ``torch`` first is the candidate and second the old state; ``manual`` has them exchanged. The two
    inner shifts round half up; the outer one as given. ``ones = 128``, ``s0 = -7`` and half down is
    ``n - ((z * (n - h) + 64) >> 7)``, the form of the trace.

    Args:
        kind: ``torch`` or ``manual``.
        ones: the code of 1.
        shifts: of the sum and of the two products.
        lowest: the lowest code of h.
        rounding: of the sum's shift.

    >>> import numpy as np
    >>> from bittwin.recurrent.blend import Blend
    >>> mix = Blend("torch", 128, (-7, 0, 0), -127, "half_down")
    >>> z, n, h = np.array([64, 64], np.int32), np.array([1, -128], np.int32), np.array([0, -128], np.int8)
    >>> mix.code(mix.sum(z, n, h))
    array([   0, -127], dtype=int8)
    """

    def __init__(
        self, kind: str, ones: int, shifts: tuple[int, int, int], lowest: int, rounding: str
    ) -> None:
        self._torch, self._ones = kind == "torch", ones
        wide = -(1 << 31), (1 << 31) - 1
        self._first = Shift(shifts[1], *wide) if shifts[1] else None
        self._second = Shift(shifts[2], *wide) if shifts[2] else None
        self.code = Shift(shifts[0], lowest, 127, rounding)

    def sum(
        self, z: NDArray[np.int32], n: NDArray[np.int32], h: NDArray[np.int8]
    ) -> NDArray[np.int32]:
        """The two products, shifted and added. Far below 2^31: |ones - z| < 384, shifts to the left <= 8."""
        first, second = (n, h) if self._torch else (h, n)
        kept, taken = (self._ones - z) * first, z * second
        if self._first is not None:
            kept = self._first(kept)
        if self._second is not None:
            taken = self._second(taken)
        return kept + taken
