# SPDX-License-Identifier: Apache-2.0
"""Torch calls that move numbers, as the network layers that move codes alike.

What a call moves is found by trying it on an array of positions, so that every view, permutation and slice
is understood in all of torch's spellings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from bittwin.network import Flatten, GlobalMaxPool, Layer, MaxPool, Permute, Reshape, Slice

Maker = Callable[[str], Layer]
Replay = Callable[[torch.Tensor], Any]

#: Functions that move numbers or leave some out, by torch's name for them.
MOVES: Final = frozenset((
    "flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten", "permute", "transpose", "swapaxes",
    "swapdims", "movedim", "moveaxis", "chunk", "split", "split_with_sizes", "tensor_split", "narrow",
    "select", "unbind", "__getitem__",
))  # fmt: skip
#: Functions that choose the largest number of a window.
POOLS: Final = frozenset(("max_pool2d", "adaptive_max_pool2d"))


def moved(replay: Replay, place: int, shape: tuple[int, ...]) -> list[Maker] | str:
    """The layers that do what a call did, or why there are none.

    Args:
        replay: the same call on another tensor.
        place: which of its results.
        shape: of its input, frames first.
    """
    positions = torch.arange(int(np.prod(shape))).reshape(shape)
    result = _result(replay(positions), place).numpy()
    if not result.ndim or result.shape[0] != shape[0]:
        return f"which makes {result.shape} of {shape}: the frame axis must stay"
    before = positions.numpy()
    if result.size == before.size:
        if np.array_equal(result.ravel(), before.ravel()):
            return _reshaped(before.shape, result.shape)
        return _permuted(replay, place, before, result)
    return _sliced(before, result)


def _result(found: Any, place: int) -> torch.Tensor:
    tensor: torch.Tensor = found if isinstance(found, torch.Tensor) else found[place]
    return tensor


def _reshaped(before: tuple[int, ...], after: tuple[int, ...]) -> list[Maker]:
    if before == after:
        return []
    if len(after) == 2:
        return [Flatten]
    frame = after[1:]
    return [lambda name: Reshape(name, frame)]


def _permuted(
    replay: Replay, place: int, before: NDArray[Any], result: NDArray[Any]
) -> list[Maker] | str:
    # Lengths that all differ tell the axes apart.
    probe = torch.empty(tuple(range(2, 2 + before.ndim)), device="meta")
    try:
        shape = tuple(_result(replay(probe), place).shape)
    except (RuntimeError, IndexError, ValueError):
        shape = ()
    dims = tuple(n - 2 for n in shape)
    if sorted(dims) != list(range(before.ndim)) or dims[0] != 0:
        return "which moves numbers in a way that no layer has; the frame axis must stay"
    if not np.array_equal(before.transpose(dims), result):
        return "which moves numbers in a way that no layer has"
    return [lambda name: Permute(name, dims)]


def _sliced(before: NDArray[Any], result: NDArray[Any]) -> list[Maker] | str:
    """A slice along each axis, and a reshape where axes went."""
    if not result.size:
        return "which leaves no numbers"
    starts, ends, steps = [], [], []
    for coordinates in np.unravel_index(result.ravel(), before.shape):
        taken = np.unique(coordinates)
        step = int(taken[1] - taken[0]) if len(taken) > 1 else 1
        if not (np.diff(taken) == step).all():
            return "which takes numbers that are no slice"
        starts.append(int(taken[0]))
        ends.append(int(taken[-1]) + 1)
        steps.append(step)
    whole = before[tuple(slice(*part) for part in zip(starts, ends, steps, strict=True))]
    if whole.shape[0] != before.shape[0] or not np.array_equal(whole.ravel(), result.ravel()):
        return "which takes numbers that are no slice of each frame"
    axes = tuple(a for a in range(1, before.ndim) if whole.shape[a] != before.shape[a])
    cut = [tuple(part[a] for a in axes) for part in (starts, ends)]
    strides = tuple(steps[a] for a in axes)
    makers: list[Maker] = [lambda name: Slice(name, cut[0], cut[1], axes, strides)]
    return makers + _reshaped(whole.shape, result.shape)


def pooled(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Maker | str:
    """The layer of a maximum over windows, or why there is none; `args` without the tensor."""
    if name == "adaptive_max_pool2d":
        size = args[0] if args else kwargs.get("output_size")
        if size not in (1, (1, 1), [1, 1]):
            return f"with output_size {size}: wanted 1"
        return GlobalMaxPool
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = dict(zip(names, args, strict=False)) | kwargs
    if given.get("dilation", 1) not in (1, (1, 1), [1, 1]) or given.get("ceil_mode"):
        return "with dilation or ceil_mode: wanted neither"
    kernel, stride = _size(given["kernel_size"]), given.get("stride") or None
    strides = None if stride is None else _size(stride)
    padding = _size(given.get("padding", 0))
    return lambda name: MaxPool(name, kernel, strides, padding, pad_code=None)


def _size(given: Any) -> int | tuple[int, ...]:
    return tuple(int(n) for n in given) if isinstance(given, tuple | list) else int(given)
