# SPDX-License-Identifier: Apache-2.0
"""Builds the kernel test: the project's kernels and the checks beside this file, one program without Python.

Also usable by hand: ``python tests/kernels/kernel_program.py FOLDER [FLAG ...]`` prints the program's path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
# parse_ints and qat have nothing that depends on the instruction set, and tests in Python
LEFT_OUT = ("parse_ints.cpp", "qat.cpp")
# -ffp-contract=off as in CMakeLists.txt: float32 roundings are part of the contract
FLAGS = ("-std=c++17", "-O2", "-pthread", "-ffp-contract=off")


def compiler() -> str | None:
    """Path of a C++ compiler: $CXX, c++, g++ or clang++."""
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    return None


def sources() -> list[Path]:
    """The kernels and the checks."""
    kernels = [p for p in (CSRC / "kernels").rglob("*.cpp") if p.name not in LEFT_OUT]
    return sorted(kernels) + sorted(HERE.glob("*.cpp"))


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def build(folder: Path, cxx: str, flags: Sequence[str] = ()) -> Path:
    """Compile and link into a folder, as many files at a time as there are CPUs.

    Args:
        folder: existing folder for objects and program.
        cxx: the compiler.
        flags: added to the project's own, e.g. ``-static`` or a sanitizer.

    Returns:
        The program.

    Raises:
        RuntimeError: the compiler's message.
    """
    program = folder / "kernel_test"
    include = [f"-I{CSRC}", f"-I{CSRC / 'include'}", f"-I{HERE}"]
    objects = [str(folder / f"{number}.o") for number, _ in enumerate(sources())]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        commands = (
            [cxx, *FLAGS, *flags, *include, "-c", str(source), "-o", target]
            for source, target in zip(sources(), objects, strict=True)
        )
        list(pool.map(_call, commands))
    _call([cxx, *FLAGS, *flags, *objects, "-o", str(program)])
    return program


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), compiler() or "c++", sys.argv[2:]))
