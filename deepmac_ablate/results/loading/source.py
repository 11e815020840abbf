"""Sources of results, and the records of trials that they return."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from deepmac_ablate.launch.status_rows import Status
from deepmac_ablate.trial.trial import Trial

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class TrialRecord(NamedTuple):
    """A trial as a source knows it.

    Fields that are not listed here are the columns of the same name, see `columns.FIXED`; None
    marks an unknown value.

    Attributes:
        levels: The name of the level by the name of each axis.
        setup: The names of its gin files and its bindings, which trials of an arm share; empty if
            unknown.
        starts: The fields of each start that `provenance.code_state` needs; empty if unknown.
        broken: Sentences about files that are broken or cannot be read; else empty.
        metrics: Numbers in [0, 1] by `<box source>/<metric>/<classes>`, NaN if undefined; empty
            unless the trial is finished.
    """

    trial: str
    sweep: str = ""
    arm: str = ""
    baseline: bool = False
    seed: int | None = None
    levels: Mapping[str, str] = _NOTHING
    status: Status = "new"
    cause: str = ""
    step: int | None = None
    steps: int | None = None
    attempts: int = 0
    train_seconds: float | None = None
    parameters: int | None = None
    training_gmacs: float | None = None
    dataset: str | None = None
    images: int | None = None
    dataset_images: int | None = None
    commit: str | None = None
    platform: str = ""
    continued_from: str = ""
    folder: str = ""
    setup: str = ""
    starts: Sequence[Mapping[str, Any]] = ()
    broken: str = ""
    metrics: Mapping[str, float] = _NOTHING


def describe_setup(trial: Trial) -> str:
    """Return the `setup` of a trial's record, which does not depend on the place of gin files."""
    return "\n".join([*map(os.path.basename, trial.gin_files), *trial.bindings])


class Source(Protocol):
    """A source of trials."""

    def axes(self) -> Sequence[str]:
        """Return the axes known from a plan, in the order of the sweep."""

    def trials(self) -> Iterable[TrialRecord]:
        """Return all trials in the order in which they are shown.

        Raises:
            UserError: If they cannot be read.
        """
