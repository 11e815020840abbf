"""What has to be said under a table of arms: what its signs mean, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Scores, Table

# Of trials, arms or data sets; a sentence of more is not read.
_MOST_NAMES = 8


def sentences(table: Table) -> list[str]:
    """Returns the sentences, the meaning of the table's columns first."""
    return [
        *_signs(table), *_chance(table), *_retention(table.rows), *_classes(table),
        *_doubts(table)]


def percent(confidence: float) -> str:
    """Returns "95 %" for 0.95."""
    return f"{100 * confidence:g} %"


def names(labels: Iterable[str]) -> str:
    """Returns names with commas; of many, the first ones and how many more there are."""
    labels = list(labels)
    more = len(labels) - _MOST_NAMES
    return ", ".join(labels[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def of_split(split: str | Iterable[int | str]) -> str:
    """Returns what has to be said of numbers of another class split than the trials' own."""
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
