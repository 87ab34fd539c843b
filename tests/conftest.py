# SPDX-License-Identifier: Apache-2.0
"""What all tests share: the hypothesis profile and the two data folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
if str(TESTS) not in sys.path:  # for the package `contract`, whatever pytest's import mode is
    sys.path.insert(0, str(TESTS))

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the golden and command-line tests run without it
    collect_ignore_glob = ["properties/*", "unit/test_strategies.py"]
else:
    # derandomize: the same examples on every machine, so that a red build can be repeated.
    settings.register_profile(
        "bittwin",
        deadline=None,
        derandomize=True,
        max_examples=100,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    # For a long hunt: pytest --hypothesis-profile=bittwin-long
    settings.register_profile("bittwin-long", parent=settings.get_profile("bittwin"),
                              derandomize=False, max_examples=5000)  # fmt: skip
    settings.load_profile("bittwin")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of the shared data beside the checkout; the test is skipped where there is none."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data: {folder / 'data'} is not a folder")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the golden data that is part of the project."""
    folder = TESTS / "golden" / "data"
    if not folder.is_dir():
        pytest.skip(f"no golden data: {folder} is not a folder")
    return folder
