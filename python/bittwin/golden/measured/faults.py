# SPDX-License-Identifier: Apache-2.0
"""What is wrong with measured codes: stuck, offset, weak and noisy columns, bad frames, shifts, noise.

Columns and frames are judged against the others of the same layer by robust scores (median and median
absolute deviation), so a few bad ones do not hide each other. ``explains`` is a share of the squared
error, not of the differing codes: nearly every measured code differs a little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.golden.check.results import Diagnosis

if TYPE_CHECKING:
    from bittwin.golden.measured.error_statistics import Statistics

Floats = NDArray[Any]
_SCORE = 6.0  # robust standard deviations; a normal column reaches this in 2 of 10^9 cases
_FEWEST = 8  # columns or frames below which a robust score means nothing
_LISTED = 4


def robust(values: Floats, floor: float, among: NDArray[np.bool_] | None = None) -> Floats:
    """Distance from the median in robust standard deviations.

    Args:
        values: float [n].
        floor: smallest standard deviation to assume.
        among: which values make up the median and the spread; all by default.

    >>> robust(np.array([0.0, 0.1, -0.1, 0.0, 9.0]), 0.1).round(1).tolist()
    [0.0, 0.7, -0.7, 0.0, 60.7]
    """
    base = values if among is None or not among.any() else values[among]
    middle = float(np.median(base))
    deviation = 1.4826 * float(np.median(np.abs(base - middle)))
    return (values - middle) / max(deviation, floor)


def faults(s: Statistics) -> tuple[Diagnosis, ...]:
    """Causes of the errors of one measured layer, most specific first; none when there is no error."""
    if s.tally.mismatches == 0:
        return ()
    shift = _shift(s)
    if shift is not None:
        return (shift,)
    energy = s.sums["ee"].astype(float)
    whole = float(energy.sum())
    found: list[Diagnosis] = []
    good = np.ones(s.columns, bool)
    frames, size = _bad_frames(s)
    std = s.column_std_without(frames) if frames.size else s.column_std
    for kind, bad, text in _columns(s, std):
        fresh = [c for c in bad if good[c]]
        for column in fresh[:_LISTED]:
            found.append(Diagnosis(text(column), float(energy[column]) / whole, kind))
        if len(fresh) > _LISTED:
            rest = fresh[_LISTED:]
            cause = f"{len(rest)} more columns like that: {', '.join(str(c) for c in rest[:12])}"
            found.append(Diagnosis(cause, float(energy[rest].sum()) / whole, kind))
        good[fresh] = False
    found += _frames(s, frames, size, whole)
    found += _whole(s, std, good, whole)
    return tuple(found)


def _shift(s: Statistics) -> Diagnosis | None:
    """Measured codes that fit the golden ones one frame or column away far better."""
    whole = int(s.sums["ee"].sum())
    here = whole / s.tally.codes
    for (axis, by), (square, count) in s.shift_error.items():
        if count and square / count < 0.25 * here and 5 * count > 3 * s.tally.codes:
            cause = (
                f"shifted by one {axis}: measured {axis} k fits golden {axis} k{by:+d} "
                f"(mean squared error {square / count:.2f} instead of {here:.2f})"
            )
            return Diagnosis(cause, 1 - square / count / here, f"{axis}_shift")
    return None


def _columns(s: Statistics, std: Floats) -> list[tuple[str, list[int], Any]]:
    """Bad columns by kind, worst first, each with a function that describes one."""
    mean = s.column_mean
    low, high = s.low, s.high
    stuck = (low["m"] == high["m"]) & (low["g"] != high["g"])
    others = ~stuck
    gain, varied = _gains(s)
    if s.columns >= _FEWEST:
        offset = (np.abs(robust(mean, 0.15, others)) > _SCORE) & (np.abs(mean) >= 1)
        weak = (
            (np.abs(robust(gain, 0.01, others & varied)) > _SCORE)
            & varied
            & (np.abs(gain - 1) > 0.1)
        )
        noisy = (robust(std, 0.05, others) > _SCORE) & (
            std > 2 * np.median(std[others]) if others.any() else False
        )
    else:
        error = np.maximum(std / np.sqrt(s.n), 0.1)
        offset = (np.abs(mean) > 3) & (np.abs(mean) > _SCORE * error)
        weak = varied & (np.abs(gain - 1) > 0.25)
        noisy = np.zeros(s.columns, bool)
    # A weak column whose golden codes do not average to 0 has a mean error, too.
    offset &= others & ~(weak & _proportional(s))
    usual = f"{np.median(mean[others]):+.2f}" if others.any() else "none"
    middle = float(np.median(gain[others & varied])) if (others & varied).any() else 1.0
    quiet = float(np.median(std[others])) if others.any() else 0.0

    def stuck_text(c: int) -> str:
        return f"column {c} is stuck at {low['m'][c]} (golden {low['g'][c]}..{high['g'][c]})"

    def offset_text(c: int) -> str:
        return (
            f"column {c} has an offset of {mean[c]:+.2f} LSB, std {std[c]:.2f} "
            f"(median offset of the columns {usual})"
        )

    def weak_text(c: int) -> str:
        return f"column {c} has gain {gain[c]:.3f} (median of the columns {middle:.3f})"

    def noisy_text(c: int) -> str:
        return f"column {c} is noisy: std {std[c]:.2f} LSB (median of the columns {quiet:.2f})"

    def worst(bad: Any, by: Floats) -> list[int]:
        return sorted((int(c) for c in np.flatnonzero(bad)), key=lambda c: -float(by[c]))

    return [
        ("stuck_column", worst(stuck, s.sums["ee"]), stuck_text),
        ("offset_column", worst(offset, np.abs(mean)), offset_text),
        ("gain_column", worst(weak & others, np.abs(gain - middle)), weak_text),
        ("noisy_column", worst(noisy & others, std), noisy_text),
    ]


def _gains(s: Statistics) -> tuple[Floats, NDArray[np.bool_]]:
    """Slope of measured against golden per column, and where golden varies enough (std 4 LSB) for one."""
    gain, varied = np.ones(s.columns), np.zeros(s.columns, bool)
    for c in range(s.columns):
        m, g, gg, mg = (int(s.sums[k][c]) for k in ("m", "g", "gg", "mg"))
        spread = s.n * gg - g * g
        if spread > 16 * s.n * s.n:
            gain[c], varied[c] = (s.n * mg - m * g) / spread, True
    return gain, varied


def _proportional(s: Statistics) -> NDArray[np.bool_]:
    """Columns that measured = gain x golden describes better than measured = golden + offset."""
    m, g, mixed = (s.sums[k].astype(float) for k in ("mm", "gg", "mg"))
    left = m - mixed**2 / np.maximum(g, 1)
    better: NDArray[np.bool_] = left < s.n * s.column_std**2
    return better


def _bad_frames(s: Statistics) -> tuple[NDArray[np.int64], Floats]:
    """Frames whose error, columns' offsets taken away, is far larger than the others', worst first."""
    size = np.sqrt(s.clean_std**2 + s.clean_mean**2)
    if s.n < _FEWEST:
        return np.empty(0, np.int64), size
    usual = float(np.median(size))
    bad = np.flatnonzero((robust(size, 0.1) > _SCORE) & (size > 2 * usual))
    if bad.size > s.n // 4:
        return np.empty(0, np.int64), size
    return bad[np.argsort(-size[bad], kind="stable")], size


def _frames(s: Statistics, bad: NDArray[np.int64], size: Floats, whole: float) -> list[Diagnosis]:
    """The bad frames as one diagnosis."""
    if bad.size == 0:
        return []
    square = s.columns * (s.frame_std**2 + s.frame_mean**2)
    share = float(square[bad].sum()) / whole
    named = ", ".join(str(int(f) + s.bounds[0]) for f in bad[:_LISTED])
    more = f" and {bad.size - _LISTED} more" if bad.size > _LISTED else ""
    cause = (
        f"frame{'s' * (bad.size > 1)} {named}{more}: rms error up to {size[bad[0]]:.2f} LSB "
        f"without the columns' offsets (median of the frames {float(np.median(size)):.2f})"
    )
    return [Diagnosis(cause, min(share, 1.0), "frame" if bad.size == 1 else "frames")]


def _whole(s: Statistics, std: Floats, good: NDArray[np.bool_], whole: float) -> list[Diagnosis]:
    """The layer as a whole without its bad columns: gain, offset, then noise."""
    found: list[Diagnosis] = []
    if not good.any():
        return found
    sums = {k: int(v[good].sum()) for k, v in s.sums.items()}
    count = s.n * int(good.sum())
    spread = count * sums["gg"] - sums["g"] ** 2
    if sums["ee"] == 0:
        return found
    mean = sums["e"] / count
    if spread > 4 * count * count:
        gain = (count * sums["mg"] - sums["m"] * sums["g"]) / spread
        offset = (sums["m"] - gain * sums["g"]) / count
        removed = (gain - 1) ** 2 * spread / count
        if abs(gain - 1) > 0.03 and removed > 0.1 * (sums["ee"] - count * mean * mean):
            text = f"the whole layer has gain {gain:.3f} and offset {offset:+.2f} LSB"
            found.append(Diagnosis(text, min((removed + count * mean * mean) / whole, 1.0), "gain"))
            mean = 0.0
    if abs(mean) > 0.5 and mean * mean * count > 0.2 * sums["ee"]:
        text = f"the whole layer has an offset of {mean:+.2f} LSB"
        found.append(Diagnosis(text, mean * mean * count / whole, "offset"))
    std = std[good]
    left = "" if good.all() else f" of the other {int(good.sum())} columns"
    offsets = float(np.std(s.column_mean[good]))
    what = "plain noise" if good.all() and not found else "noise"
    text = (
        f"{what}{left}: std {float(std.mean()):.2f} LSB per "
        f"column (mean), column offsets spread {offsets:.2f} LSB"
    )
    found.append(Diagnosis(text, float((std**2).sum()) * s.n / whole, "noise"))
    return found
