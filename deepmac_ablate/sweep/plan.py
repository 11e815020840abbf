"""Plan: the trials of a sweep with their ids, and the problems that need no TensorFlow to find.

`checked_plan` adds the problems that the validation finds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError, shorten
from deepmac_ablate.storage.strict_json import (
    COUNT,
    SEED,
    TEXT,
    Kind,
    check_fields,
    from_json,
    list_of,
    object_of,
    optional,
)
from deepmac_ablate.sweep.sweep import Arm, Sweep
from deepmac_ablate.trial.trial import Trial, trial_id

_REMEDY = "launch the sweep again to write it anew"
# The name of a folder.
_ID = Kind(
    "the name of a folder",
    lambda value: isinstance(value, str) and re.fullmatch(r"[^/\0]{1,200}", value) is not None
    and value not in (".", ".."))
_PLAN = {
    "name": TEXT, "question": TEXT, "axes": object_of(list_of(TEXT)), "baseline": TEXT,
    "trials": Kind(
        "a list of objects",
        lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value))}
_TRIAL = {
    "id": _ID, "gin_files": list_of(TEXT), "bindings": list_of(TEXT), "seed": SEED, "arm": TEXT,
    "levels": object_of(TEXT), "steps": optional(COUNT)}


class PlannedTrial(NamedTuple):
    """A trial and its place in the sweep.

    Attributes:
        id: The id of the trial.
        trial: The gin files, bindings, seed and arm of the trial.
        levels: The name of the level of each axis, by the name of the axis.
        steps: The value of Training.steps; None if it is not a number.
    """

    id: str
    trial: Trial
    levels: Mapping[str, str]
    steps: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        place = {"levels": dict(self.levels), "steps": self.steps}
        return {"id": self.id, **vars(self.trial), **place}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> PlannedTrial:
        """Return the object that `to_json` has written."""
        trial = Trial(
            tuple(fields["gin_files"]), tuple(fields["bindings"]), fields["seed"], fields["arm"])
        return cls(fields["id"], trial, fields["levels"], fields["steps"])


class Plan(NamedTuple):
    """All trials of a sweep.

    Attributes:
        name: The name of the sweep.
        question: The question of the sweep.
        axes: The names of the levels of each axis, by the name of the axis, in order.
        baseline: The label of the arm to compare with; the plan may lack its trials.
        trials: The trials arm by arm, seed by seed; no two have the same id.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[str]]
    baseline: str
    trials: tuple[PlannedTrial, ...]

    @property
    def arms(self) -> dict[str, list[PlannedTrial]]:
        """Trials by the labels of their arms, in order."""
        arms: dict[str, list[PlannedTrial]] = {}
        for planned in self.trials:
            arms.setdefault(planned.trial.arm, []).append(planned)
        return arms

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**self._asdict(), "trials": [planned.to_json() for planned in self.trials]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Plan:
        """Return the object that `to_json` has written."""
        trials = tuple(map(PlannedTrial.from_json, fields["trials"]))
        axes = {name: tuple(levels) for name, levels in fields["axes"].items()}
        return cls(fields["name"], fields["question"], axes, fields["baseline"], trials)


def parse_plan(text: bytes, where: str) -> Plan:
    """Return the plan in plan.json.

    Raises:
        UserError: If it is broken.
    """
    fields = from_json(text, where, _REMEDY)
    check_fields(fields, _PLAN, where, _REMEDY)
    for place, trial in enumerate(fields["trials"], 1):
        entry = f"Trial {place} of {where}"
        check_fields(trial, _TRIAL, entry, _REMEDY)
        levels, axes = trial["levels"], fields["axes"]
        if levels.keys() != axes.keys() or any(levels[axis] not in axes[axis] for axis in axes):
            raise UserError(
                f"{entry} is broken: its levels must name one of each axis, got "
                f"{shorten(levels)}; {_REMEDY}.")
    ids = [trial["id"] for trial in fields["trials"]]
    if len(set(ids)) < len(ids):
        raise UserError(f"{where} is broken: two of its trials have the same id; {_REMEDY}.")
    return Plan.from_json(fields)


class SweepProblems(UserError):  # noqa: N818
    """All problems of a sweep, raised together.

    Attributes:
        problems: Pairs of the label of an arm and a sentence.
    """

    def __init__(self, name: str, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        # Each sentence once, with the first arm that has the problem.
        first = dict(reversed([(sentence, label) for label, sentence in problems]))
        lines = [f"  {label}: {sentence}" for sentence, label in reversed(first.items())]
        count = f"{len(lines)} problems" if len(lines) > 1 else "a problem"
        super().__init__("\n".join([f"Sweep {name} has {count}:", *lines]))


def resolve_sweep(sweep: Sweep) -> tuple[Plan, list[tuple[str, str]]]:
    """Return the plan of a sweep, and its problems.

    Returns:
        The plan, without the arms that have a problem, and pairs of an arm's label and a problem:
        invalid gin, a binding of a level that something else replaces, or an arm that is the same
        as another.
    """
    problems: list[tuple[str, str]] = []
    trials: list[PlannedTrial] = []
    same: dict[str, str] = {}
    levels = _LevelBindings(sweep)
    for arm in sweep.arms:
        try:
            bound = bindings.read(arm.gin_files, arm.bindings).bindings
            reached = bindings.explicit_bindings(bound)
            problems += [(arm.label, problem) for problem in levels.replaced(arm, bound)]
        except UserError as error:
            problems.append((arm.label, str(error)))
            continue
        steps = reached.get("Training.steps", "")
        for seed in arm.seeds:
            trial = Trial(arm.gin_files, arm.bindings, seed, arm.label)
            planned = PlannedTrial(
                trial_id(reached, seed), trial, arm.levels, int(steps) if steps.isdigit() else None)
            other = same.setdefault(planned.id, arm.label)
            if other != arm.label:
                problems.append((arm.label, (
                    f"same trial as {other}: the arms do not differ in any binding that training "
                    "uses.")))
                break
            trials.append(planned)
    axes = {name: axis.level_names for name, axis in sweep.axes.items()}
    plan = Plan(sweep.name, sweep.question, axes, sweep.baseline, tuple(trials))
    return plan, problems


class _LevelBindings:
    """Bindings of the levels of a sweep, to find those that an arm replaces."""

    def __init__(self, sweep: Sweep) -> None:
        self._axes = sweep.axes
        self._bound: dict[tuple[str, str], dict[str, bindings.Binding]] = {}

    def replaced(self, arm: Arm, bound: Sequence[bindings.Binding]) -> list[str]:
        """Return a sentence for each binding of an arm's levels that something else replaces."""
        last = {binding.name: binding for binding in bound}
        return [
            f"{binding.place} of {axis}={level} is replaced by {last[name].place}, so the arm does "
            "not have this level."
            for axis, level in arm.levels.items()
            for name, binding in self._bindings(axis, level).items()
            if last[name].value != binding.value
        ]

    def _bindings(self, axis: str, name: str) -> dict[str, bindings.Binding]:
        if (axis, name) not in self._bound:
            level = self._axes[axis].level(name)
            text = bindings.read(level.gin_files, level.bindings)
            self._bound[axis, name] = bindings.merge(text.bindings)
        return self._bound[axis, name]
