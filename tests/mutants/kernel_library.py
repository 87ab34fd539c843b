# SPDX-License-Identifier: Apache-2.0
"""The driver of the fast kernels, compiled with loops in plain C++ and called through ctypes."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from contract.kernel_cases import OUT_TYPES, UNWRITTEN, W_TYPES, X_TYPES, Array, Call
from shim_library import CSRC, compiler

from bittwin.requant import MIDDLES, ROUNDINGS, STORES, Requant

SHIM = Path(__file__).with_name("kernel_shim.cpp")
LOOPS = ("ref", "narrow", "wide", "planes", "saturating")
OPS = ("linear", "conv2d", "conv_transpose2d")
#: Not part of the driver: the table of real instruction sets, files of numbers, recorded programs.
LEFT_OUT = ("dispatch.cpp", "parse_ints.cpp", "program.cpp")
FLAGS = ("-std=c++17", "-O0", "-fPIC", "-fwrapv", "-ffp-contract=off", "-pthread")


class KernelBuild:
    """Compiled objects of unchanged sources; a mutant recompiles one of them."""

    def __init__(self, folder: Path) -> None:
        self.cxx = compiler()
        self.folder = folder
        names = [p.name for p in sorted((CSRC / "kernels").glob("*.cpp"))]
        self.sources = [f"kernels/{n}" for n in names if n not in LEFT_OUT]
        self.includes: dict[str, set[str]] = {}

    def _command(self, source: Path, roots: list[Path], target: Path) -> list[str]:
        includes = [f"-I{root}{sub}" for root in roots for sub in ("", "/include")]
        return [str(self.cxx), *FLAGS, "-MMD", *includes, "-c", str(source), "-o", str(target)]

    def healthy(self) -> Path:
        """Compile everything once, two files at a time."""
        jobs = []
        for source in [*self.sources, SHIM.name]:
            path = SHIM if source == SHIM.name else CSRC / source
            target = self.folder / (path.stem + ".o")
            jobs.append((source, target, self._command(path, [CSRC], target)))
        for pair in (jobs[i : i + 2] for i in range(0, len(jobs), 2)):
            running = [(s, t, subprocess.Popen(c, stderr=subprocess.PIPE)) for s, t, c in pair]
            for source, target, process in running:
                _, problems = process.communicate()
                if process.returncode:
                    raise RuntimeError(f"{source}: {problems.decode()}")
                listed = target.with_suffix(".d").read_text(encoding="utf-8")
                found = re.findall(r"csrc/(\S+\.(?:h|cpp))", listed)
                self.includes[source] = {name.removeprefix("../csrc/") for name in found}
        return self._link(self.folder, {})

    def mutant(self, header: str, old: str, new: str, times: int, folder: Path) -> Path:
        """Change one file, recompile what includes it, link with the rest."""
        tree = folder / "csrc"
        shutil.copytree(CSRC, tree, ignore=shutil.ignore_patterns("bindings"))
        text = (tree / header).read_text(encoding="utf-8")
        found = text.count(old)
        assert found == times, (
            f"{header}: {old!r} occurs {found} times, wanted {times}: "
            "the file has changed, bring tests/mutants up to date"
        )
        (tree / header).write_text(text.replace(old, new), encoding="utf-8")
        # A header's inline functions stand in several objects; the linker takes those of the first, the shim.
        source = SHIM.name if header.endswith(".h") else header
        assert header in self.includes[source], f"{header}: {source} does not include it"
        path = SHIM if source == SHIM.name else tree / source
        target = folder / (path.stem + ".o")
        command = [*self._command(path, [tree], target), "-Dstatic_assert(...)="]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{source}: {done.stderr}")
        return self._link(folder, {source: target})

    def _link(self, folder: Path, changed: dict[str, Path]) -> Path:
        objects = [
            changed.get(s, self.folder / (Path(s).stem + ".o")) for s in (SHIM.name, *self.sources)
        ]
        library = folder / "kernels.so"
        command = [str(self.cxx), "-shared", "-pthread", *map(str, objects), "-o", str(library)]
        subprocess.run(command, check=True)
        return library


def _at(array: Any) -> Any:
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


def _rule_numbers(requant: Requant) -> Array:
    numbers = [ROUNDINGS.index(requant.rounding1), MIDDLES.index(requant.middle)]
    numbers += [ROUNDINGS.index(requant.rounding2), requant.zero_point, requant.lo, requant.hi]
    numbers += [STORES.index(requant.store)]
    for c in range(requant.channels):
        for part in (requant.lsh, requant.multiplier, requant.shift1, requant.shift2):
            numbers.append(part[c if len(part) > 1 else 0])
    return np.array(numbers, np.int64)


class KernelLibrary:
    """One compiled driver on one kind of loops, as something the kernel checks can call."""

    def __init__(self, path: Path, loops: str) -> None:
        self.lib = ctypes.CDLL(str(path))
        self.lib.shim_run.restype = ctypes.c_int64
        self.which = LOOPS.index(loops)

    def codes(self, call: Call) -> Array | int:
        """Output in logical order, or the element that was refused."""
        x, out = call.laid(call.x), call.laid(np.full(call.out_shape, UNWRITTEN, call.dtype))
        weight, high = np.ascontiguousarray(call.weight), call.laid(call.high)
        rule = Requant("none") if call.requant is None else call.requant
        low, log2, whole, rounding = call.split or (None, 0, 0.0, 0)
        numbers = [
            OPS.index(call.op), *self._shape(call),
            X_TYPES.index(x.dtype.type), call.channels_last, call.pad_code,
            W_TYPES.index(weight.dtype.type), OUT_TYPES.index(np.dtype(call.dtype).type),
            0 if call.requant is None else rule.channels,
            call.split is not None, low is not None, *(low or (0, 0)), log2, rounding,
        ]  # fmt: skip
        scales = np.array([rule.scale_product or 0, rule.codes_per_unit or 0, whole], np.float32)
        refused = self.lib.shim_run(
            self.which, _at(np.array(numbers, np.int64)), _at(x), _at(weight), _at(call.bias),
            _at(high), _at(call.bias_digital), _at(_rule_numbers(rule)), _at(scales), _at(out),
        )  # fmt: skip
        return refused if refused >= 0 else call.logical(out)

    @staticmethod
    def _shape(call: Call) -> list[int]:
        if call.op == "linear":
            rows = int(np.prod(call.x.shape[:-1]))
            return [
                1,
                call.x.shape[-1],
                1,
                rows,
                len(call.weight),
                1,
                rows,
                *[1] * 4,
                0,
                0,
                1,
                1,
                1,
            ]
        at, out = call.geometry, call.out_shape
        return [
            *call.x.shape, *out[1:], *call.weight.shape[2:], *at.stride, *at.padding[:2],
            *at.dilation, at.groups,
        ]  # fmt: skip

    def quantize(self, x: Array, how: Any, limits: Any, dtype: Any) -> tuple[Array, Array, int]:
        """Input codes, one flag per element, and what was found on the way."""
        codes, bits = np.zeros(x.shape, dtype), np.zeros((x.size + 7) // 8, np.uint8)
        found = self.lib.shim_quantize(
            self.which, _at(x), ctypes.c_int64(x.size), _at(np.array(how, np.float32)),
            _at(np.array(limits, np.int32)), int(dtype is not np.uint8), _at(codes), _at(bits),
        )  # fmt: skip
        return codes, np.unpackbits(bits, bitorder="little")[: x.size], int(found)
