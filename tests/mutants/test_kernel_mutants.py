# SPDX-License-Identifier: Apache-2.0
"""Would the kernel tests notice? Every part of the fast driver is broken once, and a check must fail.

The driver and its shared loops run here on products in plain C++, so that every CPU can do it. One
of these products saturates pairs at 16 bits, as vpmaddubsw does: it must be rejected, and would not
be by bell-shaped data.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from contract.kernel_checks import KERNEL_CHECKS, check_kernel_linear, check_kernel_linear_bell
from kernel_library import KernelBuild, KernelLibrary
from kernel_mutations import KERNEL_MUTATIONS, KernelMutation
from shim_library import compiler

BY_NAME = {check.__name__: check for check in KERNEL_CHECKS}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> KernelBuild:
    if compiler() is None:
        pytest.skip("no C++ compiler: wanted $CXX, c++, g++ or clang++ on the path")
    return KernelBuild(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def healthy(build: KernelBuild) -> Path:
    return build.healthy()


@pytest.mark.parametrize("loops", ["ref", "narrow", "wide", "planes"])
@pytest.mark.parametrize("check", KERNEL_CHECKS, ids=lambda check: str(check.__name__))
def test_unchanged_driver_passes(healthy: Path, loops: str, check: Callable[[Any], None]) -> None:
    check(KernelLibrary(healthy, loops))


@pytest.fixture(scope="module")
def mutants(
    build: KernelBuild,
    healthy: Path,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[Path]]]:
    """All mutants that this run asks for, compiled side by side."""
    assert healthy.exists()
    params = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = [p.params["mutation"] for p in params if p and "mutation" in p.params]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            m.rule: pool.submit(
                build.mutant, m.header, m.old, m.new, m.times, tmp_path_factory.mktemp("mutant")
            )
            for m in wanted
            if isinstance(m, KernelMutation)
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutation", KERNEL_MUTATIONS, ids=lambda mutation: str(mutation.rule))
def test_mutant_is_noticed(mutation: KernelMutation, mutants: dict[str, Future[Path]]) -> None:
    library = mutants[mutation.rule].result()
    with pytest.raises(AssertionError):
        BY_NAME[mutation.noticed_by](KernelLibrary(library, mutation.loops))


def test_saturating_kernel_is_rejected(healthy: Path) -> None:
    with pytest.raises(AssertionError, match="linear"):
        check_kernel_linear(KernelLibrary(healthy, "saturating"))


def test_bell_shaped_data_does_not_reject_it(healthy: Path) -> None:
    """Why codes are corner-weighted: on the data that networks are tried with, nothing saturates."""
    check_kernel_linear_bell(KernelLibrary(healthy, "saturating"))
