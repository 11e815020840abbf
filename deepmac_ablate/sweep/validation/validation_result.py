"""Configuration of an arm, and the result of its validation: its problems, or its cost.

Processes with TensorFlow write results, and plans without TensorFlow read them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from deepmac_ablate.sweep.validation.cost import Cost


@dataclasses.dataclass(frozen=True)
class ArmConfig:
    """A configuration to validate.

    Attributes:
        label: The label of the arm.
        gin_files: Gin files, as `bindings.read` takes them.
        bindings: Bindings that are read after the files; later ones win.
    """

    label: str
    gin_files: tuple[str, ...]
    bindings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DataRequirements:
    """Datasets that a configuration reads, and its settings that must suit them.

    Attributes:
        train: The prefix of the training records.
        evaluation: The prefix of the evaluation records.
        seen_classes: The seen classes, as `class_splits.resolve` takes them.
        num_classes: The number of classes of the model, background included.
        declared: The identity that the training records are declared to have, `name@fingerprint`;
            None if there is no declaration.
        init_checkpoint: The checkpoint that training initialises from, or None.
        init_parts: The parts of the model that are read from it.
        max_instances: The largest number of instances of an image that a step uses; None if it is
            unknown.
        needs_masks: Whether the mask head learns nothing without a mask; not so with weak losses.
    """

    train: str
    evaluation: str
    seen_classes: str | Sequence[int | str] | None
    num_classes: int
    declared: str | None = None
    init_checkpoint: str | None = None
    init_parts: Sequence[str] = ()
    max_instances: int | None = None
    needs_masks: bool = True

    def __post_init__(self) -> None:
        # JSON makes lists of tuples.
        object.__setattr__(self, "init_parts", tuple(self.init_parts))


@dataclasses.dataclass(frozen=True)
class ValidationResult:
    """The problems of an arm's configuration, or its cost.

    Attributes:
        label: The label of the arm.
        problems: One sentence for each problem; empty if the arm can run.
        cost: The cost of one trial; None if the configuration itself has problems.
        data: The datasets of the configuration; None if the configuration itself has problems.
        data_out_of_reach: The prefixes of datasets that could not be checked.
        data_notes: Sentences about the datasets that are no problems.
        of_this_machine: Whether the problem may be gone on another machine, or another time.
    """

    label: str
    problems: tuple[str, ...] = ()
    cost: Cost | None = None
    data: DataRequirements | None = None
    data_out_of_reach: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()
    of_this_machine: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return {
            **vars(self),
            "cost": self.cost and self.cost.to_json(),
            "data": self.data and vars(self.data),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ValidationResult:
        """Return the result that `to_json` has written.

        Raises:
            TypeError: If an attribute is unknown or has another type.
            KeyError: If an attribute is missing.
        """
        cost, data = fields["cost"], fields["data"]
        return cls(
            label=fields["label"],
            problems=tuple(fields["problems"]),
            cost=None if cost is None else Cost.from_json(cost),
            data=None if data is None else DataRequirements(**data),
            data_out_of_reach=tuple(fields["data_out_of_reach"]),
            data_notes=tuple(fields["data_notes"]),
            of_this_machine=fields.get("of_this_machine", False))
