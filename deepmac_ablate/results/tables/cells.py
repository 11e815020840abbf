"""A table of arms as people read it, in cells, and as programs do, in records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepmac_ablate.results import wording
from deepmac_ablate.results.formats import Document, Section
from deepmac_ablate.results.statistics import Difference, Interval
from deepmac_ablate.results.tables import captions
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Score, Table

# In the order in which they are said; a new trial is missing.
_STATUSES = {"failed": "failed", "interrupted": "interrupted", "running": "running",
             "queued": "queued", "new": "missing"}


def document(table: Table) -> Document:
    """Returns a table of arms for all formats.

    Its records have the keys

    - `arm` (its label within its sweep), `sweep`, `label` (what it is called in this table),
      `baseline`, `against` (the arm of the differences), `levels` (by axis), `other_code`;
    - `trials`, of which `finished`, `failed`, `interrupted`, `running`, `queued` and
      `missing`;
    - `parameters`, `training_gmacs` (10^9 multiply-adds), `relative_gmacs` (over the baseline's),
      `train_seconds` (mean);
    - `all_arm` (of the retention) and `metrics`: by `<reading>/<metric>` the objects `novel`,
      `seen`, `gap` and `retention`, each with `mean`, `low`, `high`, `n` and `sd` over seeds; in
      `novel` and `seen` also `difference`, which has `p` and `p_holm` besides.

    Numbers are fractions; what is not known is null.
    """
    scored = [section for metric in table.metrics for section in _sections(table, metric)]
    return Document(
        [*scored, _trials(table)], captions.sentences(table), [_record(row) for row in table.rows])


def _sections(table: Table, metric: str) -> list[Section]:
    """Returns what a metric says; with intervals, that is two tables, so that each fits."""
    title = wording.metric_title(metric)
    heads, more_heads = ["arm"], ["gap", "ret."]
    for classes in CLASSES:
        heads += [classes, f"Δ {classes}", "p"]
    rows, more = [], []
    for row in table.rows:
        scores, n = row.scores[metric], len(row.arm.finished)
        of_classes = [_score_cells(getattr(scores, classes), n) for classes in CLASSES]
        rows.append([_label(row), *of_classes[0], *of_classes[1]])
        more.append([wording.interval(value, n) for value in (scores.gap, scores.retention)])
    if all(len(row.arm.finished) < 2 for row in table.rows):
        joined = [[*cells, *others] for cells, others in zip(rows, more, strict=True)]
        return [_without_empty(Section(title, heads + more_heads, joined))]
    labelled = [[cells[0], *others] for cells, others in zip(rows, more, strict=True)]
    second = _without_empty(Section(title, ["arm", *more_heads], labelled))
    name = " and ".join({"ret.": "retention"}.get(head, head) for head in second.heads[1:])
    sections = [_without_empty(Section(title, heads, rows))]
    return [*sections, second._replace(title=f"{title}: {name}")] if name else sections


def _score_cells(score: Score, n: int) -> list[str]:
    change = wording.NOTHING
    if score.difference is not None:
        change = wording.difference(score.difference, n)
    return [wording.interval(score.value, n), change, wording.p_value(score.p_holm)]


def _trials(table: Table) -> Section:
    heads = ["arm", "trials", "parameters", "training", "time"]
    rows = []
    for row in table.rows:
        parameters = row.arm.known("parameters")
        rows.append([
            _label(row), counts(row),
            f"{parameters[0] / 1e6:.2f} M" if parameters else wording.NOTHING,
            wording.NOTHING if row.relative_gmacs is None else f"{row.relative_gmacs:.2f} x",
            wording.duration(row.train_seconds)])
    return _without_empty(Section("trials and cost", heads, rows))


def counts(row: Row) -> str:
    """Returns "3/3", or "2/3, 1 failed"."""
    number = {said: row.arm.count(status) for status, said in _STATUSES.items()}
    rest = [f"{count} {said}" for said, count in number.items() if count]
    return ", ".join([f"{len(row.arm.finished)}/{len(row.arm.trials)}", *rest])


def _label(row: Row) -> str:
    return row.arm.label + " !" * row.arm.other_code + " *" * row.baseline


def _without_empty(section: Section) -> Section:
    """Leaves columns out that say nothing of any row."""
    kept = [0] + [
        column for column in range(1, len(section.heads))
        if any(row[column] != wording.NOTHING for row in section.rows)]

    def chosen(cells: Sequence[str]) -> list[str]:
        return [cells[column] for column in kept]

    return Section(section.title, chosen(section.heads), [chosen(row) for row in section.rows])


def _record(row: Row) -> dict[str, Any]:
    arm = row.arm
    parameters, gmacs = arm.known("parameters"), arm.known("training_gmacs")
    return {
        "arm": arm.arm, "sweep": arm.sweep, "label": arm.label, "baseline": row.baseline,
        "against": row.against, "levels": arm.levels, "other_code": arm.other_code,
        "trials": len(arm.trials), "finished": len(arm.finished),
        **{said: arm.count(status) for status, said in _STATUSES.items()},
        "parameters": parameters[0] if parameters else None,
        "training_gmacs": gmacs[0] if gmacs else None, "relative_gmacs": row.relative_gmacs,
        "train_seconds": row.train_seconds, "all_arm": row.all_arm,
        "metrics": {
            metric: {
                **{classes: _score_record(getattr(scores, classes)) for classes in CLASSES},
                "gap": scores.gap._asdict(), "retention": scores.retention._asdict()}
            for metric, scores in row.scores.items()},
    }


def _score_record(score: Score) -> dict[str, Any]:
    nothing = Difference(None, None, None, 0, None, None)
    difference: Difference = score.difference or nothing
    value: Interval = score.value
    return {**value._asdict(), "difference": {**difference._asdict(), "p_holm": score.p_holm}}
