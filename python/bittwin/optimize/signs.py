# SPDX-License-Identifier: Apache-2.0
"""Signed inputs: codes split by sign, or shifted by 128."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import WEIGHT_DTYPES, bias_array, choice, dense_array, integer
from bittwin.optimize.limits import Limits, within

MINUS_ONE = ("shifted", "split")


def signed_rows(n: int, inputs: int, *, minus_one: str = "shifted") -> int:
    """How many leading inputs the config's ``signed_input`` splits by sign.

    Args:
        n: 0..inputs, or -1, which shipped configs have and no text explains.
        inputs: inputs of the layer; channels for a convolution.
        minus_one: ``shifted``: none is split, all get +128 (what the C-model's event does); ``split``: all.
    """
    count = integer("signed_input", n, -1, inputs)
    if count >= 0:
        return count
    return 0 if choice("minus_one", minus_one, MINUS_ONE) == "shifted" else inputs


def signed_layer(
    weight: NDArray[Any], bias: NDArray[np.int32] | None, n: int, *, limits: Limits | None = None
) -> tuple[NDArray[np.int16], NDArray[np.int32] | None]:
    """Weight and bias of a layer with signed inputs, as they are put on the array.

    ``weight' = [W[:n], W[n:], -W[:n]]`` over the inputs, ``bias' = bias - 128 * sum(W[n:])``. The
    accumulator is that of the signed product.

    Args:
        weight: [out, in] int8 or int16, or a convolution's [O, I, kh, kw]; n counts axis 1. (A convolution
            with padding needs n = I: padding holds 0, which is not the code 128 of a shifted 0.)
        bias: [out] int32, or None.
        n: how many leading inputs are split by sign, see `signed_rows`.
        limits: default `Limits()`; only `bias` and `rows` are checked here.

    Raises:
        ValueError: a limit that does not hold, with the number found.

    >>> import numpy as np
    >>> from bittwin.optimize import signed_layer
    >>> w, b = signed_layer(np.array([[3, -5]], np.int8), None, 1)
    >>> w.tolist(), b.tolist()
    ([[3, -5, -3]], [640])
    """
    w = dense_array("weight", weight, WEIGHT_DTYPES).astype(np.int64)
    if w.ndim < 2:
        raise ValueError(f"weight: found shape {w.shape}, wanted [out, in, ...]")
    b = bias_array(bias, w.shape[0])
    edge = limits or Limits()
    count = integer("n", n, 0, w.shape[1])
    rows = np.concatenate([w, -w[:, :count]], axis=1)
    within("weight", rows, (1 << 15) - 1)
    per_output = rows.size // max(len(rows), 1)
    if per_output > edge.rows:
        raise ValueError(
            f"weight: found {per_output} rows with signs split, wanted at most {edge.rows}"
        )
    if count == w.shape[1]:
        return rows.astype(np.int16), b
    shift = 128 * w[:, count:].reshape(w.shape[0], -1).sum(axis=1)
    moved = (np.zeros(w.shape[0], np.int64) if b is None else b.astype(np.int64)) - shift
    within("bias", moved, edge.bias)
    return rows.astype(np.int16), moved.astype(np.int32)


def signed_codes(
    x: NDArray[np.int8], n: int, *, axis: int = -1, cmodel: bool = False
) -> NDArray[np.uint8]:
    """Signed codes as the array takes them: ``[max(x[:n], 0), x[n:] + 128, max(-x[:n], 0)]``.

    Args:
        x: [..., in] int8 codes.
        n: how many leading codes are split by sign.
        axis: the axis that n counts; 1 for [N, C, H, W].
        cmodel: -128 becomes 127 in the negative half, as where the C-model multiplies by -1 on the chip; its
            CPU event and the default make 128 of it.

    >>> import numpy as np
    >>> from bittwin.optimize import signed_codes
    >>> signed_codes(np.array([-128, 5, -3], np.int8), 2)
    array([  0,   5, 125, 128,   0], dtype=uint8)
    """
    codes = np.moveaxis(dense_array("x", x, ("int8",)).astype(np.int16), axis, -1)
    count = integer("n", n, 0, codes.shape[-1])
    first = codes[..., :count]
    negative = np.minimum(np.maximum(-first, 0), 127 if cmodel else 128)
    parts = [np.maximum(first, 0), codes[..., count:] + 128, negative]
    joined = np.moveaxis(np.concatenate(parts, axis=-1), -1, axis)
    return np.ascontiguousarray(joined.astype(np.uint8))
