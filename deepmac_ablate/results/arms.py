"""The trials of a data frame of results, grouped by arm."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from etils import epath

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import columns
from deepmac_ablate.results.formats import join_names


class ArmTrials(NamedTuple):
    """An arm and its trials.

    Attributes:
        label: The name shown in tables: the arm's label, preceded by the sweep's name if two
            sweeps have arms with the same label.
        arm: The arm's label within its sweep.
        sweep: The name of its sweep; empty for trials that were trained without one.
        baseline: True if it is the baseline of its sweep.
        levels: The name of its level by the column of each axis; None if it has none.
        trials: The row of the data frame for each seed, by column; None marks an unknown value.
    """

    label: str
    arm: str
    sweep: str
    baseline: bool
    levels: Mapping[str, str | None]
    trials: Sequence[Mapping[str, Any]]

    @property
    def finished(self) -> list[Mapping[str, Any]]:
        """The finished trials."""
        return [row for row in self.trials if row["status"] == "finished"]

    @property
    def other_code(self) -> bool:
        """True if any part of its trials ran with other code than the present one."""
        return any(row["code_state"] for row in self.trials)

    @property
    def platforms(self) -> list[str]:
        """The different platforms that its finished trials ran on, see the column `platform`."""
        found = ((row.get("platform") or "").split("; ") for row in self.finished)
        return sorted(set(filter(None, itertools.chain(*found))))

    def count_status(self, status: str) -> int:
        """Return the number of its trials that have a status."""
        return sum(row["status"] == status for row in self.trials)

    def known_values(self, column: str) -> list[Any]:
        """Return the values of a column, without the trials for which it is unknown."""
        return [row[column] for row in self.trials if row.get(column) is not None]

    def values_by_seed(self, column: str) -> dict[int, float]:
        """Return the values of a column of numbers by seed, of the finished trials that have it."""
        return {
            row["seed"]: row[column] for row in self.finished if row.get(column) is not None}

    def count_different_levels(self, other: ArmTrials) -> int:
        """Return the number of axes on which two arms have different levels."""
        return sum(level != other.levels[axis] for axis, level in self.levels.items())


class Arms(NamedTuple):
    """The arms of a data frame.

    Attributes:
        arms: The arms sweep by sweep, in order of first appearance.
        left_out: Ids of trials that have the label of an arm but do not fit its first trial: they
            have another number of steps, or a seed that the arm already has. This happens when a
            sweep is edited and launched again.
    """

    arms: Sequence[ArmTrials]
    left_out: Sequence[str]


def group_by_arm(frame: pd.DataFrame) -> Arms:
    """Group the trials of a data frame by sweep and arm; trials of several sweeps are in each."""
    axes = columns.axes(frame)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    left_out = []
    for row in _plain_rows(frame):
        for place in ({}, *frame.attrs.get(columns.OTHER_PLACES, {}).get(row["trial"], ())):
            row_there = {**row, **place}
            group = groups.setdefault((row_there["sweep"] or "", _arm_label(row_there)), [])
            if group and not _fits(row_there, group):
                left_out.append(row["trial"])
            else:
                group.append(row_there)
    sweeps = list(dict.fromkeys(sweep for sweep, _ in groups))
    groups = dict(sorted(groups.items(), key=lambda group: sweeps.index(group[0][0])))
    labels = Counter(label for _, label in groups)
    ambiguous = any(count > 1 for count in labels.values())
    return Arms(
        [
            ArmTrials(
                f"{sweep}/{label}" if ambiguous and sweep else label, label, sweep,
                any(row["baseline"] for row in rows), {axis: rows[0][axis] for axis in axes}, rows)
            for (sweep, label), rows in groups.items()
        ],
        left_out)


def _plain_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return plain values, None if unknown: pandas is slow at single numbers."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def pool(frame: pd.DataFrame, axis: str, levels: Sequence[str] = ()) -> pd.DataFrame:
    """Return a frame in which arms that differ in one axis only are one arm.

    This is for axes that repeat an experiment rather than ask something, such as halves of the
    classes or random parts of the images. Trials of the pooled arm with the same seed become one
    trial, with the mean of each metric: they start from the same weights, so they are no
    replicates. Trials with different seeds are. The column of the axis is removed, and its levels
    leave the labels of arms.

    Args:
        frame: The frame from `results.load`.
        axis: The column of the axis.
        levels: The levels to pool; trials with others are left out. By default all.

    Returns:
        The frame. A pooled trial is finished if all of its trials are; its id joins theirs by "+".

    Raises:
        UserError: If there is no such axis or level, or it is the only axis.
    """
    axes = columns.axes(frame)
    if axis not in axes:
        hint = did_you_mean(axis, axes) or f" It has {join_names(axes) or 'none'}."
        raise UserError(f"The results have no axis {axis!r}.{hint}")
    if len(axes) == 1:
        raise UserError(f"{axis} is the only axis; without it there is nothing to compare.")
    known = frame[axis].dropna().unique()
    if unknown := sorted(set(levels) - set(known)):
        raise UserError(
            f"{axis} has no level {unknown[0]!r}.{did_you_mean(unknown[0], known)} It has "
            f"{join_names(sorted(known))}.")
    places = frame.attrs.get(columns.OTHER_PLACES, {})
    records = [
        {**row, **place} for row in _plain_rows(frame)
        if not levels or row[axis] in levels for place in ({}, *places.get(row["trial"], ()))]
    trials: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in records:
        row["arm"] = _without_level(row["arm"], axis, row[axis])
        trials.setdefault((row["sweep"], row["arm"], row["seed"]), []).append(row)
    pooled = pd.DataFrame(
        [_pooled_row(rows) for rows in trials.values()], columns=frame.columns.drop(axis))
    return pooled.astype(frame.dtypes.drop(axis).to_dict())


def pool_as_asked(frame: pd.DataFrame, option: str | None) -> pd.DataFrame:
    """Return the frame that an option "AXIS" or "AXIS=LEVEL,LEVEL" pools; None pools nothing."""
    axis, _, levels = (option or "").partition("=")
    return pool(frame, axis, levels.split(",") if levels else ()) if axis else frame


def _pooled_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the trial of a seed: means of numbers, and what else its trials have in common."""
    if len(rows) == 1:
        return rows[0]
    row = {name: value for name, value in rows[0].items()
           if all(other[name] == value for other in rows)}
    unfinished = [each["status"] for each in rows if each["status"] != "finished"]
    row["status"] = unfinished[0] if unfinished else "finished"
    row["trial"] = "+".join(each["trial"] for each in rows)
    row["baseline"] = any(each["baseline"] is True for each in rows)
    for column in ("platform", "code_state", "commit"):
        row[column] = "; ".join(dict.fromkeys(filter(None, (each[column] for each in rows))))
    for column in ("train_seconds", *(name for name in rows[0] if "/" in name)):
        values = [each[column] for each in rows]
        row[column] = None if None in values else statistics.fmean(values)
    return row


def _without_level(label: str, axis: str, level: Any) -> str:  # noqa: ANN401
    """Return the label of an arm without the level of an axis."""
    if pd.isna(level):
        return label
    parts = label.split("+")
    found = next((part for part in (level, f"{axis}={level}") if part in parts), None)
    if found is not None:
        parts.remove(found)
    return "+".join(parts)


def image_notes(trials: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence if trials were evaluated on a part of the images, or on different parts.

    Args:
        trials: Finished trials, as rows of the data frame.
    """
    arms: dict[str, list[str]] = {}
    for row in trials:
        images, most = row.get("images"), row.get("dataset_images")
        # Earlier versions always evaluated all.
        partial = images is not None and most is not None and images < most
        arms.setdefault(f"{images:,} of {most:,}" if partial else "all", []).append(
            _arm_label(row))
    if len(arms) > 1:
        parts = "; ".join(
            f"{part} ({join_names(dict.fromkeys(labels))})" for part, labels in arms.items())
        yield (
            "Trials were evaluated on different images of a dataset, so their metrics are not "
            f"comparable: {parts}.")
    elif arms and "all" not in arms:
        yield f"Evaluated on a random part of the images: {next(iter(arms))}."


def _arm_label(row: Mapping[str, Any]) -> str:
    # A trial without a sweep may have no arm; it is then an arm of its own.
    return row["arm"] or epath.Path(row["folder"] or "").name or row["trial"]


def _fits(row: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> bool:
    steps = group[0]["steps"]
    same_length = None in (steps, row["steps"]) or steps == row["steps"]
    return same_length and row["seed"] not in {other["seed"] for other in group}
