"""The table of arms as a document: cells for people, records for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepmac_ablate.results import number_format
from deepmac_ablate.results.formats import Document, Section, join_names
from deepmac_ablate.results.statistics import Difference, Interval
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Score, Table
from deepmac_ablate.results.tables.references import FLOOR_MARK, REFERENCES, Reference
from deepmac_ablate.results.tables.table_notes import at_floor, table_notes

# Names of the statuses of unfinished trials, in the order in which they are shown.
_STATUSES = {"failed": "failed", "interrupted": "interrupted", "running": "running",
             "queued": "queued", "new": "missing"}


def render_table(table: Table) -> Document:
    """Return a table of arms for all formats.

    Its records have the keys

    - `arm` (the label within the sweep), `sweep`, `label` (the name in this table), `baseline`,
      `against` (the arm of the differences), `levels` (by axis), `other_code`, `platforms`;
    - `trials`, and how many of them are `finished`, `failed`, `interrupted`, `running`, `queued`
      and `missing`;
    - `parameters`, `training_gmacs` (10^9 multiply-adds), `relative_gmacs` (relative to the
      baseline), `train_seconds` (mean);
    - `all_arm` (the arm of the retention) and `metrics`: by `<box source>/<metric>` the objects
      `novel`, `seen`, `gap` and `retention`, each with `mean`, `low`, `high`, `n` and `sd` over
      seeds; `novel` and `seen` also have `difference`, with `p` and `p_holm` in addition, and
      `at_floor`, null where there is no floor; `references` has the floors and the ceiling by name,
      where the metric has them.

    Numbers are fractions; unknown values are null.
    """
    scored = [section for metric in table.metrics for section in _metric_sections(table, metric)]
    return Document(
        [*scored, _trials_section(table)], table_notes(table),
        [_record(row, table) for row in table.rows])


def count_text(row: Row) -> str:
    """Return the numbers of trials by status, such as "3/3" or "2/3, 1 failed"."""
    counts = {name: row.arm.count_status(status) for status, name in _STATUSES.items()}
    unfinished = [f"{count} {name}" for name, count in counts.items() if count]
    return ", ".join([f"{len(row.arm.finished)}/{len(row.arm.trials)}", *unfinished])


def _metric_sections(table: Table, metric: str) -> list[Section]:
    """Return one table, or with intervals two, so that they fit the width of a terminal."""
    title = number_format.metric_title(metric)
    heads, more_heads = ["arm"], ["gap", "ret."]
    for classes in CLASSES:
        heads += [classes, f"Δ {classes}", "p"]
    rows, more = [], []
    names = len(name_heads(table))
    heads[:1] = name_heads(table)
    for row in table.rows:
        scores, n = row.scores[metric], len(row.arm.finished)
        of_classes = [
            _score_cells(getattr(scores, classes), n, at_floor(row, metric, classes, table))
            for classes in CLASSES]
        rows.append([*_names(row, table), *of_classes[0], *of_classes[1]])
        more.append([number_format.interval(value, n) for value in (scores.gap, scores.retention)])
    for reference in table.references[metric]:
        label = reference_label(reference, table)
        rows.append([
            label, *[""] * (names - 1),
            number_format.percent(reference.novel), *[number_format.NOTHING] * 2,
            number_format.percent(reference.seen), *[number_format.NOTHING] * 2])
        more.append([number_format.percent(reference.gap), number_format.NOTHING])
    if all(len(row.arm.finished) < 2 for row in table.rows):
        joined = [[*cells, *others] for cells, others in zip(rows, more, strict=True)]
        return [_without_empty(Section(title, heads + more_heads, joined, ["sweep"]))]
    labelled = [[*cells[:names], *others] for cells, others in zip(rows, more, strict=True)]
    second = _without_empty(Section(title, heads[:names] + more_heads, labelled, ["sweep"]))
    name = " and ".join({"ret.": "retention"}.get(head, head) for head in second.heads[names:])
    sections = [_without_empty(Section(title, heads, rows, ["sweep"]))]
    return [*sections, second._replace(title=f"{title}: {name}")] if name else sections


def reference_label(reference: Reference, table: Table) -> str:
    """Return the label of a row; it names the arms unless the reference holds for all of them."""
    label = REFERENCES[reference.metric]
    finished = {row.arm.label for row in table.rows if row.arm.finished}
    return label if finished <= set(reference.arms) else f"{label} ({join_names(reference.arms)})"


def score_text(value: Interval, n: int, marked: bool | None) -> str:
    """Return a score such as "57.7 ± 1.2", followed by "#" if it is marked as at the floor."""
    return number_format.interval(value, n) + FLOOR_MARK * bool(marked)


def _score_cells(score: Score, n: int, marked: bool | None) -> list[str]:
    change = number_format.NOTHING
    if score.difference is not None:
        change = number_format.difference(score.difference, n)
    return [score_text(score.value, n, marked), change, number_format.p_value(score.p_holm)]


def _trials_section(table: Table) -> Section:
    heads = [*name_heads(table), "trials", "parameters", "training", "time"]
    rows = []
    for row in table.rows:
        parameters = row.arm.known_values("parameters")
        rows.append([
            *_names(row, table), count_text(row),
            f"{parameters[0] / 1e6:.2f} M" if parameters else number_format.NOTHING,
            number_format.NOTHING if row.relative_gmacs is None else f"{row.relative_gmacs:.2f} x",
            number_format.duration(row.train_seconds)])
    return _without_empty(Section("trials and cost", heads, rows, ["sweep"]))


def name_heads(table: Table) -> list[str]:
    """Return the heads of the columns that name a row: "arm", and "sweep" unless labels do."""
    apart = len(table.sweeps) > 1 and any(row.arm.label == row.arm.arm for row in table.rows)
    return ["arm", "sweep"] if apart else ["arm"]


def _names(row: Row, table: Table) -> list[str]:
    names = [row.arm.label + marks(row), row.arm.sweep or number_format.NOTHING]
    return names[:len(name_heads(table))]


def marks(row: Row) -> str:
    """Return the marks of an arm, which the notes explain."""
    mixed = len(row.arm.platforms) > 1
    return " !" * row.arm.other_code + " ~" * mixed + " *" * row.baseline


def _without_empty(section: Section) -> Section:
    """Return a section without the columns that are empty in all rows."""
    kept = [0] + [
        column for column in range(1, len(section.heads))
        if any(row[column] != number_format.NOTHING for row in section.rows)]

    def select(cells: Sequence[str]) -> list[str]:
        return [cells[column] for column in kept]

    return section._replace(
        heads=select(section.heads), rows=[select(row) for row in section.rows])


def _record(row: Row, table: Table) -> dict[str, Any]:
    arm = row.arm
    parameters, gmacs = arm.known_values("parameters"), arm.known_values("training_gmacs")
    return {
        "arm": arm.arm, "sweep": arm.sweep, "label": arm.label, "baseline": row.baseline,
        "against": row.against, "levels": arm.levels, "other_code": arm.other_code,
        "platforms": arm.platforms,
        "trials": len(arm.trials), "finished": len(arm.finished),
        **{name: arm.count_status(status) for status, name in _STATUSES.items()},
        "parameters": parameters[0] if parameters else None,
        "training_gmacs": gmacs[0] if gmacs else None, "relative_gmacs": row.relative_gmacs,
        "train_seconds": row.train_seconds, "all_arm": row.all_arm,
        "metrics": {
            metric: {
                **{classes: {
                    **_score_record(getattr(scores, classes)),
                    "at_floor": at_floor(row, metric, classes, table)} for classes in CLASSES},
                "gap": scores.gap._asdict(), "retention": scores.retention._asdict(),
                "references": {
                    each.metric: {"novel": each.novel, "seen": each.seen}
                    for each in table.references[metric] if arm.label in each.arms}}
            for metric, scores in row.scores.items()},
    }


def _score_record(score: Score) -> dict[str, Any]:
    missing = Difference(None, None, None, 0, None, None)
    difference: Difference = score.difference or missing
    value: Interval = score.value
    return {**value._asdict(), "difference": {**difference._asdict(), "p_holm": score.p_holm}}
