# SPDX-License-Identifier: Apache-2.0
"""The windows that pooling looks at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import four_sides, pair


class Windows:
    """The windows of a picture [..., H, W], one picture of the result per offset inside the window."""

    def __init__(
        self, shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any, cmodel: bool
    ) -> None:
        if len(shape) < 2:
            raise ValueError(f"x: found shape {shape}, wanted [..., height, width]")
        self.kernel = pair("kernel", kernel, 1)
        self.stride = self.kernel if stride is None else pair("stride", stride, 1)
        top, left, bottom, right = four_sides("padding", padding)
        if cmodel:  # its padding above the picture only makes the result taller
            top, bottom = 0, top + bottom
        self.around = ((top, bottom), (left, right))
        self.size = (shape[-2] + top + bottom, shape[-1] + left + right)
        if any(k > n for k, n in zip(self.kernel, self.size, strict=True)):
            raise ValueError(f"kernel: found {self.kernel}, the padded picture is {self.size}")
        self.out = tuple(
            (n - k) // s + 1 for n, k, s in zip(self.size, self.kernel, self.stride, strict=True)
        )

    def padded(self, codes: NDArray[Any], code: int) -> NDArray[Any]:
        """The picture with its padding."""
        if not any(sum(side) for side in self.around):
            return codes
        around = ((0, 0),) * (codes.ndim - 2) + self.around
        return np.pad(codes, around, constant_values=code)

    def real_codes(self, axis: int) -> NDArray[np.int64]:
        """How many rows (axis 0) or columns (axis 1) of every window lie inside the picture."""
        before, after = self.around[axis]
        kernel, stride = self.kernel[axis], self.stride[axis]
        first = np.arange(self.out[axis], dtype=np.int64) * stride
        end = np.minimum(first + kernel, self.size[axis] - after)
        return np.asarray(np.maximum(end - np.maximum(first, before), 0))

    def folded(self, picture: NDArray[Any], combine: np.ufunc) -> NDArray[Any]:
        """All cells of every window in one number: sums, maxima, minima, whose order does not matter.

        Rows first, then columns, so that a window costs as many steps as it has rows and columns together.
        """
        for axis in (0, 1):
            kernel, stride = self.kernel[axis], self.stride[axis]
            span = stride * (self.out[axis] - 1) + 1
            turned = picture.swapaxes(-1, axis - 2)
            best = turned[..., :span:stride].copy()
            for i in range(1, kernel):
                combine(best, turned[..., i : i + span : stride], out=best)
            picture = best.swapaxes(-1, axis - 2)
        return picture

    def cells(self, picture: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """The cells of all windows, by their place in the window, row by row."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                rows = slice(i, i + self.stride[0] * (self.out[0] - 1) + 1, self.stride[0])
                columns = slice(j, j + self.stride[1] * (self.out[1] - 1) + 1, self.stride[1])
                yield picture[..., rows, columns]
