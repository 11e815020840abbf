"""The tables of comparisons: in the terminal, and between two markers of a document."""

from __future__ import annotations

from collections.abc import Iterable

from tests.benchmarks.measuring import Row

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
HEADINGS = ("work", "seconds", "ratio", "CPU seconds", "ratio", "peak MiB", "floor s",
            "ours / floor", "reach", "date")


def cells(row: Row, date: str) -> tuple[str, ...]:
    """Return the cells of a row; pairs are upstream's and ours."""
    return (
        f"{row.name} (per {row.unit})", _pair(row.medians("seconds")), _short(row.ratio("seconds")),
        _pair(row.medians("cpu_seconds")), _short(row.ratio("cpu_seconds")), _pair(row.peaks_mib),
        _short(row.floor_seconds), _short(row.distance), _short(row.reach), date)


def line(texts: Iterable[str]) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(texts)} |"


def aligned(texts: Iterable[str]) -> str:
    """Return a line for the terminal."""
    name, *numbers = texts
    return f"{name:<72}" + "".join(f"{text:>17}" for text in numbers)


def replace_block(document: str, rows: Iterable[tuple[str, ...]], processor: str) -> str:
    """Return a document with rows put into the processor's table between the markers.

    Each processor has a table of its own. Rows with the same name are replaced, new ones go to the
    end, and all others stay.

    Args:
        document: Text with both markers.
        rows: Cells of the rows.
        processor: Name of the processor and number of cores.
    """
    before, _, rest = document.partition(BEGIN)
    block, _, after = rest.partition(END)
    tables: dict[str, dict[str, str]] = {}
    for text in block.splitlines():
        name = text.removeprefix("| ").partition(" | ")[0]
        if text.startswith("On "):
            tables[text] = {}
        elif text.startswith("| ") and name != HEADINGS[0]:
            tables[next(reversed(tables))][name] = text
    title = f"On {processor}; pairs are the published code's and ours:"
    tables.setdefault(title, {}).update({row[0]: line(row) for row in rows})
    head = f"{line(HEADINGS)}\n|---|{'---:|' * (len(HEADINGS) - 1)}"
    blocks = "\n\n".join(
        "\n".join([title, "", head, *lines.values()]) for title, lines in tables.items())
    return f"{before}{BEGIN}\n{blocks}\n{END}{after}"


def _pair(values: tuple[float, float]) -> str:
    return " / ".join(_short(value) for value in values)


def _short(value: float | None) -> str:
    """Return a number with three digits, or more before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
