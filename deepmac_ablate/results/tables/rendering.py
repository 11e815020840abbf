"""A table of arms as people read it, in cells, and as programs do, in records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate.results import number_format
from deepmac_ablate.results.formats import Document, Section
from deepmac_ablate.results.statistics import Difference, Interval
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Score, Scores, Table

# In the order in which they are said; a new trial is missing.
_STATUSES = {"failed": "failed", "interrupted": "interrupted", "running": "running",
             "queued": "queued", "new": "missing"}


def document(table: Table) -> Document:
    """Return a table of arms for all formats.

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
        [*scored, _trials(table)], sentences(table), [_record(row) for row in table.rows])


def _sections(table: Table, metric: str) -> list[Section]:
    """Return what a metric says; with intervals, that is two tables, so that each fits."""
    title = number_format.metric_title(metric)
    heads, more_heads = ["arm"], ["gap", "ret."]
    for classes in CLASSES:
        heads += [classes, f"Δ {classes}", "p"]
    rows, more = [], []
    for row in table.rows:
        scores, n = row.scores[metric], len(row.arm.finished)
        of_classes = [_score_cells(getattr(scores, classes), n) for classes in CLASSES]
        rows.append([_label(row), *of_classes[0], *of_classes[1]])
        more.append([number_format.interval(value, n) for value in (scores.gap, scores.retention)])
    if all(len(row.arm.finished) < 2 for row in table.rows):
        joined = [[*cells, *others] for cells, others in zip(rows, more, strict=True)]
        return [_without_empty(Section(title, heads + more_heads, joined))]
    labelled = [[cells[0], *others] for cells, others in zip(rows, more, strict=True)]
    second = _without_empty(Section(title, ["arm", *more_heads], labelled))
    name = " and ".join({"ret.": "retention"}.get(head, head) for head in second.heads[1:])
    sections = [_without_empty(Section(title, heads, rows))]
    return [*sections, second._replace(title=f"{title}: {name}")] if name else sections


def _score_cells(score: Score, n: int) -> list[str]:
    change = number_format.NOTHING
    if score.difference is not None:
        change = number_format.difference(score.difference, n)
    return [number_format.interval(score.value, n), change, number_format.p_value(score.p_holm)]


def _trials(table: Table) -> Section:
    heads = ["arm", "trials", "parameters", "training", "time"]
    rows = []
    for row in table.rows:
        parameters = row.arm.known("parameters")
        rows.append([
            _label(row), counts(row),
            f"{parameters[0] / 1e6:.2f} M" if parameters else number_format.NOTHING,
            number_format.NOTHING if row.relative_gmacs is None else f"{row.relative_gmacs:.2f} x",
            number_format.duration(row.train_seconds)])
    return _without_empty(Section("trials and cost", heads, rows))


def counts(row: Row) -> str:
    """Return "3/3", or "2/3, 1 failed"."""
    number = {said: row.arm.count(status) for status, said in _STATUSES.items()}
    rest = [f"{count} {said}" for said, count in number.items() if count]
    return ", ".join([f"{len(row.arm.finished)}/{len(row.arm.trials)}", *rest])


def _label(row: Row) -> str:
    return row.arm.label + " !" * row.arm.other_code + " *" * row.baseline


def _without_empty(section: Section) -> Section:
    """Leave columns out that say nothing of any row."""
    kept = [0] + [
        column for column in range(1, len(section.heads))
        if any(row[column] != number_format.NOTHING for row in section.rows)]

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


# Of trials, arms or datasets; a sentence of more is not read.
_MOST_NAMES = 8


def sentences(table: Table) -> list[str]:
    """Return the sentences, the meaning of the table's columns first."""
    return [
        *_signs(table), *_chance(table), *_retention(table.rows), *_classes(table),
        *_doubts(table)]


def percent(confidence: float) -> str:
    """Return "95 %" for 0.95."""
    return f"{100 * confidence:g} %"


def names(labels: Iterable[str]) -> str:
    """Return names with commas; of many, the first ones and how many more there are."""
    labels = list(labels)
    more = len(labels) - _MOST_NAMES
    return ", ".join(labels[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def of_split(split: str | Iterable[int | str]) -> str:
    """Return what has to be said of numbers of another class split than the trials' own."""
    shown = split if isinstance(split, str) else names(map(str, split))
    return (
        f"Seen and novel are those of the split {shown}; the masks that training saw are those of "
        "each trial's own.")


def _signs(table: Table) -> Iterator[str]:
    yield "In percent."
    compared = any(row.against is not None for row in table.rows)
    if any(row.baseline for row in table.rows):
        yield "The baseline is marked *" + (
            "; Δ is the difference to it, paired by seed." if compared else ".")
    elif table.rows:
        yield "No arm is the baseline, so there are no differences."
    if table.comparisons:
        count = table.comparisons
        yield (
            f"p: paired t test, Holm over {count} comparison{'s' if count > 1 else ''}, those of "
            "this table.")
    if any(scores.gap.n for scores in _scores(table.rows)):
        yield "gap: seen minus novel."
    if any(row.relative_gmacs is not None for row in table.rows):
        yield "training: multiply-adds over the baseline's, an estimate."
    if any(row.train_seconds is not None for row in table.rows):
        yield "time: of a trial's steps, mean."
    if any(row.arm.other_code for row in table.rows):
        yield "! marks arms with trials of other code than the present one, or of several."


def _chance(table: Table) -> Iterator[str]:
    finished = {row.arm.label: len(row.arm.finished) for row in table.rows}
    if not any(finished.values()):
        yield "No trial has finished yet."
        return
    single = [label for label, number in finished.items() if number == 1]
    if max(finished.values()) == 1:
        yield "One seed an arm: nobody knows how much is chance."
        return
    yield (
        f"±: {percent(table.confidence)} t interval over seeds: holds training's randomness, not "
        "the choice of images or classes.")
    if single:
        yield f"One seed only, so nobody knows how much is chance: {names(single)}."
    counted = [
        value.n for row in table.rows for scores in row.scores.values()
        for classes in CLASSES if (score := getattr(scores, classes))
        for value in (score.value, score.difference) if value and value.n
        and value.n != len(row.arm.finished)]
    if counted:
        yield "(n 2): over 2 seeds, as others have not finished, lack the number or have no pair."


def _retention(rows: Iterable[Row]) -> Iterator[str]:
    used: dict[str, list[str]] = {}
    for row in rows:
        if row.all_arm is not None and any(it.retention.n for it in row.scores.values()):
            used.setdefault(row.all_arm, []).append(row.arm.label)
    said = "; ".join(f"{full} for {names(arms)}" for full, arms in used.items())
    if len(used) == 1:
        said = next(iter(used))
    if used:
        yield f"ret.: novel classes over the same classes in the arm that saw all masks, {said}."


def _classes(table: Table) -> Iterator[str]:
    if table.split is not None:
        yield of_split(table.split)
        return
    # An arm without novel classes has no number that could be mistaken.
    groups: dict[frozenset[int], list[str]] = {}
    for label, novel in table.novel.items():
        if novel:
            groups.setdefault(novel, []).append(label)
    if len(groups) > 1:
        parts = "; ".join(f"{len(novel)} in {names(arms)}" for novel, arms in groups.items())
        yield (
            f"Novel classes are not the same in all arms ({parts}), so their means do not "
            "compare; --split takes the same for all.")
    compared_with = {row.arm.sweep for row in table.rows if row.baseline}
    apart = [
        row.arm.label for row in table.rows
        if not row.baseline and row.against is None and row.arm.sweep in compared_with]
    if apart:
        yield (
            "No Δ where seen classes are others than the baseline's; --split takes the same for "
            f"all: {names(apart)}.")


def _doubts(table: Table) -> Iterator[str]:
    data: dict[str, list[str]] = {}
    for row in table.rows:
        for dataset in dict.fromkeys(trial["dataset"] for trial in row.arm.finished):
            if dataset:
                data.setdefault(dataset, []).append(row.arm.label)
    if len(data) > 1:
        parts = "; ".join(f"{dataset} ({names(arms)})" for dataset, arms in data.items())
        yield f"Trials were evaluated on different data, so their numbers do not compare: {parts}."
    if table.left_out:
        yield (
            "Left out, as they share an arm's name but not its steps, or have a seed that is there "
            f"already: {names(table.left_out)}.")


def _scores(rows: Iterable[Row]) -> Iterator[Scores]:
    for row in rows:
        scores: Mapping[str, Scores] = row.scores
        yield from scores.values()
