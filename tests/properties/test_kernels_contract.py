# SPDX-License-Identifier: Apache-2.0
"""Every kernel of this CPU passes the kernel checks: the same that tests/mutants proves to be sharp."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from contract.kernel_cases import Array, Call, every_kernel, forced
from contract.kernel_checks import KERNEL_CHECKS

from bittwin import _core


class InstalledKernel:
    """A kernel of the installed extension."""

    def __init__(self, name: str) -> None:
        self.name = name

    def codes(self, call: Call) -> Array | int:
        got = call.run(self.name)
        if isinstance(got, str):
            element = re.search(r"\(element (\d+)\)", got)
            assert element, got
            return int(element[1])
        return got

    def quantize(self, x: Array, how: Any, limits: Any, dtype: Any) -> tuple[Array, Array, int]:
        codes, bits = np.zeros(x.shape, dtype), np.zeros((x.size + 7) // 8, np.uint8)
        with forced(self.name):
            nan, inside = _core.qat_quantize(x, how, limits, codes, bits)
        return codes, np.unpackbits(bits, bitorder="little")[: x.size], nan + 2 * inside


@every_kernel
@pytest.mark.parametrize("check", KERNEL_CHECKS, ids=lambda check: str(check.__name__))
def test_kernel_passes(kernel: str, check: Callable[[Any], None]) -> None:
    check(InstalledKernel(kernel))
