# SPDX-License-Identifier: Apache-2.0
"""bittwin's own contenders: what this build offers is found by asking for it, in this file only.

A kernel that appears in ``bittwin.kernels()`` takes part by itself. Each contender forces its kernel
outside the clock, and packs its weights then, because a packed weight may be in one kernel's layout.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import AbsentError, Contender
from shapes import Case, Ints

import bittwin
from bittwin import _core

#: Shapes with more multiply-accumulates are not timed with the reference kernel.
REF_MACS = 300_000_000


def kernel_names() -> list[str]:
    """Kernels that this CPU can run, best first."""
    return [k.name for k in bittwin.kernels() if k.available]


def default_kernel() -> str:
    """The kernel that a user gets who asks for nothing."""
    _core.force_kernel("")
    return bittwin.active_kernel()


def force(kernel: str) -> Callable[[], None]:
    """A `Contender.before` that makes a kernel the active one; "" is the default choice."""
    return functools.partial(_core.force_kernel, kernel)


def has_packing() -> bool:
    """Whether weights can be packed once."""
    return hasattr(bittwin, "pack_weight")


def packed(weight: Ints) -> Any:
    """The weight, packed where this build can and this shape may be."""
    if not has_packing():
        return weight
    try:
        return bittwin.pack_weight(weight)
    except (TypeError, ValueError):
        return weight


def takes(function: Callable[..., Any], keyword: str) -> bool:
    """Whether a function has a keyword."""
    return keyword in inspect.signature(function).parameters


def missing() -> list[str]:
    """What the suite knows how to measure and this build does not have."""
    wanted = {
        "bittwin.pack_weight": has_packing(),
        "conv2d(out=)": takes(bittwin.conv2d, "out"),
        "accumulate(out=)": takes(bittwin.accumulate, "out"),
        'conv2d(layout="NHWC")': takes(bittwin.conv2d, "layout"),
        "bittwin.set_num_threads": hasattr(bittwin, "set_num_threads"),
        "a kernel besides ref": len(bittwin.kernels()) > 1,
    }
    return [f"not there yet: {name}" for name, there in wanted.items() if not there]


def _choices(case: Case) -> list[tuple[str, str]]:
    """(label, name to force): the default choice, and each kernel; `ref` only where it takes no seconds."""
    names = kernel_names()
    forced = [k for k in names if len(names) > 1 and (k != "ref" or case.macs < REF_MACS)]
    return [(f"bittwin ({default_kernel()})", ""), *((f"bittwin {k}", k) for k in forced)]


def _contender(
    label: str, kernel: str, make: Callable[[], Callable[[], Ints]], wanted: Ints | None = None
) -> Contender:
    _core.force_kernel(kernel)
    run = make()
    name = bittwin.active_kernel()
    _core.force_kernel("")
    return Contender(label, run, "ours", run, wanted, force(kernel), name)


def linear(case: Case) -> list[Contender]:
    """Codes to codes with the fused readout, packed weight, `out=`; and one call with neither."""
    rule = bittwin.readout(case.gain)

    def prepacked() -> Callable[[], Ints]:
        weight, out = packed(case.weight), np.empty_like(case.readout)
        return lambda: bittwin.linear(case.x, weight, None, rule, out=out)

    found = [_contender(label, kernel, prepacked) for label, kernel in _choices(case)]
    plain = lambda: lambda: bittwin.linear(case.x, case.weight, None, rule)  # noqa: E731
    return [*found, _contender("bittwin, weight not packed", "", plain)]


def accumulate(case: Case) -> list[Contender]:
    """Raw accumulators, beside the peers that give no more."""

    def make() -> Callable[[], Ints]:
        weight = packed(case.weight)
        if takes(bittwin.accumulate, "out"):
            out = np.empty_like(case.acc)
            return lambda: bittwin.accumulate(case.x, weight, out=out)  # type: ignore[call-arg]
        return lambda: bittwin.accumulate(case.x, weight)

    return [_contender("bittwin accumulate", "", make, case.acc)]


def conv_nchw(case: Case) -> list[Contender]:
    """Convolution of codes in torch's layout."""
    return _conv(case, "NCHW")


def conv_nhwc(case: Case) -> list[Contender]:
    """Convolution of codes with the channel fastest."""
    if not takes(bittwin.conv2d, "layout"):
        raise AbsentError('conv2d(layout="NHWC") is not there yet')
    return _conv(case, "NHWC")


def _conv(case: Case, layout: str) -> list[Contender]:
    assert case.conv is not None
    fields: dict[str, Any] = {**case.conv.fields}
    x, wanted = case.x, case.readout
    if layout == "NHWC":
        fields["layout"] = layout
        x, wanted = to_nhwc(x), to_nhwc(wanted)
    rule = bittwin.readout(case.gain)

    def make() -> Callable[[], Ints]:
        weight = packed(case.weight)
        more = dict(fields)
        if takes(bittwin.conv2d, "out"):
            more["out"] = np.empty_like(wanted)
        return lambda: bittwin.conv2d(x, weight, None, rule, **more)

    return [
        _contender(f"{label} {layout}", kernel, make, wanted) for label, kernel in _choices(case)
    ]


def to_nhwc(array: Ints) -> Ints:
    """[N, C, H, W] -> [N, H, W, C], dense."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
