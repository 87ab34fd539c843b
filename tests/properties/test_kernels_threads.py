# SPDX-License-Identifier: Apache-2.0
"""Threads and cuts of the batch change nothing; and real data alone would not find a saturating kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from threading import Thread
from typing import Any

import numpy as np
import pytest
from contract.kernel_cases import (
    Array,
    Call,
    Geometry,
    assert_equal,
    every_fast_kernel,
    forced,
    model,
)
from contract.product_checks import corner_weighted

import bittwin
from bittwin import _core
from bittwin.requant import Requant

RNG = np.random.default_rng(70)


def codes(shape: tuple[int, ...], dtype: Any = np.uint8) -> Array:
    return corner_weighted(RNG, shape, dtype)


#: All above the work that a second thread is woken for (2^22 products), each cut another way.
LARGE = (
    Call("linear", codes((700, 70)), codes((130, 70), np.int8), codes((130,), np.int32)),
    Call("linear", codes((3, 2000)), codes((900, 2000), np.int8)),  # fewer blocks than threads
    Call("linear", codes((97, 400), np.int16), codes((129, 400), np.int16)),
    Call("conv2d", codes((1, 32, 40, 41)), codes((33, 32, 2, 3), np.int8), None,
         Geometry(padding=(1, 0, 2, 1)), False, 255),
    Call("conv2d", codes((5, 16, 20, 21), np.int8), codes((48, 16, 3, 3), np.int8), None,
         Geometry(stride=(1, 2)), True),
    Call("conv2d", codes((3, 130, 60, 60)), codes((130, 1, 3, 3), np.int8), None,
         Geometry(groups=130)),
    Call("conv_transpose2d", codes((2, 24, 20, 20)), codes((24, 40, 3, 4), np.int8), None,
         Geometry((2, 3), (1, 0, 1, 1))),
)  # fmt: skip
READOUT = bittwin.readout(4096)


@every_fast_kernel
@pytest.mark.parametrize("call", LARGE, ids=lambda call: f"{call.op} {call.x.shape}")
def test_every_number_of_threads_gives_the_model(kernel: str, call: Call) -> None:
    wanted = model(call)
    packed = _core.PackedWeight(call.weight)
    for threads in (1, 2, 3, 7):
        assert_equal(call.run(kernel, threads=threads), wanted, threads)
        assert_equal(call.run(kernel, threads=threads, packed=packed), wanted, threads)


@every_fast_kernel
def test_every_number_of_threads_gives_the_same_codes(kernel: str) -> None:
    for call in LARGE:
        finished = replace(call, requant=READOUT, dtype=np.int8)
        one = finished.run(kernel)
        np.testing.assert_array_equal(one, bittwin.requantize(model(call), READOUT))
        for threads in (2, 3):
            assert_equal(finished.run(kernel, threads=threads), one, threads)


@every_fast_kernel
def test_threads_name_the_same_refused_accumulator(kernel: str) -> None:
    requant = Requant("shifted", lsh=(12,), shift1=(20,))
    for call in LARGE:
        refused = replace(call, requant=requant, dtype=np.int8)
        wanted = refused.run("ref")
        for threads in (1, 3):
            assert_equal(refused.run(kernel, threads=threads), wanted, threads)


@every_fast_kernel
def test_split_codes_do_not_depend_on_threads(kernel: str) -> None:
    x = (codes((700, 70), np.int16).astype(np.int32) % 4096).astype(np.int16)
    split = ((-512, 511), 10, 0.0, 0)
    call = Call("linear", x, codes((130, 70), np.int8), None, requant=bittwin.half_even(1024),
                split=split, dtype=np.int8)  # fmt: skip
    wanted = call.run("ref")
    for threads in (1, 2, 3):
        assert_equal(call.run(kernel, threads=threads), wanted, threads)


@every_fast_kernel
def test_batches_may_be_cut_anywhere(kernel: str) -> None:
    for call in LARGE:
        whole = call.run(kernel, threads=3)
        for cut in (1, 2):
            parts = [replace(call, x=part) for part in (call.x[:cut], call.x[cut:]) if len(part)]
            joined = np.concatenate([part.run(kernel, threads=2) for part in parts])
            assert_equal(joined, whole, cut)


@every_fast_kernel
def test_several_python_threads_share_one_packed_weight(kernel: str) -> None:
    """The first callers arrange the weight at the same time, for inputs of different types."""
    weight = codes((40, 90), np.int8)
    calls = [Call("linear", codes((30, 90), t), weight) for t in (np.uint8, np.int8, np.int16)] * 3
    wanted = [model(call) for call in calls]
    packed = _core.PackedWeight(weight)
    got = [np.empty(call.out_shape, np.int32) for call in calls]
    with forced(kernel, 2):
        threads = [
            Thread(target=_core.linear, args=(c.x, packed, *[None] * 5, out))
            for c, out in zip(calls, got, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for found, sums in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(found, sums)


@every_fast_kernel
def test_environment_chooses_kernel_and_threads(kernel: str) -> None:
    code = (
        "import numpy as np, bittwin\n"
        "rng = np.random.default_rng(1)\n"
        "x = rng.integers(0, 256, (700, 70)).astype(np.uint8)\n"
        "w = rng.integers(-128, 128, (130, 70)).astype(np.int8)\n"
        "y = bittwin.accumulate(x, w)\n"
        "assert (y == x.astype(np.int64) @ w.T.astype(np.int64)).all()\n"
        "print(bittwin.active_kernel(), bittwin.get_num_threads())\n"
    )
    for threads in ("1", "3"):
        env = os.environ | {"BITTWIN_KERNEL": kernel, "BITTWIN_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )
        assert done.stdout.split() == [kernel, threads], done.stderr
