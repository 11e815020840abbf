"""Combinators: which levels of which axes make the arms of an ablation.

Each takes axes and gives `Arms`; those that take `Arms` as well can be nested. An arm that says
nothing of an axis of the sweep has the baseline's level there.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.sweep.axes import Axis

Seeds = int | Iterable[int]


@dataclasses.dataclass(frozen=True)
class Row:
    """One arm before its trials are made.

    Attributes:
        levels: Names of levels by names of axes.
        seeds: Its own; None: those of the sweep.
    """

    levels: Mapping[str, str]
    seeds: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Arms:
    """An ordered set of arms.

    Attributes:
        axes: By name, in the order of the table's columns.
        rows: Each with other levels than all before.
    """

    axes: Mapping[str, Axis]
    rows: tuple[Row, ...]


def grid(*parts: Axis | Arms) -> Arms:
    """Every combination; the last part varies fastest."""
    return _combine("grid", parts, itertools.product)


def zipped(*parts: Axis | Arms) -> Arms:
    """First with first, second with second, and so on.

    Raises:
        UserError: If the parts have different lengths.
    """
    lengths = [len(_arms(part).rows) for part in parts]
    if len(set(lengths)) > 1:
        raise UserError(f"zipped() needs parts of one length, not {', '.join(map(str, lengths))}.")
    return _combine("zipped", parts, zip)


def one_at_a_time(*axes: Axis) -> Arms:
    """The baseline, then each other level of each axis with all else as in the baseline."""
    first = _first(axes)
    others = [first | {a.name: name} for a in axes for name in a.level_names[1:]]
    return _made("one_at_a_time", axes, [first, *others])


def add_one(*switches: Axis) -> Arms:
    """Nothing, then each component alone; the axes have two levels, without and with."""
    return one_at_a_time(*_two_levels("add_one", switches))


def leave_one_out(*switches: Axis) -> Arms:
    """Everything, then everything but one component; the axes have two levels."""
    full = {a.name: a.level_names[1] for a in _two_levels("leave_one_out", switches)}
    without = [full | {a.name: a.level_names[0]} for a in switches]
    return _made("leave_one_out", switches, [full, *without])


def cumulative(*switches: Axis) -> Arms:
    """Nothing, then one component more in each arm; the axes have two levels."""
    rows = [_first(_two_levels("cumulative", switches))]
    for a in switches:
        rows.append(rows[-1] | {a.name: a.level_names[1]})
    return _made("cumulative", switches, rows)


def where(arms: Axis | Arms, condition: Callable[[Mapping[str, str]], Any]) -> Arms:
    """Keep the arms of which a condition holds.

    Args:
        arms: What to choose from.
        condition: Given the names of the levels by the names of axes, as in
            ``lambda arm: arm["mask_head"] != "default"``.

    Raises:
        UserError: If the condition asks for an axis that these arms say nothing of.
    """
    arms = _arms(arms)
    kept = tuple(row for row in arms.rows if condition(_Levels(row.levels)))
    return dataclasses.replace(arms, rows=kept)


def union(*parts: Axis | Arms) -> Arms:
    """All of these, each once; the seeds of an arm that is in several are put together."""
    groups = [_arms(part) for part in parts]
    axes = functools.reduce(_merged_axes, (group.axes for group in groups), {})
    return Arms(axes, _distinct(row for group in groups for row in group.rows))


def seeds(arms: Axis | Arms, seeds: Seeds) -> Arms:
    """Give arms seeds of their own, in place of the sweep's.

    Args:
        arms: The arms.
        seeds: That many, from 0 on, or the seeds themselves.
    """
    arms, chosen = _arms(arms), seed_tuple(seeds)
    rows = tuple(dataclasses.replace(row, seeds=chosen) for row in arms.rows)
    return dataclasses.replace(arms, rows=rows)


def filled(arms: Axis | Arms, levels: Mapping[str, str]) -> Arms:
    """Name the level of every axis in every arm; arms that are then equal become one.

    Args:
        arms: The arms.
        levels: What an axis has where an arm says nothing of it; of every axis.
    """
    arms = _arms(arms)
    order = {name: levels[name] for name in arms.axes}
    rows = (dataclasses.replace(row, levels={**order, **row.levels}) for row in arms.rows)
    return dataclasses.replace(arms, rows=_distinct(rows))


def seed_tuple(seeds: Seeds) -> tuple[int, ...]:
    """Return seeds given as their number or one by one.

    Raises:
        UserError: If there is none, one is there twice, or one is no whole number of at least 0.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int | Iterable):
        raise UserError(f"Seeds must be a number of seeds or a list of them, not {seeds!r}.")
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    for seed in chosen:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UserError(f"The seed {seed!r} must be a whole number of at least 0.")
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"Seeds must be at least one and each another, not {seeds!r}.")
    return chosen


class _Levels(dict[str, str]):
    """Levels by axis, which explains itself when asked for another axis."""

    def __missing__(self, name: str) -> str:
        hint = did_you_mean(name, self) or f" They have {', '.join(self)}."
        raise UserError(f"where(): these arms have no axis {name!r}.{hint}")


def _arms(part: Axis | Arms) -> Arms:
    if isinstance(part, Arms):
        return part
    if not isinstance(part, Axis):
        raise UserError(f"{part!r} is neither an axis nor made of axes.")
    return Arms({part.name: part}, tuple(Row({part.name: name}) for name in part.level_names))


def _combine(
    name: str,
    parts: tuple[Axis | Arms, ...],
    how: Callable[..., Iterable[tuple[Row, ...]]],
) -> Arms:
    groups = [_arms(part) for part in parts]
    axes: dict[str, Axis] = {}
    for group in groups:
        if shared := axes.keys() & group.axes.keys():
            raise UserError(f"{name}() has the axis {min(shared)!r} twice.")
        axes |= group.axes
    return Arms(axes, _distinct(map(_joined, how(*(group.rows for group in groups)))))


def _joined(rows: tuple[Row, ...]) -> Row:
    levels = {name: level for row in rows for name, level in row.levels.items()}
    own = [row.seeds for row in rows if row.seeds is not None]
    if len(set(own)) > 1:
        raise UserError(f"The arm {levels} would have the seeds {own[0]} and {own[1]}.")
    return Row(levels, own[0] if own else None)


def _made(name: str, axes: tuple[Axis, ...], rows: list[dict[str, str]]) -> Arms:
    by_name = {a.name: a for a in axes}
    if len(by_name) < len(axes):
        raise UserError(f"{name}() has two axes of one name.")
    return Arms(by_name, _distinct(map(Row, rows)))


def _first(axes: Iterable[Axis]) -> dict[str, str]:
    return {a.name: a.level_names[0] for a in axes}


def _two_levels(name: str, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    for a in axes:
        if len(a.levels) != 2:
            raise UserError(
                f"{name}() needs axes of two levels, without and with; {a.name!r} has "
                f"{len(a.levels)}. See switch().")
    return axes


def _merged_axes(axes: Mapping[str, Axis], more: Mapping[str, Axis]) -> dict[str, Axis]:
    for name in axes.keys() & more.keys():
        if axes[name] != more[name]:
            raise UserError(f"union() has two axes called {name!r} with different levels.")
    return {**axes, **more}


def _distinct(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Drop arms that are there already, keeping their seeds."""
    found: dict[frozenset[tuple[str, str]], Row] = {}
    for row in rows:
        key = frozenset(row.levels.items())
        if key not in found:
            found[key] = row
        elif found[key].seeds != row.seeds:
            if found[key].seeds is None or row.seeds is None:
                raise UserError(f"The arm {dict(row.levels)} has seeds of its own once, once not.")
            both = dict.fromkeys((*found[key].seeds, *row.seeds))
            found[key] = Row(row.levels, tuple(both))
    return tuple(found.values())
