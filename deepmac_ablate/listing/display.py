"""Lines and tables for people: coloured and folded on a terminal, plain text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

# Styles of rich's, by what a piece of text is.
NAME = "bold"
VALUE = "cyan"
PLACE = "dim"
PLAIN = ""

_INDENT = 2
_LEAST_WIDTH = 20


class Line(NamedTuple):
    """One line.

    Attributes:
        depth: How far it is indented.
        pieces: Text and style, side by side.
    """

    depth: int
    pieces: Sequence[tuple[str, str]]


def show_lines(lines: Iterable[Line], console: Console | None = None) -> None:
    """Prints lines; on a terminal those that are too long go on below, indented further.

    Args:
        lines: To print.
        console: Where, instead of stdout.
    """
    console = console or Console()
    for line in lines:
        if console.is_terminal:
            for indent, part in _folded(line, console):
                console.print(Padding(part, (0, 0, 0, indent)), highlight=False)
        else:
            text = "".join(piece for piece, _ in line.pieces)
            console.file.write(f"{' ' * _INDENT * line.depth}{text}\n")


def show_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Sequence[tuple[str, str]]]],
    console: Console | None = None,
) -> None:
    """Prints a table; on a terminal cells are folded to its width.

    Args:
        titles: Of the columns.
        rows: Cells of lines, each a text and its style.
        console: Where, instead of stdout.
    """
    console = console or Console()
    if console.is_terminal:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for title in titles:
            table.add_column(Text(title), overflow="fold")
        for row in rows:
            table.add_row(*(Text("\n").join(Text(text, style) for text, style in cell)
                            for cell in row))
        console.print(table, highlight=False)
        return
    lines = [list(titles)]
    for row in rows:
        height = max(len(cell) for cell in row)
        for level in range(height):
            lines.append([cell[level][0] if level < len(cell) else "" for cell in row])
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        console.file.write("  ".join(cells).rstrip() + "\n")


def _folded(line: Line, console: Console) -> list[tuple[int, Text]]:
    """Returns the parts of a line that each fit, with the spaces before them."""
    text, indent = Text.assemble(*line.pieces), line.depth * _INDENT
    if indent + text.cell_len <= console.width:
        return [(indent, text)]
    further = indent + 2 * _INDENT
    parts = text.wrap(console, max(console.width - further, _LEAST_WIDTH), overflow="fold")
    return [(further if position else indent, part) for position, part in enumerate(parts)]
