# SPDX-License-Identifier: Apache-2.0
"""Which kernels this build has, which this CPU can run, and which one is in use."""

from __future__ import annotations

from dataclasses import dataclass

from bittwin import _core


@dataclass(frozen=True)
class KernelInfo:
    """One entry of the kernel table, best first.

    Attributes:
        name: what ``BITTWIN_KERNEL`` takes.
        description: instruction set and role.
        available: whether this CPU can run it.
        reason: why not, or an empty string.
        active: whether it is in use.
    """

    name: str
    description: str
    available: bool
    reason: str
    active: bool


def kernels() -> tuple[KernelInfo, ...]:
    """List the kernels, best first; the last, ``ref``, is the normative one and runs anywhere.

    ``amx`` takes what tiles are good for; products of few rows or short rows it leaves to the loops of
    ``avx512vnni``. The first call asks Linux for the permission to use tiles, once per process.

    >>> import bittwin
    >>> bittwin.kernels()[-1].name
    'ref'
    """
    active = active_kernel()
    return tuple(
        KernelInfo(name, description, not reason, reason, name == active)
        for name, description, reason in _core.kernels()
    )


def active_kernel() -> str:
    """Name of the kernel in use: the best available, or what ``BITTWIN_KERNEL`` forces.

    Raises:
        RuntimeError: BITTWIN_KERNEL names an unknown kernel, or one this CPU cannot run.

    >>> import bittwin
    >>> bittwin.active_kernel() in [k.name for k in bittwin.kernels() if k.available]
    True
    """
    return _core.active_kernel()
