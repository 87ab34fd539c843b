# SPDX-License-Identifier: Apache-2.0
"""The helpers' pool: every task once, whoever runs it; errors, forks, many callers, no CPU when idle."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import bittwin
from bittwin import _core

NAP_US = 20_000  # long enough for sleeping helpers to take their tasks
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="the system has no affinity masks"
)


@pytest.fixture(autouse=True)
def default_afterwards() -> Iterator[None]:
    yield
    bittwin.set_num_threads(None)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own; one that hangs fails the test instead of stopping it."""
    env = {k: v for k, v in os.environ.items() if k != "BITTWIN_NUM_THREADS"} | environment
    code = "import os, threading, time\nimport bittwin\nfrom bittwin import _core\n" + code
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def succeeds(code: str, **environment: str) -> None:
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("tasks", "threads"),
    list(product((0, 1, 2, 3, 4, 5, 63, 1000, 20_000), (1, 2, 3, 4, 7, 16))),
)
def test_every_task_runs_exactly_once(tasks: int, threads: int) -> None:
    bittwin.set_num_threads(threads)
    for _ in range(5):
        assert _core._parallel_probe(tasks) == [1] * tasks


@pytest.mark.parametrize("threads", [1, 2, 4, np.int64(3)])
def test_number_of_threads_is_what_was_set(threads: int) -> None:
    bittwin.set_num_threads(threads)
    assert bittwin.get_num_threads() == threads


def test_tasks_run_at_the_same_time() -> None:
    bittwin.set_num_threads(4)
    start = time.perf_counter()
    assert _core._parallel_probe(4, sleep_us=300_000) == [1] * 4
    assert time.perf_counter() - start < 0.9  # one after the other: 1.2 s


def test_nested_calls_run_serially_and_completely() -> None:
    bittwin.set_num_threads(4)
    assert _core._parallel_probe(50, nested=30) == [1] * 1500
    start = time.perf_counter()
    assert _core._parallel_probe(2, nested=4, sleep_us=50_000) == [1] * 8
    assert time.perf_counter() - start >= 0.2  # each body's four naps one after the other


@pytest.mark.parametrize("threads", [1, 2, 4, 16])
@pytest.mark.parametrize(("tasks", "fail"), [(2, 0), (2, 1), (40, 0), (40, 17), (40, 39), (1, 0)])
def test_exception_of_the_lowest_task_arrives(tasks: int, fail: int, threads: int) -> None:
    bittwin.set_num_threads(threads)
    for sleep_us in (0, 0, 0, 200):
        # From `fail` on every task throws; a plain loop would meet that one.
        with pytest.raises(RuntimeError, match=rf"^task {fail}$"):
            _core._parallel_probe(tasks, sleep_us=sleep_us, fail=fail)
        assert _core._parallel_probe(tasks) == [1] * tasks


def test_tasks_after_a_failure_are_dropped() -> None:
    bittwin.set_num_threads(2)
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"^task 0$"):
        _core._parallel_probe(200, sleep_us=NAP_US, fail=0)
    assert time.perf_counter() - start < 1  # all of them: 2 s


@pytest.mark.skipif(
    sys.platform != "linux", reason="rounding modes are set through glibc's numbers"
)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="FE_UPWARD is 0x800 on x86 only")
def test_helpers_use_the_callers_rounding_mode() -> None:
    upward = 0x800
    libm = ctypes.CDLL("libm.so.6")
    bittwin.set_num_threads(4)
    for mode in (0, upward, 0):
        libm.fesetround(mode)
        try:
            found = _core._parallel_rounding(8, sleep_us=NAP_US)
        finally:
            libm.fesetround(0)
        assert found == [mode] * 8


def test_calls_from_eight_threads_at_once() -> None:
    bittwin.set_num_threads(4)
    wrong: list[str] = []

    def call(seed: int) -> None:
        for i in range(200):
            tasks = (seed * 31 + i * 7) % 97
            if _core._parallel_probe(tasks, nested=1 + i % 3) != [1] * (tasks * (1 + i % 3)):
                wrong.append(f"{tasks} tasks")
            if i % 20 == 0:
                bittwin.set_num_threads(1 + (seed + i) % 6)

    callers = [threading.Thread(target=call, args=(seed,), daemon=True) for seed in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert not any(caller.is_alive() for caller in callers)
    assert wrong == []


def test_a_call_does_not_wait_for_another_ones_job() -> None:
    bittwin.set_num_threads(2)
    long_job = threading.Thread(target=_core._parallel_probe, args=(2, 1, 1_000_000))
    long_job.start()
    time.sleep(0.2)
    assert _core._parallel_probe(50) == [1] * 50
    assert long_job.is_alive()
    long_job.join()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system has no /proc")
def test_helpers_are_made_at_first_use_and_as_many_as_wanted() -> None:
    succeeds(
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count()\n"
        "bittwin.set_num_threads(6)\n"
        "_core._parallel_probe(1)\n"
        "assert count() == before, 'helpers without need'\n"
        "for n, tasks, helpers in (2, 50, 1), (5, 3, 2), (5, 50, 4), (2, 50, 4), (6, 50, 5):\n"
        "    bittwin.set_num_threads(n)\n"
        "    _core._parallel_probe(tasks)\n"
        "    assert count() == before + helpers, (n, tasks, count() - before)\n"
    )


FORK = """
def in_child(what):
    child = os.fork()
    if child == 0:
        try:
            what()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + 20
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            raise SystemExit('the child hangs')
        time.sleep(0.01)
    assert done[1] == 0, done

def work():
    assert bittwin.get_num_threads() == 4
    start = time.monotonic()
    assert _core._parallel_probe(4, sleep_us=300_000) == [1] * 4
    assert time.monotonic() - start < 0.9, 'the child has no helpers'
    for n in 2, 6:
        bittwin.set_num_threads(n)
        for _ in range(20):
            assert _core._parallel_probe(300, nested=2) == [1] * 600
    bittwin.set_num_threads(4)

bittwin.set_num_threads(4)
"""


@needs_fork
def test_child_of_a_process_that_used_the_pool_has_one_of_its_own() -> None:
    succeeds(FORK + "work()\nin_child(work)\nin_child(lambda: in_child(work))\nwork()\n")


@needs_fork
def test_child_forked_while_another_thread_is_in_a_job_has_one_of_its_own() -> None:
    succeeds(
        FORK
        + "job = threading.Thread(target=_core._parallel_probe, args=(8, 1, 1_000_000))\n"
        + "job.start()\ntime.sleep(0.1)\nin_child(work)\nin_child(work)\n"
        + "assert job.is_alive(), 'the forks came too late'\njob.join()\nwork()\n"
    )


@needs_fork
def test_children_forked_in_the_middle_of_small_jobs_do_not_hang() -> None:
    succeeds(
        FORK
        + "stop = threading.Event()\n"
        + "def busy():\n    while not stop.is_set(): _core._parallel_probe(16)\n"
        + "callers = [threading.Thread(target=busy) for _ in range(3)]\n"
        + "for c in callers: c.start()\n"
        + "for _ in range(30): in_child(lambda: _core._parallel_probe(100))\n"
        + "stop.set()\nfor c in callers: c.join()\n"
    )


def test_process_ends_while_a_job_is_running() -> None:
    succeeds(
        "bittwin.set_num_threads(4)\n"
        "threading.Thread(target=_core._parallel_probe, args=(64, 1, 500_000), daemon=True).start()\n"
        "time.sleep(0.1)\n"
    )


def test_idle_helpers_use_no_cpu() -> None:
    bittwin.set_num_threads(4)
    _core._parallel_probe(1000, sleep_us=10)
    start = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - start < 0.05


@needs_affinity
def test_default_is_the_cpus_of_this_process() -> None:
    succeeds("assert bittwin.get_num_threads() == len(os.sched_getaffinity(0))")
    one = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    succeeds(one + "assert bittwin.get_num_threads() == 1")
    succeeds(
        "bittwin.get_num_threads()\n" + one + "bittwin.set_num_threads(None)  # counts again\n"
        "assert bittwin.get_num_threads() == 1"
    )


@pytest.mark.parametrize(("text", "threads"), [("1", 1), ("3", 3), ("007", 7), ("1024", 1024)])
def test_environment_sets_the_default(text: str, threads: int) -> None:
    succeeds(
        f"assert bittwin.get_num_threads() == {threads}\n"
        "bittwin.set_num_threads(5)\nassert bittwin.get_num_threads() == 5\n"
        f"bittwin.set_num_threads(None)\nassert bittwin.get_num_threads() == {threads}\n",
        BITTWIN_NUM_THREADS=text,
    )


def test_empty_environment_variable_is_none() -> None:
    succeeds("assert bittwin.get_num_threads() == _core.num_threads() >= 1", BITTWIN_NUM_THREADS="")


@pytest.mark.parametrize("text", ["0", "-1", "two", "2.0", " 2", "2 ", "+2", "1025", "9" * 30])
def test_bad_environment_is_an_error_that_names_the_variable(text: str) -> None:
    message = f"BITTWIN_NUM_THREADS: found '{text}', wanted an integer in 1..1024"
    for call in ("bittwin.get_num_threads()", "_core._parallel_probe(2)"):
        done = run(call, BITTWIN_NUM_THREADS=text)
        assert done.returncode != 0
        assert f"RuntimeError: {message}\n" in done.stderr
    # A number set by the program needs no default.
    succeeds("bittwin.set_num_threads(2)\n_core._parallel_probe(9)", BITTWIN_NUM_THREADS=text)


@pytest.mark.parametrize("n", [0, -1, 1025, 10**30])
def test_number_out_of_range_is_refused(n: int) -> None:
    bittwin.set_num_threads(3)
    with pytest.raises(ValueError, match=rf"^n: found {n}, wanted an integer in 1\.\.1024$"):
        bittwin.set_num_threads(n)
    assert bittwin.get_num_threads() == 3


@pytest.mark.parametrize("n", [True, 2.0, "2", np.float32(2), np.bool_(True), [2]])
def test_what_is_no_integer_is_refused(n: object) -> None:
    with pytest.raises(TypeError, match=r"^n: found .*, wanted an integer in 1\.\.1024$"):
        bittwin.set_num_threads(n)  # type: ignore[arg-type]


def test_binding_refuses_what_python_would_not_pass() -> None:
    for n in (-1, 1025):
        with pytest.raises(ValueError, match=rf"^set_num_threads: found {n}, wanted 0\.\.1024$"):
            _core.set_num_threads(n)
