# SPDX-License-Identifier: Apache-2.0
"""The C++ kernel test with the system's compiler: every kernel this CPU has, and AMX on emulated tiles."""

from __future__ import annotations

import subprocess
import sys

import kernel_program
import pytest

import bittwin
from bittwin.kernel_info import KernelInfo


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    cxx = kernel_program.compiler()
    if cxx is None:
        pytest.skip("no C++ compiler: tried $CXX, c++, g++, clang++")
    program = kernel_program.build(tmp_path_factory.mktemp("kernels"), cxx)
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=600)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_kernel_equals_the_reference(output: str) -> None:
    assert "ran operators" in output
    assert "DIFFERS" not in output


def test_amx_products_run_on_emulated_tiles(output: str) -> None:
    assert "ran emulated-amx: loops" in output


@pytest.mark.parametrize("info", bittwin.kernels()[:-1], ids=lambda info: info.name)
def test_the_program_ran_what_this_cpu_can(output: str, info: KernelInfo) -> None:
    if not info.available:
        pytest.skip(info.reason)
    assert f"ran {info.name}: loops" in output
    if info.name == "amx":  # narrow products go elsewhere unless tiles are insisted on
        assert "ran amx-always: loops" in output


def test_amx_is_first_in_the_table_and_says_why_not() -> None:
    info = bittwin.kernels()[0]
    assert info.name == "amx"
    assert info.available == (info.reason == "")


FORK = """
import os

import numpy as np

import bittwin

before = bittwin.active_kernel(), [k.available for k in bittwin.kernels()]
child = os.fork()
if child == 0:
    after = bittwin.active_kernel(), [k.available for k in bittwin.kernels()]
    x = bittwin.accumulate(np.full((64, 256), 255, np.uint8), np.full((64, 256), -128, np.int8))
    os._exit(0 if after == before and (x == 256 * 255 * -128).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_child_of_fork_may_use_the_same_kernels() -> None:
    """Linux hands the permission for tiles down to children; exec ends it."""
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0\n", done.stdout + done.stderr
