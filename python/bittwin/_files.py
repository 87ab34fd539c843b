# SPDX-License-Identifier: Apache-2.0
"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path`, and rename it into place when the block ends well.

    The folder must exist. On an error the temporary file is removed and `path` is as it was.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"{path.parent}: no such folder, wanted one to write {path.name} in"
        )
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        # mkstemp makes files only the owner can read; give the permissions an ordinary open would.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_atomic(path: Path, writer: Callable[[IO[bytes]], object]) -> None:
    """Let `writer` fill a file that appears whole or not at all; see `open_atomic`."""
    with open_atomic(path) as stream:
        writer(stream)
