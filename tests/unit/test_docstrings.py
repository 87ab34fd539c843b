# SPDX-License-Identifier: Apache-2.0
"""Every example in a docstring of the installed package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil

import pytest

import bittwin

NEEDS_TORCH = ("bittwin.nn", "bittwin.compat")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(bittwin.__path__, "bittwin.", onerror=lambda name: None)
    if not module.name.endswith(("__main__", "_core"))
)


def has_torch() -> bool:
    try:
        return importlib.util.find_spec("torch.nn") is not None
    except ModuleNotFoundError:
        return False


def test_the_package_was_walked() -> None:
    assert {"bittwin.functional", "bittwin.requant.presets", "bittwin.golden.dump"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    if name.startswith(NEEDS_TORCH) and not has_torch():
        pytest.skip("torch is not installed")
    if name.startswith("bittwin.onnx") and importlib.util.find_spec("onnx") is None:
        pytest.skip("onnx is not installed")
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert result.failed == 0
