"""Tables in the formats that people and programs read, whatever they are about.

Names of arms, axes and classes come from users; each format escapes them in its own way.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len

from deepmac_ablate.storage.strict_json import to_json

# Columns of a terminal.
_WIDTH = 100

# What would be markup in Markdown; marks that stand alone are ours, and none.
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
        title: What it is about.
        heads: Of the columns; the first one names the rows.
        rows: Cells as people read them, one for each head.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


class Document(NamedTuple):
    """What is said in all formats.

    Attributes:
        sections: For people.
        caption: Sentences that belong to them.
        records: For programs: an object each, of plain values that may be nested.
    """

    sections: Sequence[Section]
    caption: Sequence[str]
    records: Sequence[Mapping[str, Any]]


def markdown(document: Document) -> str:
    """Return aligned Markdown, which can be read as it is.

    Where a table would be wider than a terminal, its rows are numbered and named below it.
    """
    parts = [_markdown_section(section) for section in document.sections]
    parts.append("\n".join(_markdown_item(sentence) for sentence in document.caption))
    return "\n\n".join(part for part in parts if part)


def latex(document: Document) -> str:
    """Return one float with a tabular for each section, in the style of the package booktabs."""
    parts = [_latex_section(section) for section in document.sections]
    caption = " ".join(sentence.translate(_LATEX) for sentence in document.caption)
    body = "\n\n\\medskip\n".join(parts)
    return f"\\begin{{table}}\n\\centering\n{body}\n\\caption{{{caption}}}\n\\end{{table}}"


def html_fragment(document: Document) -> str:
    """Return tables with their titles, and the caption in paragraphs; no page around them."""
    parts = [_html_section(section) for section in document.sections]
    parts += [f"<p>{html.escape(sentence)}</p>" for sentence in document.caption]
    return "\n".join(parts)


def json_text(document: Document) -> str:
    """Return the records as a list of objects."""
    return to_json(document.records, indent=2)


def csv_text(document: Document) -> str:
    """Return the records, a line each; what is nested is named by its path, as "a/b"."""
    # As in JSON, what is not finite is nothing.
    rows = [dict(_flat(record)) for record in json.loads(to_json(document.records))]
    heads = list(dict.fromkeys(head for row in rows for head in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, heads, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().rstrip("\n")


FORMATS: Mapping[str, Callable[[Document], str]] = {
    "markdown": markdown, "latex": latex, "csv": csv_text, "json": json_text,
    "html": html_fragment}

# Formats that have no place for the caption.
WITHOUT_CAPTION = ("csv", "json")


def _markdown_section(section: Section) -> str:
    lines = _markdown_table(section.heads, section.rows)
    legend = []
    if cell_len(lines[0]) > _WIDTH:
        labels = dict.fromkeys(row[0] for row in section.rows)
        names = {label: str(number) for number, label in enumerate(labels, 1)}
        lines = _markdown_table(section.heads, [[names[row[0]], *row[1:]] for row in section.rows])
        legend = ["", *(f"- {number}: {_markdown_cell(label)}" for label, number in names.items())]
    return "\n".join([f"### {_markdown_cell(section.title)}", "", *lines, *legend])


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[_markdown_cell(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(3, *map(cell_len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(_aligned(row, widths))} |" for row in cells]
    rule = [f"{'-' * (width + 1)}:" for width in widths[1:]]
    return [lines[0], f"|{'|'.join(['-' * (widths[0] + 2), *rule])}|", *lines[1:]]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield names flush left and numbers flush right; characters may be two columns wide."""
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        blank = " " * (width - cell_len(cell))
        yield blank + cell if number else cell + blank


def _markdown_item(text: str) -> str:
    return textwrap.fill(
        _markdown_cell(text), _WIDTH, initial_indent="- ", subsequent_indent="  ",
        break_long_words=False, break_on_hyphens=False)


def _markdown_cell(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text.replace("\n", " "))


def _latex_section(section: Section) -> str:
    rows = [
        " & ".join(cell.translate(_LATEX) for cell in row) + r" \\"
        for row in (section.heads, *section.rows)]
    columns = "l" + "r" * (len(section.heads) - 1)
    return "\n".join([
        f"\\textbf{{{section.title.translate(_LATEX)}}}\\par\\smallskip",
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
