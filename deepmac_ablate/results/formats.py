"""Output formats for tables: Markdown, LaTeX, HTML, CSV and JSON.

Each format escapes the names of arms, axes and classes, which users choose.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len

from deepmac_ablate.safe_text import protect_cell, visible
from deepmac_ablate.storage.strict_json import to_json

if TYPE_CHECKING:
    import pandas as pd

# Columns of a terminal.
_WIDTH = 100

# The number of names that a sentence lists.
_MOST_NAMES = 8

# Characters that Markdown takes for markup; not the marks "*" and "_" that stand alone.
_MARKDOWN = re.compile(r"[\\`|<\[&]|\*(?=\S)|(?<!\w)_|_(?!\w)")
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "Δ": r"$\Delta$", "\n": " ",
})  # fmt: skip


class Section(NamedTuple):
    """One table of cells.

    Attributes:
        title: The table's title.
        heads: The heads of the columns; the first column names the rows.
        rows: The text of the cells, one per head in each row.
        text_heads: The heads of further columns of text, which are aligned to the left.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_heads: Sequence[str] = ()

    @property
    def sides(self) -> list[str]:
        """The side that each column is aligned to: "l" or "r"."""
        return ["l", *("l" if head in self.text_heads else "r" for head in self.heads[1:])]


class Document(NamedTuple):
    """Content that can be written in every format.

    Attributes:
        sections: Tables for people.
        caption: Sentences that explain the tables.
        records: Objects for programs, of plain values that may be nested.
    """

    sections: Sequence[Section]
    caption: Sequence[str]
    records: Sequence[Mapping[str, Any]]


def markdown_text(document: Document) -> str:
    """Return aligned Markdown, readable as plain text.

    If a table is wider than a terminal, its rows are numbered, and a list below gives their names.
    """
    parts = [_markdown_section(section) for section in document.sections]
    parts.append("\n".join(_markdown_item(sentence) for sentence in document.caption))
    return visible("\n\n".join(part for part in parts if part))


def latex_text(document: Document) -> str:
    """Return one float with a booktabs tabular for each section."""
    parts = [_latex_section(section) for section in document.sections]
    caption = " ".join(map(_latex_cell, document.caption))
    body = "\n\n\\medskip\n".join(parts)
    return f"\\begin{{table}}\n\\centering\n{body}\n\\caption{{{caption}}}\n\\end{{table}}"


def html_fragment(document: Document) -> str:
    """Return titled tables and the caption as paragraphs, without a page around them."""
    parts = [_html_section(section) for section in document.sections]
    parts += [f"<p>{html.escape(sentence)}</p>" for sentence in document.caption]
    return visible("\n".join(parts))


def json_text(document: Document) -> str:
    """Return the records as a list of objects."""
    return visible(to_json(document.records, indent=2))


def csv_text(document: Document, *, protect: bool = True) -> str:
    """Return one line per record; the columns of nested values are named by paths like "a/b".

    Args:
        document: The document.
        protect: Whether texts that a spreadsheet would take for formulas get an apostrophe before
            them, see `safe_text.protect_cell`.
    """
    # Through JSON, which writes NaN and infinity as null, so that their cells are empty.
    rows = [dict(_flat(record)) for record in json.loads(to_json(document.records))]
    if protect:
        rows = [
            {protect_cell(head): protect_cell(cell) if isinstance(cell, str) else cell
             for head, cell in row.items()} for row in rows]
    heads = list(dict.fromkeys(head for row in rows for head in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return visible(file.getvalue().rstrip("\n"))


def frame_text(frame: pd.DataFrame, format_name: str, *, protect: bool = True) -> str:
    """Return a data frame as CSV, or as JSON: a list of one object per row.

    Args:
        frame: The data frame; missing values become empty cells, or null.
        format_name: "csv" or "json".
        protect: As in `csv_text`.
    """
    if format_name == "json":
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        return visible(to_json(records, indent=2))
    texts = frame.select_dtypes(["string", "object"])
    if protect:
        # Each name once: objects have millions of rows and few names.
        names = {
            name: protect_cell(name) for text in texts for name in texts[text].dropna().unique()}
        frame = frame.assign(**{text: texts[text].map(names) for text in texts})
        frame = frame.rename(columns=protect_cell)
    return visible(frame.to_csv(index=False, lineterminator="\n").rstrip("\n"))


FORMATS: Mapping[str, Callable[[Document], str]] = {
    "markdown": markdown_text, "latex": latex_text, "csv": csv_text, "json": json_text,
    "html": html_fragment}

# Formats that cannot hold the caption.
WITHOUT_CAPTION = ("csv", "json")


def join_names(names: Iterable[str]) -> str:
    """Return names separated by commas; of many names only the first, and how many more follow."""
    names = list(names)
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _markdown_section(section: Section) -> str:
    lines = _markdown_table(section)
    legend = []
    if cell_len(lines[0]) > _WIDTH:
        labels = dict.fromkeys(row[0] for row in section.rows)
        names = {label: str(number) for number, label in enumerate(labels, 1)}
        numbered = [[names[row[0]], *row[1:]] for row in section.rows]
        lines = _markdown_table(section._replace(rows=numbered))
        legend = ["", *(f"- {number}: {_markdown_cell(label)}" for label, number in names.items())]
    return "\n".join([f"### {_markdown_cell(section.title)}", "", *lines, *legend])


def _markdown_table(section: Section) -> list[str]:
    cells = [[_markdown_cell(cell) for cell in row] for row in (section.heads, *section.rows)]
    widths = [max(3, *map(cell_len, column)) for column in zip(*cells, strict=True)]
    columns = list(zip(widths, section.sides, strict=True))
    lines = [f"| {' | '.join(_aligned(row, columns))} |" for row in cells]
    rule = [f"{'-' * (width + 1)}{':' if side == 'r' else '-'}" for width, side in columns]
    return [lines[0], f"|{'|'.join(rule)}|", *lines[1:]]


def _aligned(cells: Sequence[str], columns: Sequence[tuple[int, str]]) -> Iterator[str]:
    """Yield padded cells; each column has a width and the side that it is aligned to."""
    for cell, (width, side) in zip(cells, columns, strict=True):
        blank = " " * (width - cell_len(cell))
        yield blank + cell if side == "r" else cell + blank


def _markdown_item(text: str) -> str:
    return textwrap.fill(
        _markdown_cell(text), _WIDTH, initial_indent="- ", subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False)


def _markdown_cell(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text.replace("\n", " "))


def _latex_cell(text: str) -> str:
    return visible(text).translate(_LATEX)


def _latex_section(section: Section) -> str:
    rows = [
        " & ".join(map(_latex_cell, row)) + r" \\"
        for row in (section.heads, *section.rows)]
    columns = "".join(section.sides)
    return "\n".join([
        f"\\textbf{{{_latex_cell(section.title)}}}\\par\\smallskip",
        f"\\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:],
        r"\bottomrule", r"\end{tabular}"])


def _html_section(section: Section) -> str:
    heads = "".join(f"<th>{html.escape(head)}</th>" for head in section.heads)
    rows = [
        f"<tr><th>{html.escape(row[0])}</th>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in section.rows]
    return "\n".join([
        f"<h3>{html.escape(section.title)}</h3>", "<table>", f"<thead><tr>{heads}</tr></thead>",
        "<tbody>", *rows, "</tbody>", "</table>"])


def _flat(record: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}/")
        else:
            yield f"{path}{name}", value
