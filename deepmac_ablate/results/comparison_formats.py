"""A comparison as text: Markdown for people, in percent; CSV and JSON for programs, in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from deepmac_ablate.plain_json import to_json
from deepmac_ablate.results import comparison_notes, wording
from deepmac_ablate.results.comparison import CONFIDENCE, Comparison


def markdown(comparison: Comparison, images: int) -> str:
    """Returns tables of the groups, the classes and the images, and what is to be said of them.

    Args:
        comparison: The comparison.
        images: How many of the images that gain most are shown, and of those that lose most.
    """
    sides = comparison.sides
    numbers = [sides.a, sides.b, "difference", f"{CONFIDENCE:.0%} interval"]
    by_size = comparison.classes.sort_values("difference", ascending=False, kind="stable")
    parts = [
        f"# {sides.b} compared with {sides.a}: {wording.metric_title(comparison.metric)}, in %",
        "\n".join(f"- {sentence}" for sentence in comparison_notes.of(comparison)),
        _table(["classes", "number", *numbers], (
            [row.group, row.count_, *_numbers(row)] for row in _rows(comparison.groups))),
        _table(["class", "role", "images", *numbers], (
            [row.name, row.role, row.images, *_numbers(row)] for row in _rows(by_size)))]
    if images and len(comparison.images):
        gains, losses = most_changed(comparison.images, images)
        head = ["image", "objects", sides.a, sides.b, "difference", "classes"]
        for title, table in ((f"gains most with {sides.b}", gains), ("loses most", losses)):
            parts += [
                f"## Where mask IoU in annotated boxes {title}",
                _table(head, ([
                    row.image_id, row.instances, wording.percent(row.a), wording.percent(row.b),
                    f"{100 * row.difference:+.1f}", row.classes] for row in _rows(table)))
                if len(table) else "No image does."]
    return "\n\n".join(parts) + "\n"


def csv(comparison: Comparison, images: int) -> str:
    """Returns the groups and then the classes, a row each; without images."""
    groups = comparison.groups.rename(columns={"group": "name"}).assign(kind="group")
    table = pd.concat([groups, comparison.classes.assign(kind="class")])
    first = ["kind", "category_id", "name", "role", "count", "instances", "images"]
    rest = [name for name in comparison.classes if name not in first]
    table = table[[*first, *rest]].astype({"category_id": "Int64", "count": "Int64"})
    return table.astype({"instances": "Int64", "images": "Int64"}).to_csv(index=False)


def json(comparison: Comparison, images: int) -> str:
    """Returns everything, with the images as in `markdown`."""
    sides = comparison.sides
    gains, losses = most_changed(comparison.images, images)
    return to_json({
        "a": sides.a, "b": sides.b, "metric": comparison.metric,
        "seeds_a": list(sides.trials_a), "seeds_b": list(sides.trials_b), "paired": sides.paired,
        "confidence": CONFIDENCE, "resamples": comparison.resamples, "seed": comparison.seed,
        "notes": comparison_notes.of(comparison),
        "groups": comparison.groups.to_dict("records"),
        "classes": comparison.classes.to_dict("records"),
        "images": {"gains": gains.to_dict("records"), "losses": losses.to_dict("records")},
    }, indent=2) + "\n"


FORMATS: Mapping[str, Callable[[Comparison, int], str]] = {
    "markdown": markdown, "csv": csv, "json": json}


def most_changed(images: pd.DataFrame, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the images of the largest gains and of the largest losses, the largest first."""
    gains = images[images["difference"] > 0].head(number)
    losses = images[images["difference"] < 0][::-1].head(number)
    return gains, losses


def _rows(table: pd.DataFrame) -> Iterable[Any]:
    return table.rename(columns={"count": "count_"}).itertuples(index=False)


def _numbers(row: Any) -> list[str]:  # noqa: ANN401 - a row of either table
    mark = "*" * int(row.excludes_zero)
    if getattr(row, "q", 1.0) <= comparison_notes.FALSE:
        mark = "**"
    interval = wording.NOTHING
    if row.low == row.low:
        interval = f"{100 * row.low:+.1f} to {100 * row.high:+.1f} {mark}".rstrip()
    return [
        wording.percent(row.a), wording.percent(row.b), f"{100 * row.difference:+.1f}", interval]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
