"""Which code, machines and data the numbers come from."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.launch import status_rows, trial_status
from deepmac_ablate.launch.status_rows import TrialRow
from deepmac_ablate.launch.supervision import attempt
from deepmac_ablate.storage.strict_json import from_json
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_UNKNOWN = "not known"
_COMMIT_DIGITS = 12


class Origin(NamedTuple):
    """Code and machine that trials were last started with.

    Attributes:
        trials: How many.
        commit: Of the code; "with changes" where these were not committed.
        code: Fingerprint of the sources.
        host: The machine.
        versions: Of the libraries.
    """

    trials: int
    commit: str
    code: str
    host: str
    versions: str


class Launch(NamedTuple):
    """A launch of a sweep: when, by which code, and the command."""

    time: str
    commit: str
    command: str


class Origins(NamedTuple):
    """All that is known of where the numbers come from.

    Attributes:
        code: Most trials first.
        states: How many trials are of other or mixed code.
        datasets: How many finished trials were evaluated on each dataset.
        launches: The first one first.
    """

    code: Sequence[Origin]
    states: Mapping[str, int]
    datasets: Mapping[str, int]
    launches: Sequence[Launch]


def read(frame: pd.DataFrame, workdirs: Sequence[str]) -> Origins:
    """Return the origins of a frame's trials, and the launches that the workdirs tell of.

    Raises:
        UserError: If a file is broken.
    """
    starts = Counter(_origin(folder) for folder in frame["folder"] if folder)
    starts.pop(None, None)
    finished = frame[frame["status"] == "finished"]
    datasets = finished["dataset"].fillna("").replace("", _UNKNOWN).value_counts()
    states = frame.loc[frame["code_state"].fillna("") != "", "code_state"].value_counts()
    return Origins(
        code=[Origin(count, *origin) for origin, count in starts.most_common()],
        states={str(name): int(count) for name, count in states.items()},
        datasets={str(name): int(count) for name, count in datasets.items()},
        launches=[launch for workdir in workdirs for launch in _launches(workdir)],
    )


def _origin(folder: str) -> tuple[str, str, str, str] | None:
    attempts = TrialWorkdir(folder).read_attempts()
    if not attempts:
        return None
    last = attempts[-1]
    versions = last.get("versions") or {}
    return (
        _commit(last), str(last.get("code") or _UNKNOWN), str(last.get("host") or _UNKNOWN),
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or _UNKNOWN)


def _launches(workdir: str) -> list[Launch]:
    folder = epath.Path(workdir) / "launches"
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.glob("*/provenance.json")):
        fields = from_json(storage.read(path) or b"", str(path))
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(fields.get("time", 0)))
        found.append(Launch(moment, _commit(fields), " ".join(fields.get("command", ()))))
    return found


def _commit(fields: Mapping[str, Any]) -> str:
    commit = fields.get("commit")
    if not commit:
        return _UNKNOWN
    return f"{commit[:_COMMIT_DIGITS]}{' with changes' if fields.get('dirty') else ''}"


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
    """Return the failed trials of a data frame in groups of one cause, the largest first."""
    failed = frame[frame["status"] == "failed"]
    groups = status_rows.group_failures(
        TrialRow(it.trial, it.arm, it.seed, "failed", cause=it.cause, log=it.folder)
        for it in failed[["trial", "arm", "seed", "cause", "folder"]].itertuples(index=False))
    return [
        Cause(group[0].cause or "no cause is known", len(group), list(_named(group)))
        for group in groups]


def _named(group: list[TrialRow]) -> Iterable[Failure]:
    for row in group[:_NAMED_AT_MOST]:
        yield Failure(row.id, row.arm, str(row.seed), _log(row.log))


def _log(folder: str) -> str:
    """Return the log of the last attempt, where there is one at hand."""
    last = trial_status.read_status(folder).attempt if folder else None
    return attempt.log_name(folder, last.role, last.number) if last else ""
