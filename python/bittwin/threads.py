# SPDX-License-Identifier: Apache-2.0
"""How many threads the kernels use. The codes are the same for any number."""

from __future__ import annotations

from bittwin import _core
from bittwin._check import integer

#: `kMaxThreads` of the kernels: a slip of the keyboard does not become a million threads.
_MAX_THREADS = 1024


def set_num_threads(n: int | None) -> None:
    """Set how many threads one call may use, the calling one among them; for the whole process.

    Threads are made when a call first has work for them, and sleep between calls. One call at a time
    has them: calls from other Python threads meanwhile run on their own thread only. Processes forked
    from this one keep the number and make threads of their own.

    Args:
        n: 1..1024, or None for the default: the environment variable ``BITTWIN_NUM_THREADS`` as it was
            at import, otherwise the number of CPUs this process may run on, counted at the next call.

    Raises:
        TypeError: n is neither an integer nor None.
        ValueError: n is outside 1..1024.

    >>> import bittwin
    >>> bittwin.set_num_threads(2)
    >>> bittwin.get_num_threads()
    2
    >>> bittwin.set_num_threads(None)
    """
    _core.set_num_threads(0 if n is None else integer("n", n, 1, _MAX_THREADS))


def get_num_threads() -> int:
    """Return how many threads one call may use, 1..1024.

    Raises:
        RuntimeError: the number is to come from ``BITTWIN_NUM_THREADS``, which is not an integer in
            1..1024. Calls that would use several threads raise it too.

    >>> import bittwin
    >>> 1 <= bittwin.get_num_threads() <= 1024
    True
    """
    return _core.num_threads()
