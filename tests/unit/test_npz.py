# SPDX-License-Identifier: Apache-2.0
"""Reading foreign .npz files: nothing pickled, nothing allocated on a header's word."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bittwin._npz import NpzError, load_npz


def member(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_reads_what_numpy_writes(tmp_path: Path) -> None:
    arrays = {
        "a/b": np.arange(6, dtype=np.int16).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3), np.int8),
        "scalar": np.array(5),
    }
    for save in (np.savez, np.savez_compressed):
        path = tmp_path / "x.npz"
        save(path, **arrays)
        loaded = load_npz(path)
        assert loaded.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name], array)
            assert loaded[name].dtype == array.dtype


def test_a_lying_header_allocates_nothing(tmp_path: Path) -> None:
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    path = write(tmp_path / "x.npz", {"a.npy": member(header, b"\0" * 8)})
    with pytest.raises(NpzError, match=r"x.npz: array 'a': found \d+ bytes, wanted 8000000000000"):
        load_npz(path)


@pytest.mark.parametrize(
    "members",
    [
        {"a.npy": b""},
        {"a.npy": b"not an array"},
        {"a.npy": member(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"\0" * 8)},
        {
            "a.npy": member(
                b"{'descr': '<i2', 'fortran_order': False, 'shape': (4,), }\n", b"\0" * 3
            )
        },
        {
            "a.npy": member(
                b"{'descr': '<i2', 'fortran_order': False, 'shape': (-4,), }\n", b"\0" * 8
            )
        },
        {
            "a.npy": member(
                b"{'descr': '<i2', 'fortran_order': False, 'shape': (4,), }\n", b"\0" * 9
            )
        },
        {"a.npy": member(b"__import__('os')\n")},
        {"a.txt": b"hello"},
    ],
)
def test_damaged_members_are_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(NpzError):
        load_npz(write(tmp_path / "x.npz", members))


def test_too_large_a_file_is_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(100_000, np.int8))
    with pytest.raises(NpzError, match="wanted at most 5000"):
        load_npz(path, max_bytes=5000)


def test_every_cut_of_a_file_is_refused_or_whole(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.arange(50, dtype=np.int32))
    whole = stream.getvalue()
    path = tmp_path / "x.npz"
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(NpzError):
            load_npz(path)


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.arange(50, dtype=np.int32))
    whole = stream.getvalue()
    path = tmp_path / "x.npz"
    for n in range(len(whole)):
        damaged = bytearray(whole)
        damaged[n] ^= 0x41
        path.write_bytes(damaged)
        try:
            load_npz(path, max_bytes=1 << 20)
        except NpzError as error:
            assert "x.npz" in str(error)


def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "none.npz")
