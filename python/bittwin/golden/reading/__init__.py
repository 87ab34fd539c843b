# SPDX-License-Identifier: Apache-2.0
"""From a mapper's files to a `Dump`: every size and range checked, every refusal names file and field."""

from __future__ import annotations
