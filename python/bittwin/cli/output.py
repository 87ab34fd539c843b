# SPDX-License-Identifier: Apache-2.0
"""Printing for the commands: rich on a terminal, plain text in a pipe, JSON, a progress bar."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from bittwin.golden.report.tables import Block

_PATIENCE = 1.0  # seconds before a progress bar appears


def emit(blocks: list[Block]) -> None:
    """Print a report on stdout."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console

        from bittwin.golden.report.tables import render_rich

        render_rich(blocks, Console(highlight=False))
        return
    from bittwin.golden.report.tables import render_plain

    write(render_plain(blocks))


def write(text: str) -> None:
    """Print text on stdout; a reader that has gone away is no error."""
    try:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def emit_json(found: dict[str, Any], where: str) -> None:
    """Write JSON to a file, under its final name only when it is complete, or to stdout for ``-``.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(found, indent=2, allow_nan=False) + "\n"
    if where == "-":
        write(text)
        return
    from bittwin._files import write_atomic

    path = Path(where)
    if path.is_dir():
        raise click.UsageError(f"--json: found the folder {where}, wanted a file or -")
    if not path.parent.is_dir():
        raise click.UsageError(f"--json: {where}: there is no folder {path.parent}")
    write_atomic(path, lambda stream: stream.write(text.encode()))


class LazyProgress:
    """A progress bar on stderr that appears only on a terminal and only when it takes long.

    Call it with (work done, work in all).
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._wanted = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is."""
        if not self._wanted:
            return
        if self._bar is None:
            if time.monotonic() - self._start < _PATIENCE or done >= total:
                return
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=total)
        assert self._task is not None
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> LazyProgress:
        """Start the clock."""
        self._start = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
