"""The notes below a table of arms, which explain its columns and name what is special."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd

from deepmac_ablate.errors import count_noun, inflect
from deepmac_ablate.results import number_format
from deepmac_ablate.results.arms import image_notes
from deepmac_ablate.results.class_split import split_note
from deepmac_ablate.results.formats import Document, join_names
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Scores, Table
from deepmac_ablate.results.tables.references import is_at_floor


def table_notes(table: Table) -> list[str]:
    """Return the notes below a table of arms, the meaning of its columns first."""
    return [
        *_column_notes(table), *_seed_notes(table), *_retention_notes(table.rows),
        *_class_notes(table), *_trial_notes(table)]


def with_data_notes(
    document: Document, pooled: str | None, frame: pd.DataFrame, per_class: pd.DataFrame
) -> Document:
    """Return a document that says what is pooled, and what is not known of the classes."""
    notes = []
    if pooled is not None:
        notes.append(f"Pooled over {pooled}: trials with the same seed count as one, their mean.")
    if per_class.empty and (frame["status"] == "finished").any():
        notes.append(
            "Results by class are not available, so arms are compared as if all had the same novel "
            "classes.")
    return document._replace(caption=[*document.caption, *notes])


def _column_notes(table: Table) -> Iterator[str]:
    yield "Values in percent."
    yield from _best_level_notes(table)
    yield from _selection_notes(table)
    yield from _baseline_notes(table)
    if any(
            getattr(scores, classes).p_holm is not None
            for scores in _scores(table.rows) for classes in CLASSES):
        rows = "all arms, shown or not" if table.hidden else "this table"
        yield (
            "p: paired t test, Holm-corrected over the "
            f"{count_noun(table.comparisons, 'comparison')} of {rows}.")
    if any(scores.gap.n for scores in _scores(table.rows)):
        yield "gap: seen minus novel."
    if any(table.references.values()):
        yield (
            "floor: what shapes without training score in the same boxes; ceiling: the annotated "
            "masks at the resolution of the predicted ones.")
    if any(at_floor(row, metric, classes, table)
           for row in table.rows for metric in table.metrics for classes in CLASSES):
        yield (
            "#: at the floor: the interval (of one seed: the value) does not lie above the higher "
            "one, so nothing shows that the masks are better than such shapes.")
    if any(row.relative_gmacs is not None for row in table.rows):
        own = " of the same sweep" if _has_own_baselines(table) else ""
        yield f"training: estimated multiply-adds relative to the baseline{own}."
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


def _selection_notes(table: Table) -> Iterator[str]:
    if table.hidden:
        number = len(table.rows) + len(table.hidden)
        yield (
            f"{len(table.hidden)} of {count_noun(number, 'arm')} "
            f"{inflect(len(table.hidden), 'is', 'are')} left out: {join_names(table.hidden)}.")
    if table.order:
        yield f"Sorted by {table.order}."


def _best_level_notes(table: Table) -> Iterator[str]:
    if (best := table.best) is None:
        return
    yield (
        f"Each row is the level of {best.axis} with the highest {best.metric} on seen classes, "
        f"mean over seeds; {len(best.kept)} of {count_noun(best.candidates, 'arm')}. Novel classes "
        "had no part in the choice; values on seen classes are a little high, as the highest of "
        "several.")
    if best.untrained:
        yield (
            f"Not among the candidates, for want of finished trials: {join_names(best.untrained)}.")
    if best.fewer_seeds:
        yield f"Compared with fewer seeds than others: {join_names(best.fewer_seeds)}."


def _baseline_notes(table: Table) -> Iterator[str]:
    against = list(dict.fromkeys(row.against for row in table.rows if row.against is not None))
    marked = [row for row in table.rows if row.baseline]
    hidden = [label for label in against if label in table.hidden]
    if not marked and not against:
        if table.rows and not any(row.apart for row in table.rows):
            yield "There is no baseline, so there are no differences."
        return
    own = _has_own_baselines(table)
    if marked:
        yield f"*: baseline{' of its sweep' if own else ''}" + (
            f"; Δ: difference to the baseline{' of the same sweep' if own else ''}, paired by "
            "seed." if against else ".")
    if hidden:
        yield (
            f"Δ: difference to the baseline {join_names(hidden)}, which is left out, paired by "
            "seed.")
    with_baseline = {
        row.arm.sweep for row in table.rows if row.baseline or row.against or row.apart}
    if without := [sweep for sweep in table.sweeps if sweep and sweep not in with_baseline]:
        yield f"No Δ in sweeps without a baseline: {join_names(without)}."


def _has_own_baselines(table: Table) -> bool:
    """Return whether sweeps have baselines of their own; a chosen one is that of all sweeps."""
    return len({row.arm.sweep for row in table.rows if row.baseline}) > 1


def _seed_notes(table: Table) -> Iterator[str]:
    finished = {row.arm.label: len(row.arm.finished) for row in table.rows}
    if not any(finished.values()):
        yield "No trial has finished yet."
        return
    single = [label for label, number in finished.items() if number == 1]
    if max(finished.values()) == 1:
        yield number_format.ONE_SEED_NOTE
        return
    if any(map(has_interval, table.rows)):
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


def at_floor(row: Row, metric: str, classes: str, table: Table) -> bool | None:
    """Return whether the masks of an arm are not above their floor, see `is_at_floor`."""
    value = getattr(row.scores[metric], classes).value
    return is_at_floor(value, table.references[metric], row.arm.label, classes)


def has_interval(row: Row) -> bool:
    """Return whether any number of a row has an interval, which takes two seeds."""
    values = [
        value for scores in row.scores.values()
        for value in (
            scores.novel.value, scores.novel.difference, scores.seen.value, scores.seen.difference,
            scores.gap, scores.retention)]
    return any(value is not None and value.low is not None for value in values)


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
    apart = [row.arm.label for row in table.rows if row.apart]
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
    yield from image_notes(trial for row in table.rows for trial in row.arm.finished)
    if table.left_out:
        yield (
            "Dropped, with another number of steps or a duplicate seed: "
            f"{join_names(table.left_out)}.")


def _scores(rows: Iterable[Row]) -> Iterator[Scores]:
    for row in rows:
        scores: Mapping[str, Scores] = row.scores
        yield from scores.values()
