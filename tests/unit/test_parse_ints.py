# SPDX-License-Identifier: Apache-2.0
"""The strict reader of integer text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bittwin import _core


def parse(
    text: str | bytes, columns: int = -1, lo: int = -128, hi: int = 255, **more: object
) -> np.ndarray:
    data = text.encode() if isinstance(text, str) else text
    return _core.parse_int_rows(data, columns, lo, hi, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 2 3\n4 5 6\n", [[1, 2, 3], [4, 5, 6]]),
        ("1, 2, 3 \n\n4,5,6,\r\n", [[1, 2, 3], [4, 5, 6]]),
        ("-1 +2 -0", [[-1, 2, 0]]),
        ("007\t8", [[7, 8]]),
        ("", np.zeros((0, 0))),
        ("\n \n", np.zeros((0, 0))),
    ],
)
def test_reads(text: str, wanted: object) -> None:
    np.testing.assert_array_equal(parse(text), wanted)
    assert parse(text).dtype == np.int32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n1 x2", r"line 2, field 2: found 'x2', wanted an integer in -128\.\.255"),
        ("1 2.0", r"line 1, field 2: found '2\.0'"),
        ("1 256", r"line 1, field 2: found '256'"),
        ("1 -129", r"found '-129'"),
        ("99999999999999999999999999", "found '999999999999999999999999'"),
        ("-", "found '-'"),
        ("+-1", r"found '\+-1'"),
        ("1e3", "found '1e3'"),
        ("0x1f", "found '0x1f'"),
        ("1 2\n\n1", "line 3: found 1 numbers, wanted 2"),
        ("1 2\n1 2 3", "line 2: found 3 numbers, wanted 2"),
        (b"1 \xff\x00\x012", r"found '\?\?\?2'"),
        (b"1\x002", r"found '1\?2'"),
    ],
)
def test_refuses(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_limits_rows() -> None:
    assert parse("1\n2\n", max_rows=2).shape == (2, 1)
    with pytest.raises(ValueError, match="line 3: found more than 2 rows"):
        parse("1\n2\n3\n", max_rows=2)


def test_wanted_columns_come_first() -> None:
    with pytest.raises(ValueError, match="line 1: found 2 numbers, wanted 3"):
        parse("1 2\n", columns=3)


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=3, max_size=3), max_size=8))
def test_reads_back_any_integers(rows: list[list[int]]) -> None:
    text = "\n".join(" ".join(map(str, row)) for row in rows)
    parsed = parse(text, 3, -(2**31), 2**31 - 1)
    assert parsed.tolist() == rows


@given(st.binary(max_size=60))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    try:
        parse(data)
    except ValueError as error:
        assert str(error).startswith("line ")
