# SPDX-License-Identifier: Apache-2.0
"""Bits moved between input, weight, rows and gain."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bittwin._check import WEIGHT_DTYPES, bias_array, choice, dense_array, integer
from bittwin.optimize.limits import Limits, within
from bittwin.requant import readout

EXPONENT_LIMIT = 8
FLAGS = ("exponent is num", "exponent is shift")


@dataclass(frozen=True)
class Optimization:
    """Exponents of one layer's optimisation; 0 does nothing.

    Attributes:
        input_shift: a: inputs are multiplied by 2^a and saturate at 255.
        weight_shift: b: weights are multiplied by 2^b.
        duplicate: c: rows and inputs are repeated 2^c times.
        magnify: m: the gain is divided by 2^m, so outputs are 2^m times larger; nothing compensates it.
        front_scale: f: the gain is divided by 2^f because the layer behind asked for larger inputs.
    """

    input_shift: int = 0
    weight_shift: int = 0
    duplicate: int = 0
    magnify: int = 0
    front_scale: int = 0

    def __post_init__(self) -> None:
        for entry in fields(self):
            integer(entry.name, getattr(self, entry.name), 0, EXPONENT_LIMIT)

    @property
    def log2_factor(self) -> int:
        """A + b + c: how much larger the accumulator gets."""
        return self.input_shift + self.weight_shift + self.duplicate


def exponent(shift: int, num: int, *, flags: str = "exponent is num") -> int:
    """The exponent that a pair of fields (shift, num) of an optimise config means.

    The manual calls shift a flag and num the exponent; the vendor's optimiser writes the exponent into both;
    a shipped file has shift 10 and num 0. Taking num when shift is not 0 fits all of them (inferred).

    Args:
        shift: the field of that name.
        num: the field of that name.
        flags: ``exponent is num`` or ``exponent is shift``.

    >>> from bittwin.optimize import exponent
    >>> exponent(1, 2), exponent(2, 2), exponent(10, 0), exponent(0, 3)
    (2, 2, 0, 0)
    """
    on, value = integer("shift", shift, 0, 1 << 16), integer("num", num, 0, 1 << 16)
    if choice("flags", flags, FLAGS) == "exponent is shift":
        return on
    return value if on else 0


def optimize_layer(
    weight: NDArray[Any],
    bias: NDArray[np.int32] | None,
    gain: int,
    plan: Optimization,
    *,
    shifted_inputs: int | None = None,
    limits: Limits | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.int32] | None, int]:
    """Weight, bias and gain as they are put on the array.

    Args:
        weight: [out, in] int8 or int16.
        bias: [out] int32 in accumulator units, or None.
        gain: a power of two.
        plan: the exponents.
        shifted_inputs: how many leading columns the input shift covers (an LSTM's x without its h; which of
            the two the mapper takes is unknown); default all. The others' weights are shifted instead, so
            that the result stays the same.
        limits: default `Limits()`.

    Returns:
        weight' [out, in * 2^duplicate] int16, bias' and gain'. Feed them `optimize_input`.

    Raises:
        ValueError: a limit that does not hold, with the number found.

    >>> import numpy as np
    >>> from bittwin.optimize import Optimization, optimize_layer
    >>> w, b, g = optimize_layer(np.array([[3, -5]], np.int8), np.array([128], np.int32), 512,
    ...                          Optimization(weight_shift=2, duplicate=1))
    >>> w.tolist(), b.tolist(), g
    ([[12, -20, 12, -20]], [1024], 4096)
    """
    w = dense_array("weight", weight, WEIGHT_DTYPES, 2).astype(np.int64)
    b = bias_array(bias, w.shape[0])
    edge = limits or Limits()
    _plan(plan)
    units = readout(gain).gain  # refuses what the array's register cannot hold
    assert isinstance(units, int)
    covered = _covered(shifted_inputs, w.shape[1])
    w = w << plan.weight_shift
    w[:, covered:] <<= plan.input_shift
    w = np.tile(w, (1, 1 << plan.duplicate))
    within("weight", w, edge.weight)
    wide = None if b is None else b.astype(np.int64) << plan.log2_factor
    if wide is not None:
        within("bias", wide, edge.bias)
    if w.shape[1] > edge.rows:
        raise ValueError(
            f"weight: found {w.shape[1]} rows once repeated, wanted at most {edge.rows}"
        )
    down = plan.magnify + plan.front_scale
    scaled = units << plan.log2_factor
    whole = scaled >> down << down == scaled
    if not whole or not edge.lowest_gain <= scaled >> down <= edge.highest_gain:
        raise ValueError(
            f"gain: found {scaled / (1 << down):g} once optimised, wanted "
            f"{edge.lowest_gain}..{edge.highest_gain}"
        )
    return w.astype(np.int16), None if wide is None else wide.astype(np.int32), scaled >> down


def restore_layer(
    weight: NDArray[Any],
    bias: NDArray[np.int32] | None,
    gain: int,
    plan: Optimization,
    *,
    shifted_inputs: int | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.int32] | None, int]:
    """Undo `optimize_layer`.

    Args:
        weight: [out, in * 2^duplicate] int8 or int16, as on the array.
        bias: [out] int32, or None.
        gain: as on the array.
        plan: the exponents.
        shifted_inputs: as in `optimize_layer`.

    Raises:
        ValueError: no layer gives this one: rows that are no copies, numbers that do not divide.

    >>> import numpy as np
    >>> from bittwin.optimize import Optimization, restore_layer
    >>> w = np.array([[12, -20, 12, -20]], np.int16)
    >>> restore_layer(w, None, 4096, Optimization(weight_shift=2, duplicate=1))
    (array([[ 3, -5]], dtype=int16), None, 512)
    """
    w = dense_array("weight", weight, WEIGHT_DTYPES, 2).astype(np.int64)
    b = bias_array(bias, w.shape[0])
    _plan(plan)
    copies = 1 << plan.duplicate
    if w.shape[1] % copies:
        raise ValueError(f"weight: found {w.shape[1]} rows, wanted a multiple of {copies}")
    inputs = w.shape[1] // copies
    first = w[:, :inputs]
    if not np.array_equal(np.tile(first, (1, copies)), w):
        raise ValueError(f"weight: found rows that are not {copies} copies of the same")
    covered = _covered(shifted_inputs, inputs)
    parts = (
        _divided("weight", first[:, :covered], plan.weight_shift),
        _divided("weight", first[:, covered:], plan.weight_shift + plan.input_shift),
    )
    small = None if b is None else _divided("bias", b.astype(np.int64), plan.log2_factor)
    units = integer("gain", gain, 1, 1 << 15) << (plan.magnify + plan.front_scale)
    scaled = int(_divided("gain", np.array(units), plan.log2_factor))
    readout(scaled)
    return (
        np.concatenate(parts, axis=1).astype(np.int16),
        None if small is None else small.astype(np.int32),
        scaled,
    )


def optimize_input(
    x: NDArray[Any], plan: Optimization, *, shifted_inputs: int | None = None
) -> NDArray[np.uint8]:
    """Input codes as the optimised layer takes them: shifted, saturated at 255 (inferred), repeated.

    Args:
        x: [..., in] uint8 codes.
        plan: the exponents.
        shifted_inputs: as in `optimize_layer`.

    Returns:
        [..., in * 2^duplicate] uint8.

    >>> import numpy as np
    >>> from bittwin.optimize import Optimization, optimize_input
    >>> optimize_input(np.array([1, 200], np.uint8), Optimization(input_shift=1, duplicate=1))
    array([  2, 255,   2, 255], dtype=uint8)
    """
    codes = dense_array("x", x, ("uint8",)).astype(np.int64)
    _plan(plan)
    if codes.ndim == 0:
        raise ValueError("x: found a single code, wanted [..., in]")
    inputs = codes.shape[-1]
    covered = _covered(shifted_inputs, inputs)
    codes[..., :covered] = np.minimum(codes[..., :covered] << plan.input_shift, 255)
    repeated = np.concatenate([codes] * (1 << plan.duplicate), axis=-1)
    return repeated.astype(np.uint8)


def saturates(x: NDArray[np.uint8], plan: Optimization) -> bool:
    """Whether an input code leaves 0..255 under the plan's input shift, so that results may change."""
    codes = dense_array("x", x, ("uint8",))
    return bool(codes.size) and int(codes.max()) << plan.input_shift > 255


def _plan(plan: Any) -> None:
    if not isinstance(plan, Optimization):
        raise TypeError(f"plan: found {type(plan).__name__}, wanted an Optimization")


def _covered(shifted_inputs: int | None, inputs: int) -> int:
    return (
        inputs if shifted_inputs is None else integer("shifted_inputs", shifted_inputs, 0, inputs)
    )


def _divided(name: str, numbers: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    small: NDArray[np.int64] = np.asarray(numbers >> bits)
    if not np.array_equal(small << bits, numbers):
        odd = int(numbers[(small << bits) != numbers].flat[0])
        raise ValueError(f"{name}: found {odd}, wanted a multiple of {1 << bits}")
    return small
