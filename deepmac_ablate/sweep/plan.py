"""A sweep resolved: every trial with its id, and whatever can be known to be wrong with it.

Nothing here needs TensorFlow; `verdicts` asks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.sweep import Arm, Sweep
from deepmac_ablate.trial.trial import Trial, trial_id


class PlannedTrial(NamedTuple):
    """A trial and its place in the sweep.

    Attributes:
        id: What it is known by.
        trial: What it is.
        levels: The name of a level by the name of each axis.
        steps: What Training.steps is bound to; None where that is no number.
    """

    id: str
    trial: Trial
    levels: Mapping[str, str]
    steps: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        place = {"levels": dict(self.levels), "steps": self.steps}
        return {"id": self.id, **vars(self.trial), **place}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> PlannedTrial:
        """Read what `to_json` returned."""
        trial = Trial(
            tuple(fields["gin_files"]), tuple(fields["bindings"]), fields["seed"], fields["arm"])
        return cls(fields["id"], trial, fields["levels"], fields["steps"])


class Plan(NamedTuple):
    """All trials of a sweep.

    Attributes:
        name: The sweep's name.
        question: What it asks.
        axes: The names of its levels by the name of each axis, in order.
        baseline: The label of the arm to compare with, whether or not its trials are here.
        trials: Arm by arm, seed by seed; no two have one id.
    """

    name: str
    question: str
    axes: Mapping[str, Sequence[str]]
    baseline: str
    trials: tuple[PlannedTrial, ...]

    @property
    def arms(self) -> dict[str, list[PlannedTrial]]:
        """The trials by the labels of their arms, in order."""
        arms: dict[str, list[PlannedTrial]] = {}
        for planned in self.trials:
            arms.setdefault(planned.trial.arm, []).append(planned)
        return arms

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**self._asdict(), "trials": [planned.to_json() for planned in self.trials]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Plan:
        """Read what `to_json` returned."""
        trials = tuple(map(PlannedTrial.from_json, fields["trials"]))
        axes = {name: tuple(levels) for name, levels in fields["axes"].items()}
        return cls(fields["name"], fields["question"], axes, fields["baseline"], trials)


class SweepProblems(UserError):  # noqa: N818
    """What is wrong with a sweep, all of it.

    Attributes:
        problems: A sentence each, by the label of the first arm that has it.
    """

    def __init__(self, name: str, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        first = dict(reversed([(sentence, label) for label, sentence in problems]))
        lines = [f"  {label}: {sentence}" for sentence, label in reversed(first.items())]
        count = f"{len(lines)} problems" if len(lines) > 1 else "a problem"
        super().__init__("\n".join([f"The sweep {name} has {count}:", *lines]))


def resolve(sweep: Sweep) -> tuple[Plan, list[tuple[str, str]]]:
    """Give every trial of a sweep its id.

    Returns:
        The plan, without the arms that have a problem, and the problems by the arms' labels: gin
        text is no gin, what a level binds is bound again by something else, or two arms are the
        same.
    """
    problems: list[tuple[str, str]] = []
    trials: list[PlannedTrial] = []
    same: dict[str, str] = {}
    levels = _Levels(sweep)
    for arm in sweep.arms:
        try:
            bound = bindings.read(arm.gin_files, arm.bindings).bindings
            reached = bindings.explicit_bindings(bound)
            problems += [(arm.label, problem) for problem in levels.lost(arm, bound)]
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
                    f"it is the same as {other}: nothing that training reaches differs between "
                    "them, so there would be nothing to compare.")))
                break
            trials.append(planned)
    axes = {name: axis.level_names for name, axis in sweep.axes.items()}
    plan = Plan(sweep.name, sweep.question, axes, sweep.baseline, tuple(trials))
    return plan, problems


class _Levels:
    """What the levels of a sweep bind, and whether an arm leaves it so."""

    def __init__(self, sweep: Sweep) -> None:
        self._axes = sweep.axes
        self._bound: dict[tuple[str, str], dict[str, bindings.Binding]] = {}

    def lost(self, arm: Arm, bound: Sequence[bindings.Binding]) -> list[str]:
        """Say which bindings of an arm's levels are replaced by another level or the sweep."""
        last = {binding.name: binding for binding in bound}
        return [
            f"{binding.place} of {axis}={level} is replaced by {last[name].place}; then this "
            "level is not what its name says."
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
