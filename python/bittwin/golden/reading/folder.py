# SPDX-License-Identifier: Apache-2.0
"""The only door to the files of a dump folder, which is untrusted input.

Every path is resolved and must stay inside the folder, only regular files are
opened, and a file's size is compared with a limit before anything is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from bittwin.errors import DumpError

#: Largest text or JSON file that is read whole, in bytes.
WHOLE_FILE_LIMIT = 256 << 20
#: Most entries that are listed in one directory.
LISTING_LIMIT = 65536

# Without these a FIFO would block on open, and Windows would translate line ends.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class Folder:
    """A dump folder; paths are relative to it, with `/`."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Check that `root` is a directory.

        Raises:
            DumpError: it is not there, or not a directory.
        """
        self.root = Path(root)
        try:
            self._real = self.root.resolve(strict=True)
            is_directory = self._real.is_dir()
        except (OSError, RuntimeError, ValueError) as error:
            raise DumpError(f"{self.root}: {_reason(error)}; wanted a dump folder") from error
        if not is_directory:
            raise DumpError(f"{self.root}: found a file, wanted a dump folder")

    def error(self, path: str, text: str) -> DumpError:
        """Build the error for a file of this folder: one line, whatever the file holds."""
        where = self.root / printable(path, 400) if path else self.root
        return DumpError(f"{where}: {printable(text, 1000)}")

    def resolve(self, path: str) -> Path | None:
        """Return the real path, or None where there is nothing.

        Raises:
            DumpError: the path leads out of the folder, or cannot be followed.
        """
        full = self._real / path
        try:
            real = full.resolve(strict=True)
        except FileNotFoundError:
            if full.is_symlink():
                raise self.error(path, "found a broken symbolic link") from None
            return None
        except (OSError, RuntimeError, ValueError) as error:
            raise self.error(path, f"cannot be followed: {_reason(error)}") from error
        if real != self._real and self._real not in real.parents:
            raise self.error(path, "leads out of the dump folder; nothing outside is read")
        return real

    def has_file(self, path: str) -> bool:
        """Tell whether there is a regular file at `path`.

        Raises:
            DumpError: there is something else, such as a directory.
        """
        real = self.resolve(path)
        if real is None:
            return False
        if not real.is_file():
            raise self.error(path, "found no regular file there, wanted one")
        return True

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""
        with self.open(path) as stream:
            return os.fstat(stream.fileno()).st_size

    def names(self, path: str) -> list[str]:
        """List a directory, sorted; empty where there is none.

        Raises:
            DumpError: not a directory, unreadable, or more than `LISTING_LIMIT` entries.
        """
        real = self.resolve(path)
        if real is None:
            return []
        if not real.is_dir():
            raise self.error(path, "found a file, wanted a directory")
        found: list[str] = []
        try:
            with os.scandir(real) as entries:
                for entry in entries:
                    found.append(entry.name)
                    if len(found) > LISTING_LIMIT:
                        raise self.error(path, f"found more than {LISTING_LIMIT} entries")
        except OSError as error:
            raise self.error(path, f"cannot be listed: {_reason(error)}") from error
        return sorted(found)

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open a regular file for reading bytes, unbuffered.

        Raises:
            DumpError: absent, outside the folder, not a regular file, or unreadable.
        """
        real = self.resolve(path)
        if real is None:
            raise self.error(path, "is missing")
        try:
            descriptor = os.open(real, _OPEN_FLAGS)
        except (OSError, ValueError) as error:
            raise self.error(path, f"cannot be opened: {_reason(error)}") from error
        # open() itself refuses a directory, but not in our words and not closing it.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self.error(path, "found no regular file there, wanted one")
        with open(descriptor, "rb", buffering=0) as stream:
            try:
                yield stream
            except OSError as error:
                raise self.error(path, f"cannot be read: {_reason(error)}") from error

    def read(self, path: str, limit: int = WHOLE_FILE_LIMIT) -> bytes:
        """Read a whole file of at most `limit` bytes."""
        with self.open(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise self.error(path, f"found {size} bytes, wanted at most {limit}")
            # One byte more than announced: a file that grows meanwhile is noticed too.
            data = read_exactly(stream, size + 1)
            if len(data) != size:
                raise self.error(path, f"found {len(data)} bytes, wanted {size}: it is changing")
            return data

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Read the bytes `start` to `stop` of a file that was measured before."""
        with self.open(path) as stream:
            stream.seek(start)
            data = read_exactly(stream, stop - start)
        if len(data) != stop - start:
            raise self.error(path, f"ends at byte {start + len(data)}, wanted {stop}: it changed")
        return data

    def read_text(self, path: str, limit: int = WHOLE_FILE_LIMIT) -> str:
        """Read a whole UTF-8 file; for the few files that hold words."""
        data = self.read(path, limit)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(
                path, f"byte {error.start}: found 0x{data[error.start]:02x}, wanted UTF-8 text"
            ) from error


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """Read up to `size` bytes; a raw stream may hand them out in pieces."""
    data = stream.read(size)
    if data is None or len(data) in (0, size):
        return data or b""
    pieces = [data]
    left = size - len(data)
    while left > 0:
        data = stream.read(left)
        if not data:
            break
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)


def _reason(error: BaseException) -> str:
    """Return the short reason of an OS error, without the path that it repeats."""
    return getattr(error, "strerror", None) or str(error)


def printable(text: str, limit: int = 120) -> str:
    """Make text from a file, or from the file system, safe to print and not too long.

    >>> printable("a" + chr(27) + "[31mb")
    'a?[31mb'
    """
    safe = "".join(letter if letter.isprintable() else "?" for letter in text)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."
