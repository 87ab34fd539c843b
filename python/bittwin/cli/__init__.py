# SPDX-License-Identifier: Apache-2.0
"""The command line. Modules here import numpy and the rest only inside the commands."""

from __future__ import annotations
