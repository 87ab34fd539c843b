# SPDX-License-Identifier: Apache-2.0
"""Functions that torch.compile must not look into, without loading the compiler for those who never do."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def never_compiled(function: Callable[P, R]) -> Callable[P, R]:
    """As `torch.compiler.disable`: a graph break, and plain Python from there on.

    `torch.compiler.disable` imports torch._dynamo, a second's work. Nothing is compiled before somebody else
    has imported it, so it is asked for at the first call after that.

    >>> from bittwin.nn.eager import never_compiled
    >>> never_compiled(len)([1, 2])
    2
    """
    disabled: list[Callable[P, R]] = []

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not disabled:
            disable: Any = torch.compiler.disable
            disabled.append(disable(function))
        return disabled[0](*args, **kwargs)

    # What the compiler looks for before it goes into a function: this one too is a graph break.
    call._torchdynamo_disable = True  # type: ignore[attr-defined]
    return call
