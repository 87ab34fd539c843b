# SPDX-License-Identifier: Apache-2.0
"""Digital operators: the equations (shared with `bittwin.compat.witin_nn`) and the trainable modules."""

from __future__ import annotations
