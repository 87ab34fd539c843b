# SPDX-License-Identifier: Apache-2.0
"""Lines and tables that can be printed plainly or by rich; text of files is made harmless first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table as RichTable


def harmless(text: str) -> str:
    r"""Text without control characters: names come from files and must not steer a terminal.

    >>> harmless("linear\x1b[31m")
    'linear\\x1b[31m'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def count(number: int) -> str:
    """A whole number with thousands set apart.

    >>> count(594000)
    '594,000'
    """
    return f"{number:,}"


@dataclass(frozen=True)
class Cell:
    """Text with a style of rich (``red``, ``bold``, ...), ignored in plain text."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Line:
    """One line of text; it may be long."""

    text: str
    style: str = ""


@dataclass
class Table:
    """Headers and rows; ``right`` lists the columns that hold numbers."""

    headers: list[str]
    right: tuple[int, ...] = ()
    rows: list[list[Cell]] = field(default_factory=list)


Block: TypeAlias = "Line | Table"


def _grid(table: Table) -> tuple[list[list[str]], list[int]]:
    """The texts, headers first, and the width of every column."""
    grid = [table.headers, *([harmless(c.text) for c in row] for row in table.rows)]
    return grid, [max(len(row[i]) for row in grid) for i in range(len(table.headers))]


def _aligned(table: Table, row: list[str], widths: list[int]) -> list[str]:
    return [
        text.rjust(width) if i in table.right else text.ljust(width)
        for i, (text, width) in enumerate(zip(row, widths, strict=True))
    ]


def render_plain(blocks: list[Block]) -> str:
    """Plain text: columns aligned with spaces, no boxes, no colours; ends in a newline."""
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Line):
            lines.append(harmless(block.text))
            continue
        grid, widths = _grid(block)
        lines += [("  " + "  ".join(_aligned(block, row, widths))).rstrip() for row in grid]
    return "\n".join(lines) + "\n"


def render_rich(blocks: list[Block], console: Console) -> None:
    """Draw on a terminal; a table that is too wide for it runs over, so that nothing is cut."""
    from rich.text import Text

    for block in blocks:
        if isinstance(block, Line):
            console.print(Text(harmless(block.text), style=block.style), soft_wrap=True)
        elif sum(_narrowest(block)) + 2 * len(block.headers) + 1 <= console.width:
            console.print(_drawn(block))
        else:
            _run_over(block, console)


def _narrowest(table: Table) -> list[int]:
    """Width of every column when its header is broken between words."""
    return [
        max(
            max(len(word) for word in header.split()),
            max((len(harmless(row[i].text)) for row in table.rows), default=0),
        )
        for i, header in enumerate(table.headers)
    ]


def _drawn(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="dim",
        show_edge=False,
    )
    for i, (header, width) in enumerate(zip(table.headers, _narrowest(table), strict=True)):
        justify: JustifyMethod = "right" if i in table.right else "left"
        drawn.add_column(header, justify=justify, min_width=width, vertical="bottom")
    for row in table.rows:
        drawn.add_row(*(Text(harmless(c.text), style=c.style) for c in row))
    return drawn


def _run_over(table: Table, console: Console) -> None:
    """Print aligned rows without regard to the terminal's width."""
    from rich.text import Text

    grid, widths = _grid(table)
    console.print(Text("  ".join(_aligned(table, grid[0], widths)), style="dim"), soft_wrap=True)
    for texts, cells in zip(grid[1:], table.rows, strict=True):
        line = Text()
        for text, cell in zip(_aligned(table, texts, widths), cells, strict=True):
            line.append(text, style=cell.style).append("  ")
        console.print(line, soft_wrap=True)
