# SPDX-License-Identifier: Apache-2.0
"""The public API passes the contract: the same checks that tests/mutants proves to be sharp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from contract.api import PublicApi
from contract.edge_checks import EDGE_CHECKS
from contract.product_checks import PRODUCT_CHECKS
from contract.requant_checks import REQUANT_CHECKS

CHECKS = (*REQUANT_CHECKS, *EDGE_CHECKS, *PRODUCT_CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_public_api_passes(check: Callable[[Any], None]) -> None:
    check(PublicApi())
