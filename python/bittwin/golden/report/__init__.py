# SPDX-License-Identifier: Apache-2.0
"""What is printed: tables and sentences, on a terminal or in a pipe."""

from __future__ import annotations
