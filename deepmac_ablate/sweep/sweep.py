"""Sweep: gin files and bindings, arms, seeds and a baseline."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from deepmac_ablate.errors import UserError, did_you_mean, shorten
from deepmac_ablate.sweep.axes import Axis, split_settings
from deepmac_ablate.sweep.combinators import Arms, Seeds, fill_levels, grid, seed_tuple


@dataclasses.dataclass(frozen=True)
class Arm:
    """One row of the ablation table.

    Attributes:
        label: The levels joined by "+", such as "hourglass20+groundtruth".
        levels: The name of the level of every axis of the sweep, by the name of the axis.
        seeds: The seeds; each makes a trial.
        gin_files: The gin files of the sweep, then those of the levels in the order of the axes.
        bindings: The bindings in the same order, then those of the command line.
    """

    label: str
    levels: Mapping[str, str]
    seeds: tuple[int, ...]
    gin_files: tuple[str, ...]
    bindings: tuple[str, ...]


class Sweep:
    """Ordered set of arms with a baseline and seeds.

    ::

        SWEEP = Sweep(
            "gin/experiments/shapes_small.gin", "STEPS = 250",
            arms=grid(MASK_HEAD, BOX_SOURCE), seeds=3)

    Attributes:
        name: The name of the sweep's file, without ".py".
        question: The question of the sweep: the first paragraph of the docstring of its file.
        gin_files: Gin files that all trials read first.
        bindings: Bindings of all trials, read after all gin files.
        axes: The axes by name, in the order of the table's columns.
        baseline: The label of the arm that the others are compared with; `edited` may have removed
            this arm.
        arms: The arms in order.
    """

    def __init__(
        self,
        *settings: str,
        arms: Arms | Axis,
        seeds: Seeds = 1,
        baseline: Mapping[str, str] | None = None,
    ) -> None:
        """Create a sweep.

        Args:
            *settings: Gin files and bindings of all arms.
            arms: The result of a combinator, or an axis whose levels are the arms.
            seeds: The number of seeds, counted from 0, or the seeds themselves.
            baseline: The levels by axis of the arm to compare with; omitted axes have their first
                level. By default the arm of all first levels, or the first arm if there is none.

        Raises:
            UserError: If there is no arm, or the baseline is not one of the arms.
        """
        self.name = self.question = ""
        self.gin_files, self.bindings = split_settings(settings)
        self._overrides: tuple[str, ...] = ()
        self.axes = dict((arms if isinstance(arms, Arms) else grid(arms)).axes)
        base = {name: an_axis.level_names[0] for name, an_axis in self.axes.items()}
        if not isinstance(baseline, Mapping | None):
            raise UserError(
                "The baseline must be levels by the names of axes, such as {'mask_head': "
                f"'default'}}, got {shorten(baseline)}.")
        for name, level in (baseline or {}).items():
            base[name] = self._axis(name).level(level).name
        self._axes_with = Counter(n for a in self.axes.values() for n in a.level_names)
        every = seed_tuple(seeds)
        self.arms = tuple(
            self._arm(row.levels, row.seeds or every) for row in fill_levels(arms, base).rows)
        if not self.arms:
            raise UserError("The sweep has no arms: its where() keeps none.")
        labels = [arm.label for arm in self.arms]
        self.baseline = self._label(base)
        if self.baseline not in labels:
            if baseline is not None:
                some = ", ".join(labels[:10]) + (" ..." if len(labels) > 10 else "")
                raise UserError(f"The baseline {self.baseline} is not one of the arms {some}.")
            self.baseline = labels[0]

    def edited(
        self,
        bindings: Sequence[str] = (),
        seeds: Seeds | None = None,
        only: Sequence[str] = (),
        steps: int | None = None,
    ) -> Sweep:
        """Return a copy of the sweep with the edits of a command line.

        Args:
            bindings: Bindings of all arms that win over all others, and replace the sweep's own
                bindings of the same name.
            seeds: Seeds of all arms; None keeps those of the sweep.
            only: Conditions ``axis=level`` or ``axis=level,level``; arms that do not meet all of
                them are removed.
            steps: The value of the recipe's macro STEPS; None keeps it.

        Raises:
            UserError: If an axis or level does not exist, or no arm is left.
        """
        sweep = copy.copy(self)
        if steps is not None:
            bindings = (*bindings, f"STEPS = {steps}")
        # Keep one binding of a name: one without effect would be refused by the validation.
        given = {_bound_name(binding): binding for binding in (*self._overrides, *bindings)}
        sweep._overrides = tuple(given.values())
        sweep.bindings = tuple(
            binding for binding in self.bindings if _bound_name(binding) not in given)
        arms = [arm for arm in self.arms if all(self._holds(arm, item) for item in only)]
        if not arms:
            raise UserError(f"No arm matches --only {' --only '.join(only)}.")
        chosen = None if seeds is None else seed_tuple(seeds)
        sweep.arms = tuple(sweep._arm(arm.levels, chosen or arm.seeds) for arm in arms)
        return sweep

    def _label(self, levels: Mapping[str, str]) -> str:
        """Return the levels joined by "+"; a name that two axes share is prefixed with its axis."""
        return "+".join(
            levels[name] if self._axes_with[levels[name]] == 1 else f"{name}={levels[name]}"
            for name in self.axes)

    def _arm(self, levels: Mapping[str, str], seeds: tuple[int, ...]) -> Arm:
        chosen = [self.axes[name].level(levels[name]) for name in self.axes]
        ordered = {name: levels[name] for name in self.axes}
        gin_files = [name for level in chosen for name in level.gin_files]
        bindings = [binding for level in chosen for binding in level.bindings]
        return Arm(
            self._label(levels), ordered, seeds,
            (*self.gin_files, *gin_files), (*self.bindings, *bindings, *self._overrides))

    def _axis(self, name: str) -> Axis:
        if name not in self.axes:
            hint = did_you_mean(name, self.axes) or f" It has {', '.join(self.axes)}."
            raise UserError(f"The sweep has no axis {name!r}.{hint}")
        return self.axes[name]

    def _holds(self, arm: Arm, condition: str) -> bool:
        name, equals, levels = condition.partition("=")
        if not equals:
            raise UserError(
                f"--only must be AXIS=LEVEL, got {condition!r}; for example --only "
                f"{next(iter(self.axes))}={next(iter(self.axes.values())).level_names[0]}.")
        chosen = [self._axis(name).level(level).name for level in levels.split(",")]
        return arm.levels[name] in chosen


def _bound_name(binding: str) -> str:
    """Return the left-hand side of a binding."""
    return binding.partition("=")[0].strip()
