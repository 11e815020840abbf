"""Order and selection of the rows of a table, whose statistics stay those of all its arms."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.formats import join_names
from deepmac_ablate.results.tables.arm_table import CLASSES, Row, Scores, Table

_Value = float | str | None

# Columns of a metric, and whether the highest value comes first.
_SCORES: Mapping[str, tuple[Callable[[Scores], float | None], bool]] = {
    "novel": (lambda scores: scores.novel.value.mean, True),
    "seen": (lambda scores: scores.seen.value.mean, True),
    "delta-novel": (lambda scores: _difference(scores, "novel"), True),
    "delta-seen": (lambda scores: _difference(scores, "seen"), True),
    "p-novel": (lambda scores: scores.novel.p_holm, False),
    "p-seen": (lambda scores: scores.seen.p_holm, False),
    "gap": (lambda scores: scores.gap.mean, False),
    "retention": (lambda scores: scores.retention.mean, True),
}
# Columns of an arm, likewise.
_ARMS: Mapping[str, tuple[Callable[[Row], _Value], bool]] = {
    "arm": (lambda row: row.arm.label, False),
    "sweep": (lambda row: row.arm.sweep, False),
    "trials": (lambda row: len(row.arm.finished), True),
    "parameters": (lambda row: next(iter(row.arm.known_values("parameters")), None), False),
    "training": (lambda row: row.relative_gmacs, False),
    "time": (lambda row: row.train_seconds, False),
}
# Heads as tables show them.
_SHOWN = {"ret.": "retention", **{f"Δ {classes}": f"delta-{classes}" for classes in CLASSES}}


def sort_rows(table: Table, column: str, reverse: bool = False) -> Table:
    """Return a table in the order of a column; rows without a value come last.

    Args:
        table: The table.
        column: A column of the first metric ("novel", "seen", "delta-novel", "delta-seen",
            "p-novel", "p-seen", "gap", "retention"), the same of another as
            "detections/mask_ap/novel", an axis, or "arm", "sweep", "trials", "parameters",
            "training" or "time". Results come best first, costs lowest first, names by alphabet.
        reverse: Whether the order is reversed.

    Raises:
        UserError: If there is no such column.
    """
    read, highest_first = _find_column(table, column)
    values = [(read(row), row) for row in table.rows]
    known = [pair for pair in values if not _is_missing(pair[0])]
    known.sort(key=lambda pair: pair[0], reverse=highest_first != reverse)
    rows = [row for _, row in known] + [row for value, row in values if _is_missing(value)]
    order = ["lowest", "highest"][highest_first != reverse]
    if known and isinstance(known[0][0], str):
        order = "z" if reverse else "a"
    return table._replace(rows=tuple(rows), order=f"{column}, {order} first")


def select_rows(
    table: Table,
    only: Sequence[str] = (),
    exclude: Sequence[str] = (),
    top: int | None = None,
) -> Table:
    """Return a table with some of its rows; baselines stay unless `exclude` names them.

    A pattern is one of arms, such as "hourglass*", or of levels, such as "mask_head=hourglass*",
    both with the wildcards of a shell.

    Args:
        table: The table, in order.
        only: Patterns of the arms to keep: those that match one of the patterns of arms, if there
            are any, and for each axis that is named one of its patterns.
        exclude: Patterns of arms to leave out: those that match any of them.
        top: The number of rows to keep from the top; None keeps all.

    Raises:
        UserError: If a pattern matches no arm, or no row is left.
    """
    arms = [row.arm for row in table.rows]
    groups: dict[str, list[str]] = {}
    for pattern in only:
        _check_pattern("--only", pattern, arms)
        groups.setdefault(_split_pattern(pattern, arms)[0], []).append(pattern)
    for pattern in exclude:
        _check_pattern("--exclude", pattern, arms)

    def is_kept(row: Row) -> bool:
        return row.baseline or all(
            any(_matches(pattern, row.arm) for pattern in patterns)
            for patterns in groups.values())

    rows = [
        row for row in table.rows
        if is_kept(row) and not any(_matches(pattern, row.arm) for pattern in exclude)]
    if not rows:
        raise UserError("--only and --exclude leave no arm for the table.")
    kept = [row for place, row in enumerate(rows) if top is None or place < top or row.baseline]
    labels = {row.arm.label for row in kept}
    references = {
        metric: tuple(
            each._replace(arms=tuple(label for label in each.arms if label in labels))
            for each in of_metric if labels & set(each.arms))
        for metric, of_metric in table.references.items()}
    return table._replace(
        rows=tuple(kept), references=references,
        novel={label: novel for label, novel in table.novel.items() if label in labels},
        hidden=(*table.hidden, *(arm.label for arm in arms if arm.label not in labels)))


def _difference(scores: Scores, classes: str) -> float | None:
    difference = getattr(scores, classes).difference
    return None if difference is None else difference.mean


def _is_missing(value: _Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _find_column(table: Table, column: str) -> tuple[Callable[[Row], _Value], bool]:
    """Return the function that reads a column, and whether its highest value comes first."""
    metric, _, name = column.rpartition("/")
    axes = list(table.rows[0].arm.levels) if table.rows else []
    name = _SHOWN.get(name, name)
    if column in axes:
        return lambda row: row.arm.levels[column], False
    if not metric and name in _ARMS:
        return _ARMS[name]
    metrics = [metric] if metric else list(table.metrics[:1])
    if name in _SCORES and (set(metrics) <= set(table.metrics)):
        read, highest_first = _SCORES[name]
        return lambda row: read(row.scores[metrics[0]]) if metrics else None, highest_first
    known = [*_SCORES, *_ARMS, *axes]
    others = [f"{other}/{name}" for other in table.metrics[1:] for name in _SCORES]
    more = f", and of other metrics such as {others[0]}" if others else ""
    raise UserError(
        f"There is no column {column!r} to sort by.{did_you_mean(column, [*known, *others])} "
        f"Columns are {', '.join(known)}{more}.")


def _split_pattern(pattern: str, arms: Sequence[ArmTrials]) -> tuple[str, str]:
    """Return the axis, "" in a pattern of arms, and the wildcards."""
    axis, equals, level = pattern.partition("=")
    if equals and any(axis in arm.levels for arm in arms):
        return axis, level
    return "", pattern


def _matches(pattern: str, arm: ArmTrials) -> bool:
    axis, wildcards = _split_pattern(pattern, [arm])
    names = [arm.levels[axis] or ""] if axis else [arm.label, arm.arm]
    # A level may be called "[3, 4]", which as a pattern is one character.
    return any(name == wildcards or fnmatch.fnmatchcase(name, wildcards) for name in names)


def _check_pattern(option: str, pattern: str, arms: Sequence[ArmTrials]) -> None:
    if any(_matches(pattern, arm) for arm in arms):
        return
    labels = [arm.label for arm in arms]
    levels = list(dict.fromkeys(
        f"{axis}={level}" for arm in arms for axis, level in arm.levels.items() if level))
    hint = did_you_mean(pattern, [*labels, *levels])
    if any(pattern in label for label in labels):
        hint = f" Did you mean {f'*{pattern}*'!r}?"
    raise UserError(
        f"{option} {pattern!r} matches no arm.{hint} Arms are "
        f"{join_names(labels)}; levels are {join_names(levels)}.")
