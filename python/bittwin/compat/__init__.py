# SPDX-License-Identifier: Apache-2.0
"""Other tools' public names on our kernels, peculiarities included; one folder per tool."""

from __future__ import annotations
