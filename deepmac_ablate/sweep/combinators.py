"""Combinators: functions that combine levels of axes into the arms of an ablation.

Each takes axes and returns `Arms`; those that also take `Arms` can be nested. An arm that does not
name a level of some axis of the sweep has the baseline's level there.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deepmac_ablate.errors import UserError, did_you_mean, shorten
from deepmac_ablate.sweep.axes import Axis

Seeds = int | Iterable[int]

# A typing mistake beyond this, which would be planned for minutes.
_MOST_SEEDS = 1000


@dataclasses.dataclass(frozen=True)
class Row:
    """One arm, without the settings of its levels.

    Attributes:
        levels: Names of levels by names of axes.
        seeds: The arm's own seeds; None stands for those of the sweep.
    """

    levels: Mapping[str, str]
    seeds: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Arms:
    """An ordered set of arms.

    Attributes:
        axes: The axes by name, in the order of the table's columns.
        rows: The arms; no two have the same levels.
    """

    axes: Mapping[str, Axis]
    rows: tuple[Row, ...]


def grid(*parts: Axis | Arms) -> Arms:
    """Return every combination of the parts; the last part varies fastest."""
    return _combine("grid", parts, itertools.product)


def zipped(*parts: Axis | Arms) -> Arms:
    """Combine the parts pairwise: first with first, second with second, and so on.

    Raises:
        UserError: If the parts have different lengths.
    """
    lengths = [len(_to_arms(part).rows) for part in parts]
    if len(set(lengths)) > 1:
        raise UserError(
            f"zipped() needs parts of equal length, got lengths {', '.join(map(str, lengths))}.")
    return _combine("zipped", parts, zip)


def one_at_a_time(*axes: Axis) -> Arms:
    """Return the baseline, then each other level of each axis with all else as in the baseline."""
    _check_axes("one_at_a_time", axes)
    first = _first_levels(axes)
    others = [first | {a.name: name} for a in axes for name in a.level_names[1:]]
    return _arms_from_levels("one_at_a_time", axes, [first, *others])


def add_one(*switches: Axis) -> Arms:
    """Return all switches off, then each one on alone; the axes have two levels."""
    return one_at_a_time(*_check_two_levels("add_one", switches))


def leave_one_out(*switches: Axis) -> Arms:
    """Return all switches on, then each one off alone; the axes have two levels."""
    full = {a.name: a.level_names[1] for a in _check_two_levels("leave_one_out", switches)}
    without = [full | {a.name: a.level_names[0]} for a in switches]
    return _arms_from_levels("leave_one_out", switches, [full, *without])


def cumulative(*switches: Axis) -> Arms:
    """Return all switches off, then one more on in each arm; the axes have two levels."""
    rows = [_first_levels(_check_two_levels("cumulative", switches))]
    for a in switches:
        rows.append(rows[-1] | {a.name: a.level_names[1]})
    return _arms_from_levels("cumulative", switches, rows)


def where(arms: Axis | Arms, condition: Callable[[Mapping[str, str]], Any]) -> Arms:
    """Return the arms for which a condition holds.

    Args:
        arms: The arms to choose from.
        condition: A function of the names of an arm's levels by the names of the axes, such as
            ``lambda arm: arm["mask_head"] != "default"``.

    Raises:
        UserError: If the condition reads an axis that these arms do not have.
    """
    arms = _to_arms(arms)
    if not callable(condition):
        raise UserError(
            f"where(): {shorten(condition)} is not a function of an arm, such as lambda arm: "
            "arm['mask_head'] != 'default'.")
    kept = tuple(row for row in arms.rows if condition(_Levels(row.levels)))
    return dataclasses.replace(arms, rows=kept)


def union(*parts: Axis | Arms) -> Arms:
    """Return the arms of all parts, each once; an arm in several parts has all of their seeds."""
    groups = _to_groups("union", parts)
    axes = functools.reduce(_merged_axes, (group.axes for group in groups), {})
    return Arms(axes, _merge_equal(row for group in groups for row in group.rows))


def seeds(arms: Axis | Arms, seeds: Seeds) -> Arms:
    """Return arms with their own seeds, in place of the sweep's.

    Args:
        arms: The arms.
        seeds: The number of seeds, counted from 0, or the seeds themselves.
    """
    arms, chosen = _to_arms(arms), seed_tuple(seeds)
    rows = tuple(dataclasses.replace(row, seeds=chosen) for row in arms.rows)
    return dataclasses.replace(arms, rows=rows)


def fill_levels(arms: Axis | Arms, levels: Mapping[str, str]) -> Arms:
    """Return arms that name a level of every axis; arms that are then equal become one.

    Args:
        arms: The arms.
        levels: The level of every axis for arms that do not name one.
    """
    arms = _to_arms(arms)
    order = {name: levels[name] for name in arms.axes}
    rows = (dataclasses.replace(row, levels={**order, **row.levels}) for row in arms.rows)
    return dataclasses.replace(arms, rows=_merge_equal(rows))


def seed_tuple(seeds: Seeds) -> tuple[int, ...]:
    """Return seeds that are given as their number or as a list.

    Raises:
        UserError: If there are none, one appears twice, or one is not an integer of at least 0.
    """
    if isinstance(seeds, bool | str | bytes) or not isinstance(seeds, int | Iterable):
        raise UserError(
            f"Seeds must be a number of seeds or a list of seeds, got {shorten(seeds)}.")
    if isinstance(seeds, int) and seeds > _MOST_SEEDS:
        raise UserError(f"There can be at most {_MOST_SEEDS:,} seeds, got {shorten(seeds)}.")
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    for seed in chosen:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise UserError(
                f"A seed must be an integer of at least 0, below 2**31, got {shorten(seed)}.")
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(
            f"Seeds must be distinct and there must be at least one; got {shorten(seeds)}.")
    return chosen


class _Levels(dict[str, str]):
    """Levels by axis, with a clear error for an unknown axis."""

    def __missing__(self, name: str) -> str:
        hint = did_you_mean(name, self) or f" They have {', '.join(self)}."
        raise UserError(f"where(): the arms have no axis {name!r}.{hint}")


def _to_arms(part: Axis | Arms) -> Arms:
    if isinstance(part, Arms):
        return part
    if not isinstance(part, Axis):
        raise UserError(f"{shorten(part)} is neither an axis nor the result of a combinator.")
    return Arms({part.name: part}, tuple(Row({part.name: name}) for name in part.level_names))


def _to_groups(name: str, parts: tuple[Axis | Arms, ...]) -> list[Arms]:
    if not parts:
        raise UserError(f"{name}() needs at least one axis.")
    return [_to_arms(part) for part in parts]


def _combine(
    name: str,
    parts: tuple[Axis | Arms, ...],
    combine: Callable[..., Iterable[tuple[Row, ...]]],
) -> Arms:
    groups = _to_groups(name, parts)
    axes: dict[str, Axis] = {}
    for group in groups:
        if shared := axes.keys() & group.axes.keys():
            raise UserError(f"{name}() has axis {min(shared)!r} twice.")
        axes |= group.axes
    return Arms(axes, _merge_equal(map(_join_rows, combine(*(group.rows for group in groups)))))


def _join_rows(rows: tuple[Row, ...]) -> Row:
    levels = {name: level for row in rows for name, level in row.levels.items()}
    own = [row.seeds for row in rows if row.seeds is not None]
    if len(set(own)) > 1:
        raise UserError(
            f"Arm {_to_text(levels)} would have two sets of seeds, {own[0]} and {own[1]}; give "
            "both parts the same seeds.")
    return Row(levels, own[0] if own else None)


def _arms_from_levels(name: str, axes: tuple[Axis, ...], rows: list[dict[str, str]]) -> Arms:
    by_name = {a.name: a for a in axes}
    if len(by_name) < len(axes):
        raise UserError(f"{name}() has two axes of the same name.")
    return Arms(by_name, _merge_equal(map(Row, rows)))


def _to_text(levels: Mapping[str, str]) -> str:
    return "+".join(f"{name}={level}" for name, level in levels.items())


def _first_levels(axes: Iterable[Axis]) -> dict[str, str]:
    return {a.name: a.level_names[0] for a in axes}


def _check_axes(name: str, axes: tuple[Axis, ...]) -> None:
    for a in axes:
        if not isinstance(a, Axis):
            kind = "the result of a combinator" if isinstance(a, Arms) else shorten(a)
            raise UserError(f"{name}() takes axes, not {kind}.")
    if not axes:
        raise UserError(f"{name}() needs at least one axis.")


def _check_two_levels(name: str, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    _check_axes(name, axes)
    for a in axes:
        if len(a.levels) != 2:
            raise UserError(
                f"{name}() needs axes of two levels, off and on, such as switch(); axis {a.name!r} "
                f"has {len(a.levels)}.")
    return axes


def _merged_axes(axes: Mapping[str, Axis], more: Mapping[str, Axis]) -> dict[str, Axis]:
    for name in axes.keys() & more.keys():
        if axes[name] != more[name]:
            raise UserError(f"union() has two axes named {name!r} with different levels.")
    return {**axes, **more}


def _merge_equal(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Return each arm once, with the seeds of all rows that have its levels."""
    found: dict[frozenset[tuple[str, str]], Row] = {}
    for row in rows:
        key = frozenset(row.levels.items())
        if key not in found:
            found[key] = row
        elif found[key].seeds != row.seeds:
            if found[key].seeds is None or row.seeds is None:
                raise UserError(
                    f"Arm {_to_text(row.levels)} appears twice, once with its own seeds and once "
                    "without; give both the same seeds.")
            both = dict.fromkeys((*found[key].seeds, *row.seeds))
            found[key] = Row(row.levels, tuple(both))
    return tuple(found.values())
