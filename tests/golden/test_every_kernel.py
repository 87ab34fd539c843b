# SPDX-License-Identifier: Apache-2.0
"""The golden files once more with every other kernel of this CPU: the suite itself uses the best one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bittwin

TESTS = Path(__file__).resolve().parents[1]
#: Recorded chip rounds, the other NPUs' layers, the mapper's dumps, the training tool's array.
GOLDEN = (
    "golden/test_chip_cmodel.py",
    "golden/test_chip_digital.py",
    "golden/test_other_npus.py",
    "golden/test_verify_dumps.py",
    "torch/test_witin_golden.py",
)
OTHERS = [k.name for k in bittwin.kernels() if k.available and not k.active]


@pytest.mark.parametrize("kernel", OTHERS)
def test_golden_files_with_kernel(kernel: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *GOLDEN],
        cwd=TESTS,
        env=os.environ | {"BITTWIN_KERNEL": kernel},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert int(passed[1]) > 90, done.stdout  # a subset that skips itself proves nothing
