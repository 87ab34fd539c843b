# SPDX-License-Identifier: Apache-2.0
"""The reference kernels beside numpy's exact ways to do the same: where faster kernels start from.

python benchmarks/reference.py [RECORD.json]
"""

from __future__ import annotations

import numpy as np
from harness import median_seconds, pin_to_one_core, report

import bittwin

SHAPES = {"S1": (1, 256, 256), "S2": (100, 800, 256), "S3": (256, 1024, 1024)}


def main() -> None:
    pin_to_one_core()
    rng = np.random.default_rng(0)
    rows = {}
    for shape, (m, k, n) in SHAPES.items():
        x = rng.integers(0, 256, (m, k)).astype(np.uint8)
        w = rng.integers(-128, 128, (n, k)).astype(np.int8)
        xd, wd = x.astype(np.float64), w.astype(np.float64).T.copy()
        np.testing.assert_array_equal(bittwin.accumulate(x, w), xd @ wd)
        rule = bittwin.readout(1024)
        seconds = median_seconds(
            {
                f"{shape} accumulate, {bittwin.active_kernel()}": lambda x=x, w=w: (
                    bittwin.accumulate(x, w)
                ),
                f"{shape} linear + readout, {bittwin.active_kernel()}": lambda x=x, w=w, rule=rule: (
                    bittwin.linear(x, w, None, rule)
                ),
                f"{shape} numpy float64 (exact, BLAS)": lambda a=xd, b=wd: a @ b,
            },
            rounds=9,
        )
        rows |= {name: m * k * n / s / 1e9 for name, s in seconds.items()}
    report("matrix products, one thread, medians of 9, interleaved", "GMAC/s", rows)


if __name__ == "__main__":
    main()
