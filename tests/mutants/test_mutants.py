# SPDX-License-Identifier: Apache-2.0
"""Would the tests notice? Every rule is broken once, and the check that guards it must fail.

The checks are those that the public API passes in tests/properties. The headers are compiled from
a copy in which one line is wrong; the static_asserts are off, because the question is the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract.edge_checks import EDGE_CHECKS
from contract.product_checks import PRODUCT_CHECKS, check_linear
from contract.requant_checks import REQUANT_CHECKS
from header_checks import HEADER_CHECKS
from mutations import MUTATIONS, Mutation
from shim_library import ShimLibrary, build, compiler, copy_headers

from bittwin.testing import oracle

Check = Callable[[Any], None]
ALL_CHECKS: tuple[Check, ...] = (*HEADER_CHECKS, *REQUANT_CHECKS, *EDGE_CHECKS, *PRODUCT_CHECKS)
BY_NAME = {check.__name__: check for check in ALL_CHECKS}


@pytest.fixture(scope="module")
def cxx() -> str:
    found = compiler()
    if found is None:
        pytest.skip("no C++ compiler: wanted $CXX, c++, g++ or clang++ on the path")
    return found


@pytest.fixture(scope="module")
def healthy(cxx: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("healthy")
    copy_headers(folder)
    return build(folder, cxx)


@pytest.mark.parametrize("check", ALL_CHECKS, ids=lambda check: str(check.__name__))
def test_unchanged_headers_pass(healthy: Path, check: Check) -> None:
    check(ShimLibrary(healthy))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: str(mutation.rule))
def test_mutant_is_noticed(mutation: Mutation, cxx: str, tmp_path: Path) -> None:
    copy_headers(tmp_path)
    header = tmp_path / mutation.header
    text = header.read_text(encoding="utf-8")
    found = text.count(mutation.old)
    assert found == mutation.times, (
        f"{mutation.header}: {mutation.old!r} occurs {found} times, wanted {mutation.times}: "
        "the header has changed, bring tests/mutants/mutations.py up to date"
    )
    header.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    library = ShimLibrary(build(tmp_path, cxx))
    with pytest.raises(AssertionError):
        BY_NAME[mutation.noticed_by](library)


def test_saturating_pairs_kernel_is_rejected(healthy: Path) -> None:
    kernel = ShimLibrary(healthy, linear="shim_linear_u8s8_saturating_pairs")
    with pytest.raises(AssertionError, match="linear u8 x s8"):
        check_linear(kernel)


def test_saturating_pairs_kernel_passes_where_nothing_saturates(healthy: Path) -> None:
    """The rejected kernel is right on small codes: it takes corner-weighted ones to see it."""
    kernel = ShimLibrary(healthy, linear="shim_linear_u8s8_saturating_pairs")
    rng = np.random.default_rng(1)
    x = rng.integers(0, 100, (3, 17)).astype(np.uint8)
    weight = rng.integers(-100, 100, (4, 17)).astype(np.int8)
    got = kernel.accumulate(x, weight, None, wrap=False)
    np.testing.assert_array_equal(got, oracle.accumulate(x, weight))
