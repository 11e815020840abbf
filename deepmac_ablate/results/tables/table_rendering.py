"""The table of arms as a document: cells and notes for people, records for programs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate.errors import count_noun
from deepmac_ablate.results import number_format
from deepmac_ablate.results.class_split import split_note
from deepmac_ablate.results.formats import Document, Section, join_names
from deepmac_ablate.results.statistics import Difference, Interval
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Score, Scores, Table
from deepmac_ablate.results.tables.references import REFERENCES, Reference

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
      seeds; `novel` and `seen` also have `difference`, with `p` and `p_holm` in addition;
      `references` has the floors and the ceiling by name, where the metric has them.

    Numbers are fractions; unknown values are null.
    """
    scored = [section for metric in table.metrics for section in _metric_sections(table, metric)]
    return Document(
        [*scored, _trials_section(table)], table_notes(table),
        [_record(row, table) for row in table.rows])


def table_notes(table: Table) -> list[str]:
    """Return the notes below a table of arms, the meaning of its columns first."""
    return [
        *_column_notes(table), *_seed_notes(table), *_retention_notes(table.rows),
        *_class_notes(table), *_trial_notes(table)]


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
    for row in table.rows:
        scores, n = row.scores[metric], len(row.arm.finished)
        of_classes = [_score_cells(getattr(scores, classes), n) for classes in CLASSES]
        rows.append([_label(row), *of_classes[0], *of_classes[1]])
        more.append([number_format.interval(value, n) for value in (scores.gap, scores.retention)])
    for reference in table.references[metric]:
        label = _reference_label(reference, table)
        rows.append([
            label, number_format.percent(reference.novel), *[number_format.NOTHING] * 2,
            number_format.percent(reference.seen), *[number_format.NOTHING] * 2])
        more.append([number_format.percent(reference.gap), number_format.NOTHING])
    if all(len(row.arm.finished) < 2 for row in table.rows):
        joined = [[*cells, *others] for cells, others in zip(rows, more, strict=True)]
        return [_without_empty(Section(title, heads + more_heads, joined))]
    labelled = [[cells[0], *others] for cells, others in zip(rows, more, strict=True)]
    second = _without_empty(Section(title, ["arm", *more_heads], labelled))
    name = " and ".join({"ret.": "retention"}.get(head, head) for head in second.heads[1:])
    sections = [_without_empty(Section(title, heads, rows))]
    return [*sections, second._replace(title=f"{title}: {name}")] if name else sections


def _reference_label(reference: Reference, table: Table) -> str:
    """Return the label of a row; it names the arms unless the reference holds for all of them."""
    label = REFERENCES[reference.metric]
    finished = {row.arm.label for row in table.rows if row.arm.finished}
    return label if finished <= set(reference.arms) else f"{label} ({join_names(reference.arms)})"


def _score_cells(score: Score, n: int) -> list[str]:
    change = number_format.NOTHING
    if score.difference is not None:
        change = number_format.difference(score.difference, n)
    return [number_format.interval(score.value, n), change, number_format.p_value(score.p_holm)]


def _trials_section(table: Table) -> Section:
    heads = ["arm", "trials", "parameters", "training", "time"]
    rows = []
    for row in table.rows:
        parameters = row.arm.known_values("parameters")
        rows.append([
            _label(row), count_text(row),
            f"{parameters[0] / 1e6:.2f} M" if parameters else number_format.NOTHING,
            number_format.NOTHING if row.relative_gmacs is None else f"{row.relative_gmacs:.2f} x",
            number_format.duration(row.train_seconds)])
    return _without_empty(Section("trials and cost", heads, rows))


def _label(row: Row) -> str:
    return row.arm.label + marks(row)


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
                **{classes: _score_record(getattr(scores, classes)) for classes in CLASSES},
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


def _column_notes(table: Table) -> Iterator[str]:
    yield "Values in percent."
    compared = any(row.against is not None for row in table.rows)
    if any(row.baseline for row in table.rows):
        yield "*: baseline" + (
            "; Δ: difference to the baseline, paired by seed." if compared else ".")
    elif table.rows:
        yield "There is no baseline, so there are no differences."
    if table.comparisons:
        yield (
            "p: paired t test, Holm-corrected over the "
            f"{count_noun(table.comparisons, 'comparison')} of this table.")
    if any(scores.gap.n for scores in _scores(table.rows)):
        yield "gap: seen minus novel."
    if any(table.references.values()):
        yield (
            "floor: what shapes without training score in the same boxes; ceiling: the annotated "
            "masks at the resolution of the predicted ones.")
    if any(row.relative_gmacs is not None for row in table.rows):
        yield "training: estimated multiply-adds relative to the baseline."
    if any(row.train_seconds is not None for row in table.rows):
        yield "time: mean training time of a trial."
    if any(row.arm.other_code for row in table.rows):
        yield "!: some trials ran with other code than the present version."
    yield from _platform_notes([row.arm.platforms for row in table.rows])


def _platform_notes(platforms: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a sentence about arms whose trials ran on several platforms, or not on the same."""
    several = sorted(set(itertools.chain(*platforms)))
    if len(several) < 2:
        return
    which = "~: trials" if any(len(of_arm) > 1 for of_arm in platforms) else "Arms"
    # Their names have commas.
    yield (
        f"{which} ran on different platforms, which changes numbers as another seed would: "
        f"{'; '.join(several)}.")


def _seed_notes(table: Table) -> Iterator[str]:
    finished = {row.arm.label: len(row.arm.finished) for row in table.rows}
    if not any(finished.values()):
        yield "No trial has finished yet."
        return
    single = [label for label, number in finished.items() if number == 1]
    if max(finished.values()) == 1:
        yield number_format.ONE_SEED_NOTE
        return
    yield number_format.interval_note(table.confidence)
    if single:
        yield f"One seed only, so differences may be noise: {join_names(single)}."
    counted = [
        value.n for row in table.rows for scores in row.scores.values()
        for classes in CLASSES if (score := getattr(scores, classes))
        for value in (score.value, score.difference) if value and value.n
        and value.n != len(row.arm.finished)]
    if counted:
        yield (
            "(n 2): over 2 seeds only; the others have not finished, lack the metric or have no "
            "pair.")


def _retention_notes(rows: Iterable[Row]) -> Iterator[str]:
    used: dict[str, list[str]] = {}
    for row in rows:
        if row.all_arm is not None and any(scores.retention.n for scores in row.scores.values()):
            used.setdefault(row.all_arm, []).append(row.arm.label)
    pairs = "; ".join(f"{all_arm} for {join_names(arms)}" for all_arm, arms in used.items())
    if len(used) == 1:
        pairs = next(iter(used))
    if used:
        yield f"ret.: novel classes relative to the same classes with full supervision ({pairs})."


def _class_notes(table: Table) -> Iterator[str]:
    if table.split is not None:
        yield split_note(table.split)
        return
    # Arms without novel classes are left out, as they have no metric of novel classes.
    groups: dict[frozenset[int], list[str]] = {}
    for label, novel in table.novel.items():
        if novel:
            groups.setdefault(novel, []).append(label)
    if len(groups) > 1:
        parts = "; ".join(f"{len(novel)} in {join_names(arms)}" for novel, arms in groups.items())
        yield (
            f"Arms have different novel classes ({parts}), so their means are not comparable; "
            "--split applies the same classes to all arms.")
    with_baseline = {row.arm.sweep for row in table.rows if row.baseline}
    apart = [
        row.arm.label for row in table.rows
        if not row.baseline and row.against is None and row.arm.sweep in with_baseline]
    if apart:
        yield (
            "No Δ for arms with other novel classes than the baseline, unless --split is given: "
            f"{join_names(apart)}.")


def _trial_notes(table: Table) -> Iterator[str]:
    data: dict[str, list[str]] = {}
    for row in table.rows:
        for dataset in dict.fromkeys(trial["dataset"] for trial in row.arm.finished):
            if dataset:
                data.setdefault(dataset, []).append(row.arm.label)
    if len(data) > 1:
        parts = "; ".join(f"{dataset} ({join_names(arms)})" for dataset, arms in data.items())
        yield (
            "Trials were evaluated on different datasets, so their metrics are not comparable: "
            f"{parts}.")
    if table.left_out:
        yield (
            "Dropped, with another number of steps or a duplicate seed: "
            f"{join_names(table.left_out)}.")


def _scores(rows: Iterable[Row]) -> Iterator[Scores]:
    for row in rows:
        scores: Mapping[str, Scores] = row.scores
        yield from scores.values()
