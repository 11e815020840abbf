"""What is found out about a configuration before it runs: its problems, or its cost.

Verdicts are written by processes with TensorFlow and read by plans without.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import DatasetInfo, info_path
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.validation.cost import Cost


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A configuration to judge.

    Attributes:
        label: what it is called.
        gin_files: as `bindings.parse` takes them.
        bindings: read after the files; the later one wins.
    """

    label: str
    gin_files: tuple[str, ...]
    bindings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DataNeeds:
    """What a configuration asks of datasets.

    Attributes:
        train: prefix of the records to train on.
        evaluation: prefix of those to evaluate on.
        seen_classes: as `class_splits.resolve` takes them.
        num_classes: classes that the model can tell, background included.
        declared: what the records to train on are declared to be, as `name@fingerprint`, or None.
    """

    train: str
    evaluation: str
    seen_classes: str | Sequence[int | str] | None
    num_classes: int
    declared: str | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found out about a candidate.

    Attributes:
        label: the candidate's.
        problems: one sentence each; none if it can be run.
        cost: what it costs; None if there are problems with more than its data.
        data: what it asks of datasets; None if there are problems.
        data_out_of_reach: prefixes of datasets that were not there to be looked at.
    """

    label: str
    problems: tuple[str, ...] = ()
    cost: Cost | None = None
    data: DataNeeds | None = None
    data_out_of_reach: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return {
            **vars(self),
            "cost": self.cost and self.cost.to_json(),
            "data": self.data and vars(self.data),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Verdict:
        """Make what `to_json` returned, lists for tuples included.

        Raises:
            TypeError: If an attribute is unknown or of another kind.
            KeyError: If one is missing.
        """
        cost, data = fields["cost"], fields["data"]
        return cls(
            label=fields["label"],
            problems=tuple(fields["problems"]),
            cost=None if cost is None else Cost.from_json(cost),
            data=None if data is None else DataNeeds(**data),
            data_out_of_reach=tuple(fields["data_out_of_reach"]))


def with_data(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Add to verdicts what their datasets say, as far as these are in reach.

    Args:
        verdicts: without anything about datasets.

    Returns:
        The verdicts with further problems where classes do not fit, or a dataset is incomplete,
        and with the prefixes of what is out of reach, which is no problem: a plan may be made
        where the data is not.
    """
    look = _remembering(_look)
    # Arms of a sweep mostly ask the same, and a dataset may lie on a bucket.
    check = _remembering(lambda needs: _check(needs, look))
    judged = []
    for verdict in verdicts:
        if verdict.data is None:
            judged.append(verdict)
            continue
        problems, missing = check(verdict.data)
        judged.append(dataclasses.replace(
            verdict, problems=(*verdict.problems, *problems), data_out_of_reach=missing))
    return judged


def _remembering(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that asks another once per argument, told apart by its text."""
    known: dict[str, Any] = {}

    def remembering(argument: Any) -> Any:  # noqa: ANN401
        key = repr(argument)
        if key not in known:
            known[key] = function(argument)
        return known[key]

    return remembering


def _look(prefix: str) -> DatasetInfo | str | None:
    """Return the dataset, or what is wrong with it, or None if it is out of reach."""
    try:
        return DatasetInfo.load(prefix) if info_path(prefix).exists() else None
    except OSError:
        # A bucket without credentials or rights, or without a network.
        return None
    except UserError as problem:
        return str(problem)


def _check(
    needs: DataNeeds, look: Callable[[str], DatasetInfo | str | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return problems with the datasets, and the prefixes of those out of reach."""
    problems: list[str] = []
    missing: list[str] = []
    for prefix in dict.fromkeys((needs.train, needs.evaluation)):
        info = look(prefix)
        if info is None:
            missing.append(prefix)
        elif isinstance(info, str):
            problems.append(info)
        else:
            problems += _class_problems(needs, info)
            if prefix == needs.train:
                problems += _declared_problems(needs, info)
    if len(missing) == len({needs.train, needs.evaluation}):
        problems += _sentences(lambda: class_splits.check_name(needs.seen_classes))
    return tuple(dict.fromkeys(problems)), tuple(missing)


def _class_problems(needs: DataNeeds, info: DatasetInfo) -> list[str]:
    return _sentences(
        lambda: class_splits.resolve(needs.seen_classes, info.categories),
        lambda: info.check_num_classes(needs.num_classes))


def _declared_problems(needs: DataNeeds, info: DatasetInfo) -> list[str]:
    # The name is for people.
    if needs.declared is None or needs.declared.rpartition("@")[2] == info.fingerprint:
        return []
    return [
        f"{needs.train} is the dataset {info.identity}, but TrainingData.dataset = "
        f"{needs.declared!r} declares another; bind {info.identity!r}, which makes another trial, "
        "or None."]


def _sentences(*checks: Callable[[], object]) -> list[str]:
    """Return what each check that fails says."""
    problems = []
    for check in checks:
        try:
            check()
        except UserError as problem:
            problems.append(str(problem))
    return problems
