# SPDX-License-Identifier: Apache-2.0
"""FloatScale and BatchNorm: float32 between codes, step by step as the chip's CPU (docs/spec/digital.md)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import dense_array, integer, positive_real
from bittwin.digital._rules import BYTE_DTYPES, OPERAND_DTYPES, axis_of, finish_f32
from bittwin.requant.limits import positive_float32
from bittwin.values import quantize


def float_scale(
    x: NDArray[Any], factor: float, *, clip_bits: int = 7, rounding: str = "half_away"
) -> NDArray[Any]:
    """``clamp(round(float32(x) * factor), -2^clip_bits, 2^clip_bits - 1)``, the product in float32.

    Args:
        x: int8, uint8 or int16 codes, any shape.
        factor: not 0; its magnitude lies in 2^-126..2^127.
        clip_bits: 0..15; 7 is the int8 range.
        rounding: one of `bittwin.requant.ROUNDINGS`; unknown for this operator, the default is that of the
            measured CPU events.

    Returns:
        Same shape, int8 up to clip_bits 7, else int16.

    Raises:
        TypeError: a wrong dtype, or a factor that is no number.
        ValueError: a parameter outside its range.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> digital.float_scale(np.array([-5, 5, 60], np.int8), 2.5)
    array([-13,  13, 127], dtype=int8)
    """
    codes = dense_array("x", x, OPERAND_DTYPES)
    number = signed_float32("factor", factor)
    bits = integer("clip_bits", clip_bits, 0, 15) + 1
    # (-x) * (-factor) is the same float32 number, and a negative factor has no codes per unit.
    values = codes.astype(np.float32) if number > 0 else -codes.astype(np.float32)
    return quantize(np.asarray(values), abs(number), bits=bits, signed=True, rounding=rounding)


def signed_float32(name: str, value: Any) -> float:
    """A factor of either sign that stays a normal number when it is rounded to float32."""
    if isinstance(value, int | float | np.integer | np.floating) and value < 0:
        return -positive_float32(name, -value)
    return positive_float32(name, value)


def batch_norm(
    x: NDArray[Any],
    gamma: NDArray[np.float32],
    beta: NDArray[np.float32],
    *,
    scale_in: float = 1.0,
    scale_out: float = 1.0,
    axis: int = 1,
    rounding: str = "half_away",
    dtype: str = "int8",
    cmodel: bool = False,
) -> NDArray[Any]:
    """``saturate(round((x * scale_in * gamma + beta) / scale_out))``, float32 after every step.

    Args:
        x: int8 or uint8 codes.
        gamma: [C] float32, the folded factor (`fold_batch_norm`).
        beta: [C] float32, the folded offset.
        scale_in: value per input code.
        scale_out: value per output code.
        axis: the axis of x that counts the C channels.
        rounding: measured: half_away.
        dtype: of the result, ``int8`` (measured) or ``uint8``.
        cmodel: read input bytes as unsigned whatever their type, as the C-model does.

    Returns:
        x's shape, saturated to the result's range.

    Raises:
        TypeError: a wrong dtype.
        ValueError: shapes that do not match, a NaN on the way, a parameter outside its range.

    Source: measured on the C-model: 70,010 outputs, 12 recorded cases.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> x = np.array([[10, 10], [200, 3]], np.uint8)
    >>> digital.batch_norm(x, np.array([0.5, -2], np.float32), np.array([0, 0.5], np.float32))
    array([[  5, -20],
           [100,  -6]], dtype=int8)
    """
    codes = dense_array("x", x, BYTE_DTYPES)
    codes = codes.view(np.uint8) if cmodel else codes
    place = axis_of("axis", axis, codes.ndim)
    shape = [1] * codes.ndim
    shape[place] = codes.shape[place]
    parts = []
    for name, value in (("gamma", gamma), ("beta", beta)):
        array = dense_array(name, value, ("float32",), 1)
        if array.shape != (codes.shape[place],):
            raise ValueError(
                f"{name}: found {array.size} channels, wanted {codes.shape[place]} (axis {axis} of x)"
            )
        parts.append(array.reshape(shape))
    s_in = np.float32(positive_float32("scale_in", scale_in))
    s_out = np.float32(positive_float32("scale_out", scale_out))
    with np.errstate(all="ignore"):  # infinities saturate, a NaN is refused below
        values = ((codes.astype(np.float32) * s_in) * parts[0] + parts[1]) / s_out
    return finish_f32(values, dtype, rounding)


def fold_batch_norm(
    scale: NDArray[Any],
    bias: NDArray[Any],
    mean: NDArray[Any],
    var: NDArray[Any],
    epsilon: float = 1e-5,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What `batch_norm` takes: ``scale / sqrt(var + epsilon)`` and ``bias - mean * gamma``.

    Computed in double precision and rounded to float32 once each (inferred: the driver holds the folded
    numbers, how its tool folds is unknown).

    Args:
        scale: [C] float32 or float64, ONNX's ``scale``.
        bias: [C], ONNX's ``B``.
        mean: [C].
        var: [C], not negative.
        epsilon: added to var, above 0.

    Returns:
        gamma and beta, [C] float32.

    Raises:
        TypeError: no float arrays.
        ValueError: shapes that differ, a negative variance, a number that is not finite.

    >>> import numpy as np
    >>> from bittwin import digital
    >>> one = np.ones(1)
    >>> digital.fold_batch_norm(2 * one, one, 3 * one, 3.75 * one, epsilon=0.25)
    (array([1.], dtype=float32), array([-2.], dtype=float32))
    """
    names = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    given = {
        k: dense_array(k, v, ("float32", "float64"), 1).astype(np.float64) for k, v in names.items()
    }
    for name, array in given.items():
        if array.shape != given["scale"].shape:
            raise ValueError(
                f"{name}: found {array.size} channels, scale has {given['scale'].size}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: found a number that is not finite")
    if (given["var"] < 0).any():
        raise ValueError(f"var: found {given['var'].min()}, wanted no negative number")
    gamma = given["scale"] / np.sqrt(given["var"] + positive_real("epsilon", epsilon))
    beta = given["bias"] - given["mean"] * gamma
    if max(map(math.fabs, (*gamma, *beta)), default=0.0) > float(np.finfo(np.float32).max):
        raise ValueError("scale, bias, mean, var: the folded numbers leave float32")
    return gamma.astype(np.float32), beta.astype(np.float32)
