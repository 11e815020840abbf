"""What a source of results says of one trial, and what a source is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from deepmac_ablate.launch.status_rows import Status

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Record(NamedTuple):
    """A trial as a source knows it; most fields are the columns of the same name.

    Attributes:
        trial: See `columns.FIXED`, as all others that are not named here.
        sweep: See there.
        arm: See there.
        baseline: See there.
        seed: See there; None where it is not known.
        levels: The name of the level by the name of each axis.
        status: See there.
        cause: See there.
        step: See there; None where none is noted.
        steps: See there; None where it is not known.
        attempts: See there.
        train_seconds: See there; None where it is not known.
        parameters: See there; None where it is not known.
        training_gmacs: See there; None where it is not known.
        dataset: See there; None where it is not known.
        commit: See there; None where it is not known.
        folder: See there.
        starts: What `provenance.code_state` needs of each start; empty where it is not known.
        metrics: Numbers in [0, 1] by `<reading>/<metric>/<classes>`, NaN where one is undefined;
            none at all unless the trial is finished.
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
    commit: str | None = None
    folder: str = ""
    starts: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, float] = _NOTHING


class Source(Protocol):
    """Trials that somebody has kept."""

    def axes(self) -> Sequence[str]:
        """Return the axes that are known beforehand, in the order of their sweep."""

    def trials(self) -> Iterable[Record]:
        """Return all trials, in the order in which they are to be shown.

        Raises:
            UserError: If they cannot be had.
        """


def is_metric(name: str) -> bool:
    """Whether a name is that of a number by classes, `<reading>/<metric>/<classes>`."""
    return name.count("/") >= 2
