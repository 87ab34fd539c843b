# SPDX-License-Identifier: Apache-2.0
"""Outputs computed several times and averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bittwin._check import dense_array
from bittwin.functional import requantize
from bittwin.requant import Requant


def repeated_output(copies: Sequence[NDArray[np.int8]]) -> NDArray[np.int8]:
    """The mean of 2^r outputs as the chip takes it: added in pairs, each sum shifted right by one, half up.

    Equal copies give themselves; copies that noise made different do not give their exact mean.

    Args:
        copies: 2^r int8 arrays of the same shape.

    >>> import numpy as np
    >>> from bittwin.optimize import repeated_output
    >>> repeated_output([np.array([v], np.int8) for v in (3, 4, -7, -7)])
    array([-1], dtype=int8)
    """
    level = [dense_array("copies", c, ("int8",)) for c in copies]
    if not level or len(level) & (len(level) - 1):
        raise ValueError(f"copies: found {len(level)}, wanted a power of two")
    if any(c.shape != level[0].shape for c in level):
        raise ValueError(f"copies: found shapes {[c.shape for c in level]}, wanted one")
    half = Requant(rule="shift", shift1=(1,), rounding1="half_up")
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [requantize(np.add(a, b, dtype=np.int32), half) for a, b in pairs]
    return level[0]
