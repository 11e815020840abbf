"""Text and JSON of parameter lists, configuration trees and differences."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deepmac_ablate.bindings.parameters import ListedParameter
from deepmac_ablate.bindings.tree import Node, Parameter
from deepmac_ablate.progress import PlainConsole
from deepmac_ablate.results.config_diff import Comparison, Side
from deepmac_ablate.safe_text import visible

# Styles of rich, by kind of text.
NAME = "bold"
VALUE = "cyan"
PLACE = "dim"
PLAIN = ""

# Pieces of text with their styles.
Cell = list[tuple[str, str]]

# Shown for a side that does not reach a parameter, or leaves its default.
_NOTHING = "-"
_INDENT = 2
_MIN_WIDTH = 20


class Line(NamedTuple):
    """One line of output.

    Attributes:
        depth: Its level of indentation.
        pieces: Texts with their styles, side by side.
    """

    depth: int
    pieces: Sequence[tuple[str, str]]


def list_lines(rows: Sequence[ListedParameter]) -> Iterator[Line]:
    """Yield parameters below their configurables, each with its bindings below."""
    for selector, group in itertools.groupby(rows, lambda row: row.selector):
        members = list(group)
        yield Line(0, [(selector, NAME), (f"  {members[0].summary}".rstrip(), PLACE)])
        for row in members:
            default = "must be bound" if row.default is None else f"= {row.default}"
            yield Line(1, [
                (row.name, NAME), (f": {row.type} ", PLAIN), (default, VALUE)])
            if row.doc:
                yield Line(3, [(row.doc, PLAIN)])
            for bound in row.bound:
                scoped = "" if bound.name == row.name else f"{bound.name} "
                yield Line(3, [
                    (f"bound: {scoped}{_value_text(bound.written, bound.value)}", VALUE),
                    (_place_text(bound.where), PLACE)])


def list_fields(rows: Iterable[ListedParameter]) -> list[dict[str, Any]]:
    """Return parameters as JSON objects; values are gin text."""
    return [
        {
            "name": row.name, "type": row.type, "default": row.default, "doc": row.doc,
            "bound": [
                {
                    "name": bound.name, "value": bound.value, "written": bound.written,
                    "where": bound.where,
                }
                for bound in row.bound],
        }
        for row in rows]


def tree_lines(nodes: Iterable[Node]) -> Iterator[Line]:
    """Yield a tree; the configurables that a value refers to follow below it."""
    for node in nodes:
        yield Line(0, [(node.name, NAME), ("" if node.parameters else "  nothing bound", PLACE)])
        yield from _parameter_lines(node, 1)


def tree_fields(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """Return a tree as JSON objects; values are gin text."""
    return [
        {"name": node.name, "shown_at": node.shown_at} if node.shown_at else
        {
            "name": node.name,
            "parameters": [
                {
                    "name": parameter.name, **_value_fields(parameter),
                    "written": parameter.written, "below": tree_fields(parameter.below),
                }
                for parameter in node.parameters],
        }
        for node in nodes]


def difference_rows(comparison: Comparison) -> list[list[Cell]]:
    """Return the rows of a table: the parameter, then its value and place on each side."""
    rows = []
    if comparison.seed_differs and comparison.differences:
        rows.append([[("seed", NAME)], *([(str(seed), VALUE)] for seed in comparison.seeds)])
    for name, a, b in comparison.differences:
        rows.append([[(name, NAME)], _side_cell(a), _side_cell(b)])
    for name, a, b, one_sided in comparison.defaults:
        values = ([(value or _NOTHING, VALUE)] for value in (a, b))
        kind = "default" if one_sided else "default, changed with the code"
        rows.append([[(name, NAME), (f"  {kind}", PLACE)], *values])
    return rows


def difference_notes(a: Side, b: Side, comparison: Comparison) -> list[Line]:
    """Return the notes below the table."""
    notes = [note for note in (comparison.verdict(), a.note, b.note) if note]
    return [Line(0, [(note, PLAIN)]) for note in notes]


def difference_fields(a: Side, b: Side, comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as a JSON object; values are gin text."""
    return {
        "a": a.label,
        "b": b.label,
        "differences": [
            {
                "name": name,
                "a": None if one is None else _value_fields(one),
                "b": None if other is None else _value_fields(other),
            }
            for name, one, other in comparison.differences],
        "defaults": [default._asdict() for default in comparison.defaults],
        "seeds": comparison.seeds,
        "same_trial": comparison.same_trial,
        "notes": [line.pieces[0][0] for line in difference_notes(a, b, comparison)],
    }


def _parameter_lines(node: Node, depth: int) -> Iterator[Line]:
    for parameter in node.parameters:
        yield Line(depth, [
            (parameter.name, NAME),
            (f" = {_value_text(parameter.written, parameter.value)}", VALUE),
            (_place_text(parameter.where), PLACE)])
        # Several references need their names to be told apart.
        several = len(parameter.below) > 1
        for below in parameter.below:
            if several:
                yield Line(depth + 1, [(below.name, NAME)])
            if below.shown_at:
                yield Line(depth + 1 + several, [(f"as in {below.shown_at}", PLACE)])
            yield from _parameter_lines(below, depth + 1 + several)


def _side_cell(parameter: Parameter | None) -> Cell:
    if parameter is None:
        return [(_NOTHING, PLACE)]
    return [(parameter.value, VALUE), (", ".join(parameter.decided), PLACE)]


def _value_fields(parameter: Parameter) -> dict[str, Any]:
    return {"value": parameter.value, "where": list(parameter.where)}


def _value_text(written: str, value: str) -> str:
    return value if written == value else f"{written} = {value}"


def _place_text(where: Sequence[str]) -> str:
    return f"  # {', '.join(where)}"


def show_lines(lines: Iterable[Line], console: Console | None = None) -> None:
    """Print lines; on a terminal, lines that are too long are wrapped and indented further.

    Args:
        lines: The lines to print.
        console: The console to print to; stdout by default.
    """
    console = console or PlainConsole(sys.stdout)
    for line in lines:
        if console.is_terminal:
            for indent, part in _wrap_line(line, console):
                console.print(Padding(part, (0, 0, 0, indent)), highlight=False)
        else:
            text = "".join(piece for piece, _ in line.pieces)
            console.file.write(visible(f"{' ' * _INDENT * line.depth}{text}\n"))


def show_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Sequence[tuple[str, str]]]],
    console: Console | None = None,
) -> None:
    """Print a table; on a terminal, cells are wrapped to its width.

    Args:
        titles: The titles of the columns.
        rows: The cells of each row; a cell holds lines, each a text with its style.
        console: The console to print to; stdout by default.
    """
    console = console or PlainConsole(sys.stdout)
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
        console.file.write(visible("  ".join(cells).rstrip() + "\n"))


def _wrap_line(line: Line, console: Console) -> list[tuple[int, Text]]:
    """Return the parts of a line that fit the width, each with its indentation."""
    text, indent = Text.assemble(*line.pieces), line.depth * _INDENT
    if indent + text.cell_len <= console.width:
        return [(indent, text)]
    further = indent + 2 * _INDENT
    parts = text.wrap(console, max(console.width - further, _MIN_WIDTH), overflow="fold")
    return [(further if position else indent, part) for position, part in enumerate(parts)]
