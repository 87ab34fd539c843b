# SPDX-License-Identifier: Apache-2.0
"""exp in float32, correctly rounded, so that every machine gives the same codes."""

from __future__ import annotations

from decimal import Context, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Far more than any library's error (a few units of 2^-53), far less than one float32 step.
_MARGIN = 2.0**-46
_EXACT = Context(prec=60, Emin=-(10**6), Emax=10**6)


def exp_float32(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The float32 number nearest to e^x.

    The double-precision exp of the machine may be off by a few of its last bits. Where those bits could
    decide the float32 rounding, the number is computed with 60 digits instead. e^x is never half way between
    two float32 numbers unless x is 0, where it is exact.

    >>> import numpy as np
    >>> exp_float32(np.array([0, -1], np.float32))
    array([1.        , 0.36787945], dtype=float32)
    """
    numbers, places = np.unique(x, return_inverse=True)
    with np.errstate(all="ignore"):
        wide = np.exp(numbers.astype(np.float64))
        low = (wide * (1 - _MARGIN)).astype(np.float32)
        high = (wide * (1 + _MARGIN)).astype(np.float32)
        result = wide.astype(np.float32)
    for i in np.flatnonzero((low != high) & np.isfinite(high)):
        exact = Decimal(float(numbers[i])).exp(_EXACT)
        middle = (
            float(low[i]) + float(high[i])
        ) / 2  # of two neighbours: exact in double precision
        result[i] = high[i] if exact > Decimal(middle) else low[i]
    found: NDArray[Any] = result[places.reshape(x.shape)]
    return found
