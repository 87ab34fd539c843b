# SPDX-License-Identifier: Apache-2.0
"""Another rounding that was used in some columns or frames only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.check.evidence import Evidence, windows
from bittwin.golden.check.hypotheses import alternatives

Ints = NDArray[Any]


def rule_there(e: Evidence, *, columns: Ints | None = None, rows: Ints | None = None) -> str:
    """The other rounding under which every code of some columns or frames is equal.

    Args:
        e: counts of the layer.
        columns: columns to look at; None for all.
        rows: rows to look at, counted from the first one of the range; None for all.

    Returns:
        The rule, with others that do the same in brackets; empty when there is none.
    """
    left = [a for a in alternatives(e.sim, e.codes) if a.kind in ("rounding", "wrap16")]
    if e.base is not None:
        return ""
    for w in windows(e.sim, e.codes, e.bounds, e.block, e.skip):
        at = np.arange(w.rows.size)
        if rows is not None:
            at = np.flatnonzero(np.isin(w.rows - e.bounds[0], rows))
        if at.size == 0:
            continue
        chosen = np.ix_(at, np.arange(w.golden.shape[1]) if columns is None else columns)
        left = [a for a in left if np.array_equal(a.compute(w)[chosen], w.golden[chosen])]
        if not left:
            return ""
    names = [a.rule for a in left]
    if not names:
        return ""
    return names[0] + (f" (so does {', '.join(names[1:])})" if names[1:] else "")
