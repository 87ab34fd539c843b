# SPDX-License-Identifier: Apache-2.0
"""Input arrays from files: integers, whatever type holds them, checked before the first frame is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import BittwinError

if TYPE_CHECKING:
    from bittwin.network import Network

#: Elements that are checked at a time.
_BLOCK = 1 << 20
#: Without a layer that says what it reads: codes as wide as any on the chip's buses.
_ANY = (-(1 << 15), (1 << 15) - 1)
#: Layers that hand on their input's codes as they are.
_MOVES = ("flatten", "reshape", "permute", "transpose")


class InputError(BittwinError, ValueError):
    """An input array that is unusable: which file and element, what was found and wanted."""


@dataclass(frozen=True, eq=False)
class InputCodes:
    """The codes of one input; a .npy file stays on disk until a block is asked for."""

    path: Path
    array: NDArray[Any] = field(repr=False)
    dtype: np.dtype[Any]
    """Of the codes that are handed out."""
    note: str = ""
    """What was done to the file's axes."""

    @property
    def frames(self) -> int:
        """Length of the first axis."""
        return int(self.array.shape[0])

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame."""
        return tuple(self.array.shape[1:])

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """The frames `start` to `stop`."""
        return np.array(self.array[start:stop]).astype(self.dtype, copy=False)


def open_input(
    path: str | Path,
    name: str = "input",
    *,
    shape: tuple[int, ...] | None = None,
    codes: tuple[int, int, str] | None = None,
    values: bool = False,
) -> InputCodes:
    """Open an array of codes and check every element.

    Args:
        path: .npy: [frames, ...] integers, or floats that hold integers. .npz: the array called `name`, or
            the only one. .txt: one line of codes per frame, as in layer_debug (images channel fastest).
        name: of the network's input.
        shape: of one frame, where it is known.
        codes: lowest code, highest code and who wants them (`code_range`); 16 bits when None.
        values: the network takes float32 values and makes codes of them itself (`takes_values`).

    An image over time [1, C, H, T] is taken as T frames [C, H, 1] where the network reads such frames.

    Returns:
        The codes; as uint8, int8 or int16, whichever is the first to hold all of them, unless the file's own
        type is one of these.

    Raises:
        InputError: unreadable; no frames; another shape; a fraction, NaN, infinity, or a code out of range:
            the first such element is named.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    array = _read(path, name, shape)
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"{path}: found type {array.dtype}, wanted integers, or floats holding integers"
        )
    note = ""
    if shape is not None and _over_time(tuple(array.shape), shape):
        array = array.transpose(3, 1, 2, 0)
        note = f"{path}: image [1, C, H, T] taken as {array.shape[0]} frames [C, H, 1]"
    if array.ndim == 0 or (shape is not None and tuple(array.shape[1:]) != shape):
        wanted = "[frames, ...]" if shape is None else f"[frames, {', '.join(map(str, shape))}]"
        hint = " (a frame axis is missing)" if shape is not None and array.shape == shape else ""
        raise InputError(f"{path}: found shape {list(array.shape)}, wanted {wanted}{hint}")
    if not array.shape[0]:
        raise InputError(f"{path}: found 0 frames, wanted at least 1")
    if values and array.dtype.kind == "f":
        return InputCodes(path, array, np.dtype(np.float32), note)
    low, high = _check(path, array, *(codes or (*_ANY, "")))
    return InputCodes(path, array, _code_dtype(array.dtype, low, high), note)


def _over_time(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """An image whose width is the time, for a network that reads one column after the other."""
    columns = len(found) == 4 and len(shape) == 3 and shape[2] == 1
    return columns and found[0] == 1 and found[1:3] == shape[:2] and found[3] != 1


def takes_values(network: Network, name: str) -> bool:
    """Whether every reader of an input quantises it itself, as standard quantised ONNX does."""
    readers = [reader for reader, own in network.inputs.items() if name in own]
    kinds = {layer.name: layer.kind for layer in network.layers}
    return all(kinds[reader] == "quantize_linear" for reader in readers)


def code_range(network: Network, name: str) -> tuple[int, int, str] | None:
    """The codes that every reader of a network's input takes, and who asks for them.

    Returns:
        Lowest code, highest code and a few words; None where no layer states a range.
    """
    from bittwin.golden.reading.rows import input_range
    from bittwin.network import ArrayLayer

    layers = {layer.name: layer for layer in network.layers}
    found: tuple[int, int, str] | None = None
    sources = {name}
    for reader, own in network.inputs.items():
        layer = layers[reader]
        if not sources.intersection(own):
            continue
        if layer.kind in _MOVES:
            sources.add(reader)
            continue
        operator = layer if isinstance(layer, ArrayLayer) else _RecurrentRange.of(layer)
        if operator is None:
            continue
        low, high = input_range(operator)
        text = f"layer {reader!r} reads {'signed' if low < 0 else 'unsigned'} codes of {operator.x_bits} bits"
        if found is None or (low, high) != found[:2]:
            narrow = found is not None and found[0] >= low and found[1] <= high
            found = found if narrow else (low, high, text)
    return found


@dataclass(frozen=True)
class _RecurrentRange:
    """What `input_range` wants to know, of a recurrent layer."""

    x_bits: int
    x_signed: bool

    @classmethod
    def of(cls, layer: Any) -> _RecurrentRange | None:
        cell = getattr(layer, "cell", None)
        return None if cell is None else cls(int(cell.x_bits), bool(layer.x_signed))


def _read(path: Path, name: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return _read_npz(path, name)
    if suffix == ".txt":
        return _read_text(path, shape)
    if suffix != ".npy":
        raise InputError(f"{path}: found the ending {suffix!r}, wanted .npy, .npz or .txt")
    with path.open("rb"):
        pass  # an OSError from here is the caller's path, not the file's content
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: found no readable .npy array ({error})") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path}: found an archive, wanted one .npy array")
    return array


def _read_npz(path: Path, name: str) -> NDArray[Any]:
    from bittwin._npz import load_npz

    arrays = load_npz(path)
    if name in arrays:
        return arrays[name]
    if len(arrays) != 1:
        found = ", ".join(arrays) or "none"
        raise InputError(f"{path}: found the arrays {found}, wanted one, or one called {name!r}")
    return next(iter(arrays.values()))


def _read_text(path: Path, shape: tuple[int, ...] | None) -> NDArray[Any]:
    from bittwin.golden.reading.folder import Folder
    from bittwin.golden.reading.rows import to_tensor
    from bittwin.golden.reading.text import read_table

    with path.open("rb"):
        pass
    columns = -1 if shape is None else math.prod(shape)
    rows = read_table(Folder(path.parent), path.name, columns=columns)
    if shape is None:
        return rows
    return to_tensor(rows, shape).reshape(len(rows), *shape)


def _check(path: Path, array: NDArray[Any], low: int, high: int, who: str) -> tuple[int, int]:
    """Check every element, some frames at a time; return the lowest and the highest code."""
    lowest, highest = high, low
    step = max(1, _BLOCK // max(math.prod(array.shape[1:]), 1))
    for start in range(0, array.shape[0], step):
        block = np.asarray(array[start : start + step])
        if not block.size:
            break
        bad = ~((block >= low) & (block <= high))  # NaN is neither
        if block.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                bad |= block != np.rint(block)
        if bad.any():
            at = [int(i) for i in np.argwhere(bad)[0]]
            value = block[tuple(at)].item()
            at[0] += start
            why = f" ({who})" if who else ""
            raise InputError(
                f"{path}: element {at}: found {value}, wanted an integer {low}..{high}{why}"
            )
        lowest, highest = min(lowest, int(block.min())), max(highest, int(block.max()))
    return lowest, highest


def _code_dtype(dtype: np.dtype[Any], low: int, high: int) -> np.dtype[Any]:
    narrow = ("uint8", "int8", "int16")
    if dtype.name in narrow:
        native: np.dtype[Any] = dtype.newbyteorder("=")
        return native
    for name in narrow:
        info = np.iinfo(name)
        if info.min <= low and high <= info.max:
            return np.dtype(name)
    return np.dtype(np.int32)
