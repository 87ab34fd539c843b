# SPDX-License-Identifier: Apache-2.0
"""Choosing a kernel: the table, and BITTWIN_KERNEL."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import bittwin
from bittwin import _core
from bittwin.kernel_info import KernelInfo


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )


def test_reference_is_last_and_available() -> None:
    table = bittwin.kernels()
    assert table[-1].name == "ref"
    assert table[-1].available
    assert table[-1].reason == ""
    assert sum(k.active for k in table) == 1


@pytest.mark.parametrize("name", [k.name for k in bittwin.kernels() if k.available])
def test_forced_kernel_is_the_active_one(name: str) -> None:
    done = run("import bittwin; print(bittwin.active_kernel())", BITTWIN_KERNEL=name)
    assert done.stdout.strip() == name
    _core.force_kernel(name)
    try:
        assert bittwin.active_kernel() == name
    finally:
        _core.force_kernel("")


def test_unknown_kernel_is_an_error_that_lists_the_known() -> None:
    done = run("import bittwin; bittwin.active_kernel()", BITTWIN_KERNEL="warp9")
    assert done.returncode != 0
    assert "BITTWIN_KERNEL: found 'warp9', wanted one of: " in done.stderr
    assert "ref" in done.stderr
    with pytest.raises(RuntimeError, match="found 'warp9'"):
        _core.force_kernel("warp9")


@pytest.mark.parametrize("kernel", bittwin.kernels(), ids=lambda k: k.name)
def test_a_kernel_that_cannot_run_here_is_an_error_that_says_why(
    kernel: KernelInfo,
) -> None:
    assert kernel.available == (kernel.reason == "")
    if kernel.available:
        return
    done = run("import bittwin; bittwin.active_kernel()", BITTWIN_KERNEL=kernel.name)
    assert done.returncode != 0
    wanted = f"BITTWIN_KERNEL: kernel '{kernel.name}' cannot run on this CPU: {kernel.reason}"
    assert done.stderr.strip().splitlines()[-1] == f"RuntimeError: {wanted}"
