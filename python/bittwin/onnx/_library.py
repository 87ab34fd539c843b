# SPDX-License-Identifier: Apache-2.0
"""The packages onnx and protobuf, imported where a file is read or written and nowhere else."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, TypeAlias

PathLike: TypeAlias = "str | os.PathLike[str]"


def library(module: str = "onnx") -> Any:
    """Import `module`, or say which extra brings it.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"ONNX files need the package {module.partition('.')[0]} ({error}): "
            "install bittwin[onnx]"
        ) from None


class OnnxWarning(UserWarning):
    """Something in a file was rounded, corrected or left out; the message says what and where."""
