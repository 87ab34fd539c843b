# SPDX-License-Identifier: Apache-2.0
"""From networks and codes to a mapper's output folder."""

from __future__ import annotations
