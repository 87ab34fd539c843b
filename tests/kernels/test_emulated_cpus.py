# SPDX-License-Identifier: Apache-2.0
"""Other CPUs under Debian's qemu-user: no illegal instruction where a feature is missing.

qemu 7.2 knows no AVX512, so `Haswell` takes the AVX2 kernel, and what has no AVX2 the reference.
Skipped, with the reason, where the emulator or the cross compiler is not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = sorted((ROOT / "tests" / "kernels").glob("*.cpp"))
LIMIT = 300  # seconds
needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None, reason="no qemu-x86_64 (Debian: qemu-user)"
)
#: A linear layer, a convolution and a fused requantiser, small and large, by the kernel of the CPU.
SELECTION = """
import numpy as np, bittwin
rng = np.random.default_rng(1)
for m, k, n in ((1, 3, 5), (7, 70, 33), (97, 130, 70)):
    x = rng.choice([0, 1, 254, 255], (m, k)).astype(np.uint8)
    w = rng.choice([-128, -127, 0, 127], (n, k)).astype(np.int8)
    wanted = x.astype(np.int64) @ w.T.astype(np.int64)
    assert (bittwin.accumulate(x, w) == wanted).all(), (m, k, n)
    codes = bittwin.linear(x, w, None, bittwin.half_even(4096))
    assert (codes == np.clip(np.rint(wanted / 4096), -128, 127)).all(), (m, k, n)
x = rng.choice([0, 255], (1, 3, 6, 7)).astype(np.uint8)
w = rng.choice([-128, 127], (4, 3, 2, 3)).astype(np.int8)
acc = bittwin.conv2d_accumulate(x, w)
sums = sum(
    np.einsum("nchw,oc->nohw", x[:, :, i : i + 5, j : j + 5].astype(int), w[:, :, i, j].astype(int))
    for i in range(2) for j in range(3)
)
assert (acc == sums).all()
print(bittwin.active_kernel())
"""


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )


def compiled(cxx: str, folder: Path, *flags: str) -> Path:
    """The kernel test program with all kernels, built as the extension is: no flag names a CPU."""
    left_out = ("program.cpp", "parse_ints.cpp")
    kernels = [p for p in sorted((ROOT / "csrc/kernels").rglob("*.cpp")) if p.name not in left_out]
    program = folder / "kernel_test"
    includes = [f"-I{ROOT / part}" for part in ("csrc", "csrc/include", "tests/kernels")]
    options = ["-std=c++17", "-O1", "-ffp-contract=off", "-pthread", *includes, *flags]
    done = run([cxx, *options, *map(str, [*kernels, *PROGRAM]), "-o", str(program)])
    assert done.returncode == 0, done.stderr
    return program


@needs_qemu
@pytest.mark.parametrize(("cpu", "kernel"), [("Nehalem", "ref"), ("Haswell", "avx2")])
def test_python_on_an_older_cpu(cpu: str, kernel: str) -> None:
    """numpy itself needs Nehalem; one thread of it and of us."""
    done = run(
        ["qemu-x86_64", "-cpu", cpu, sys.executable, "-W", "ignore", "-c", SELECTION],
        BITTWIN_KERNEL="",
        OPENBLAS_CORETYPE="Nehalem",  # numpy's BLAS guesses from the model number, and takes AVX code
        OPENBLAS_NUM_THREADS="1",
        BITTWIN_NUM_THREADS="1",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [kernel]


@needs_qemu
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_kernel_program_on_the_oldest_cpu(tmp_path: Path) -> None:
    program = compiled("g++", tmp_path, "-static")
    done = run(["qemu-x86_64", "-cpu", "qemu64", str(program)])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None, reason="no aarch64-linux-gnu-g++"
)
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="no qemu-aarch64 (qemu-user)")
def test_kernel_program_on_arm64(tmp_path: Path) -> None:
    program = compiled("aarch64-linux-gnu-g++", tmp_path, "-static")
    done = run(["qemu-aarch64", str(program)])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
