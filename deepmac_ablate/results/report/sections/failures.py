"""Trials that failed, by cause, and where to read what they said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from deepmac_ablate.sweep import attempt, rows, standing
from deepmac_ablate.sweep.rows import TrialRow

# Beyond so many of one cause, more names tell nothing.
_NAMED_AT_MOST = 8


class Failure(NamedTuple):
    """A failed trial and its log."""

    trial: str
    arm: str
    seed: str
    log: str


class Cause(NamedTuple):
    """Why trials failed: the words of the first, how many there are, and some of them."""

    sentence: str
    count: int
    failures: list[Failure]


def causes(frame: pd.DataFrame) -> list[Cause]:
    """Returns the failed trials of a data frame in groups of one cause, the largest first."""
    failed = frame[frame["status"] == "failed"]
    groups = rows.failures(
        TrialRow(it.trial, it.arm, it.seed, "failed", cause=it.cause, log=it.folder)
        for it in failed[["trial", "arm", "seed", "cause", "folder"]].itertuples(index=False))
    return [
        Cause(group[0].cause or "no cause is known", len(group), list(_named(group)))
        for group in groups]


def _named(group: list[TrialRow]) -> Iterable[Failure]:
    for row in group[:_NAMED_AT_MOST]:
        yield Failure(row.id, row.arm, str(row.seed), _log(row.log))


def _log(folder: str) -> str:
    """Returns the log of the last attempt, where there is one at hand."""
    last = standing.of_folder(folder).attempt if folder else None
    return attempt.log_name(folder, last.role, last.number) if last else ""
