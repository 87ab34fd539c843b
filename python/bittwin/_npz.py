# SPDX-License-Identifier: Apache-2.0
"""Reading .npz files that somebody else made: no pickle, and no allocation before the sizes are checked."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from bittwin.errors import BittwinError

#: A header of a real array is below 200 bytes.
MAX_HEADER = 10_000


#: What the zip reader raises on damaged files: more than its own exception.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
    ValueError,
    OverflowError,
)


class NpzError(BittwinError, ValueError):
    """An .npz file that cannot be read: which file, which array, what was found and wanted."""


def load_npz(path: Path | str, max_bytes: int = 4 << 30) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz file.

    Args:
        path: the file.
        max_bytes: refuse a file whose arrays together hold more.

    Returns:
        Arrays by name.

    Raises:
        NpzError: no zip file, a damaged or lying member, an object array, or too large.
        OSError: the file cannot be opened.
    """
    with open(
        path, "rb"
    ) as stream:  # an OSError from here is the caller's path, not the file's content
        return _read_archive(stream, path, max_bytes)


def _read_archive(file: IO[bytes], path: Path | str, max_bytes: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            total = sum(m.file_size for m in members)
            if total > max_bytes:
                raise NpzError(f"{path}: found {total} bytes of arrays, wanted at most {max_bytes}")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in arrays or name == member.filename:
                    raise NpzError(
                        f"{path}: found member {member.filename!r}, wanted distinct names ending in .npy"
                    )
                with archive.open(member) as stream:
                    arrays[name] = _read_member(stream, member.file_size, f"{path}: array {name!r}")
    except NpzError:
        raise
    except _DAMAGE as error:
        raise NpzError(f"{path}: found no readable .npz file ({error})") from None
    return arrays


def _read_member(stream: IO[bytes], size: int, where: str) -> NDArray[Any]:
    try:
        version = npy.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(stream, max_header_size=MAX_HEADER)
        elif version == (2, 0):
            shape, fortran, dtype = npy.read_array_header_2_0(stream, max_header_size=MAX_HEADER)
        else:
            raise NpzError(f"{where}: found .npy version {version}, wanted 1.0 or 2.0")
    except ValueError as error:
        if isinstance(error, NpzError):
            raise
        raise NpzError(f"{where}: found a damaged header ({error})") from None
    if dtype.hasobject or dtype.kind not in "biufUS":
        raise NpzError(f"{where}: found dtype {dtype}, wanted numbers or text")
    if any(n < 0 for n in shape):
        raise NpzError(f"{where}: found shape {shape}, wanted no negative size")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size:  # size counts the header too, so this is a lie or a cut file
        raise NpzError(f"{where}: found {size} bytes, wanted {wanted} for shape {shape} {dtype}")
    data = stream.read(wanted + 1)
    if len(data) != wanted:
        raise NpzError(f"{where}: found {len(data)} bytes of data, wanted {wanted}")
    flat = np.frombuffer(bytearray(data), dtype=dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
