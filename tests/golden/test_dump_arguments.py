# SPDX-License-Identifier: Apache-2.0
"""write_dump: arguments and folders that are refused before a file is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from dump_cases import small_inputs, small_network

from bittwin import write_dump


def test_arguments_that_are_no_network_or_have_no_frame(tmp_path: Path) -> None:
    net, x = small_network(), small_inputs()
    with pytest.raises(TypeError, match="network: found NoneType, wanted a Network"):
        write_dump(tmp_path / "dump", None, x)
    with pytest.raises(TypeError, match="network 1: found int, wanted a Network"):
        write_dump(tmp_path / "dump", [net, 5], [x, x])
    with pytest.raises(TypeError, match="inputs: found NoneType, wanted one array per net"):
        write_dump(tmp_path / "dump", [net], None)
    with pytest.raises(ValueError, match="inputs of net 0: found 0 frames, wanted at least 1"):
        write_dump(tmp_path / "dump", net, x[:0])
    assert list(tmp_path.iterdir()) == []


def test_a_missing_parent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_dump(tmp_path / "missing/dump", small_network(), small_inputs())
    assert str(caught.value).startswith(f"{tmp_path / 'missing'}: found no such folder")
    assert ".tmp" not in str(caught.value)
