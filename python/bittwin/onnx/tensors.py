# SPDX-License-Identifier: Apache-2.0
"""Tensors of an ONNX file as arrays. The file is untrusted: sizes are compared before anything is made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bittwin.errors import NetworkError

#: ONNX data type -> (numpy dtype, the field that holds typed entries).
_TYPES: Final = {
    1: ("float32", "float_data"),
    2: ("uint8", "int32_data"),
    3: ("int8", "int32_data"),
    4: ("uint16", "int32_data"),
    5: ("int16", "int32_data"),
    6: ("int32", "int32_data"),
    7: ("int64", "int64_data"),
    9: ("bool", "int32_data"),
    11: ("float64", "double_data"),
    12: ("uint32", "uint64_data"),
    13: ("uint64", "uint64_data"),
}
_EXTERNAL: Final = 1
_MOST_AXES: Final = 8


def array_of(tensor: Any, where: str, folder: Path) -> NDArray[Any]:
    """The numbers of a TensorProto.

    Args:
        tensor: the message.
        where: what to call it in a message.
        folder: the file's folder, in which external data has to lie.

    Raises:
        NetworkError: an unknown type, a shape that its bytes do not fill, external data outside the folder.
    """
    kind = _TYPES.get(tensor.data_type)
    if kind is None:
        raise NetworkError(
            f"{where}: found ONNX data type {tensor.data_type}, wanted float32, float64 or integers of "
            "8 to 64 bits"
        )
    dtype, field = np.dtype(kind[0]), kind[1]
    dims = tuple(int(n) for n in tensor.dims)
    if len(dims) > _MOST_AXES or any(n < 0 for n in dims):
        raise NetworkError(
            f"{where}: found shape {dims}, wanted at most {_MOST_AXES} axes, none < 0"
        )
    count = math.prod(dims)  # Python's integers: nothing wraps
    if tensor.data_location == _EXTERNAL:
        raw = _external(tensor, where, folder, count * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        raw = tensor.raw_data
    else:
        return _typed(getattr(tensor, field), dims, count, dtype, where)
    if len(raw) != count * dtype.itemsize:
        raise NetworkError(
            f"{where}: found {len(raw)} bytes, wanted {count * dtype.itemsize} for shape {dims} {dtype}"
        )
    values: NDArray[Any] = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype)
    return values.reshape(dims)


def _typed(
    entries: Any, dims: tuple[int, ...], count: int, dtype: np.dtype[Any], where: str
) -> NDArray[Any]:
    if len(entries) != count:
        raise NetworkError(
            f"{where}: found {len(entries)} entries, wanted {count} for shape {dims} {dtype}"
        )
    values = np.array(
        entries, np.float64 if dtype.kind == "f" else np.int64 if dtype.kind == "i" else object
    )
    if dtype.kind in "iub" and count:
        info = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
        if min(entries) < info.min or max(entries) > info.max:
            raise NetworkError(f"{where}: found an entry outside {dtype.name}")
    with np.errstate(over="ignore"):
        typed: NDArray[Any] = values.astype(dtype)
    return typed.reshape(dims)


def _external(tensor: Any, where: str, folder: Path, wanted: int) -> bytes:
    entries = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    root = folder.resolve()
    try:
        path = (root / location).resolve()
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else wanted
    except (ValueError, OSError, RuntimeError) as error:
        raise NetworkError(
            f"{where}: found external data {entries}, which is unusable ({error})"
        ) from None
    if not location or not path.is_relative_to(root) or path == root:
        raise NetworkError(
            f"{where}: found external data in {location!r}, wanted a file in the folder of the model"
        )
    if not path.is_file():
        raise NetworkError(f"{where}: found no file {location!r} with its external data")
    size = path.stat().st_size
    if length != wanted or offset < 0 or offset + length > size:
        raise NetworkError(
            f"{where}: found external data of {length} bytes at {offset} in a file of {size}, wanted {wanted}"
        )
    with path.open("rb") as stream:
        stream.seek(offset)
        raw: bytes = stream.read(length)
    return raw


def integers(array: NDArray[Any], where: str, low: int, high: int) -> NDArray[np.int64]:
    """Numbers that must be integers, whatever their type (the vendor's are float32).

    Raises:
        NetworkError: a fraction, a NaN, or an integer outside ``low..high``, naming the first one.
    """
    with np.errstate(invalid="ignore"):  # a signalling NaN is one of those refused below
        wide = array.astype(np.float64) if array.dtype.kind == "f" else array
    if wide.dtype.kind == "f":
        wrong = ~((wide == np.rint(wide)) & (wide >= low) & (wide <= high))
    else:
        wrong = (wide < low) | (wide > high)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise NetworkError(
            f"{where}: found {array[at]} at index {at}, wanted integers in {low}..{high}"
        )
    return np.asarray(wide.astype(np.int64))


def narrowest(numbers: NDArray[np.int64], dtypes: tuple[str, ...]) -> NDArray[Any]:
    """The numbers in the first dtype that holds all of them; the last one must."""
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.size else (0, 0)
    for name in dtypes:
        info = np.iinfo(name)
        if info.min <= low and high <= info.max:
            break
    dense: NDArray[Any] = np.ascontiguousarray(numbers.astype(name))
    return dense.reshape(numbers.shape)
