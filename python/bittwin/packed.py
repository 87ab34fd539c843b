# SPDX-License-Identifier: Apache-2.0
"""Weights packed once, into what the kernels read."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from bittwin import _core
from bittwin._check import WEIGHT_DTYPES, dense_array


@final
class PackedWeight:
    """Weight codes that never change, with the layouts that kernels want of them; see `pack_weight`.

    Equal only to itself. A copy is the same object; a pickle holds the codes and packs them again where it
    is read. May be used from several threads at once.

    Attributes:
        codes: the codes, read-only.
        shape: their shape, as given.
        dtype: int8 or int16.
        ndim: 2 or 4.
        core: what the binding takes.
    """

    __slots__ = ("core", "dtype", "ndim", "shape")
    core: _core.PackedWeight
    dtype: np.dtype[Any]
    ndim: int
    shape: tuple[int, ...]

    def __init__(self, weight: NDArray[Any]) -> None:
        codes = dense_array("weight", weight, WEIGHT_DTYPES)
        if codes.ndim not in (2, 4):
            raise ValueError(
                f"weight: found shape {codes.shape} ({codes.ndim} axes), wanted 2 axes (linear) or 4 "
                "(convolution)"
            )
        fields = {
            "core": _core.PackedWeight(codes),
            "dtype": codes.dtype,
            "ndim": codes.ndim,
            "shape": codes.shape,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def codes(self) -> NDArray[Any]:
        """The codes, read-only."""
        return self.core.codes

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name}: a packed weight does not change; pack the new codes")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: a packed weight does not change")

    def __repr__(self) -> str:
        return f"PackedWeight(shape={self.shape}, dtype={self.dtype.name})"

    def __copy__(self) -> PackedWeight:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedWeight:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedWeight, (self.codes,)


Weight: TypeAlias = "NDArray[Any] | PackedWeight"
CoreWeight: TypeAlias = "NDArray[Any] | _core.PackedWeight"


def pack_weight(weight: NDArray[Any]) -> PackedWeight:
    """Pack weight codes once, for calls that use them again.

    Every function that takes a weight takes the result in its place and gives the same codes, sooner: the
    weights are not arranged for the kernel on each call, and what the proof against overflow needs of them
    is known. The codes are copied; a later change of `weight` changes nothing.

    Args:
        weight: [out, in], [O, I / groups, kh, kw] or, for a transposed convolution, [I, O, kh, kw]; int8 or
            int16.

    Returns:
        The packed weight. A linear layer's is ready for the active kernel; a convolution's layouts are made
        at the first call, and so are another kernel's.

    Raises:
        TypeError: a wrong dtype.
        ValueError: neither 2 nor 4 axes.
        RuntimeError: BITTWIN_KERNEL names an unknown kernel, or one that this CPU cannot run.

    >>> import numpy as np, bittwin
    >>> weight = bittwin.pack_weight(np.array([[10, -10], [-10, 3]], np.int8))
    >>> bittwin.linear(np.array([[200, 100]], np.uint8), weight, None, bittwin.readout(256))
    array([[ 4, -6]], dtype=int8)
    >>> weight
    PackedWeight(shape=(2, 2), dtype=int8)
    """
    return PackedWeight(weight)


def weight_argument(weight: Any, ndim: int) -> tuple[CoreWeight, tuple[int, ...]]:
    """Check a weight, packed or not; return what the binding takes, and its shape."""
    if type(weight) is not PackedWeight:
        codes = dense_array("weight", weight, WEIGHT_DTYPES, ndim)
        return codes, codes.shape
    if weight.ndim != ndim:
        raise ValueError(
            f"weight: found shape {weight.shape} ({weight.ndim} axes), wanted {ndim} axes"
        )
    return weight.core, weight.shape
