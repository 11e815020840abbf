"""Origins of the numbers: code, machines, datasets and launches."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from deepmac_ablate.errors import BrokenFileWarning, UserError
from deepmac_ablate.safe_text import redact
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import (
    FLAG,
    TEXT,
    TIME,
    check_fields,
    from_json,
    list_of,
    optional,
)
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_UNKNOWN = "unknown"
_COMMIT_DIGITS = 12
_PROVENANCE = {
    "time": optional(TIME), "commit": optional(TEXT), "dirty": optional(FLAG),
    "command": optional(list_of(TEXT))}


class Origin(NamedTuple):
    """Code and machine of the latest start of some trials.

    Attributes:
        trials: Number of trials.
        commit: Commit of the code, marked if there were uncommitted changes.
        code: Fingerprint of the sources.
        host: Name of the machine.
        versions: Versions of the libraries.
    """

    trials: int
    commit: str
    code: str
    host: str
    versions: str


class Launch(NamedTuple):
    """Launch of a sweep: its time, the commit of its code, and the command."""

    time: str
    commit: str
    command: str


class Origins(NamedTuple):
    """Recorded origins of a report's numbers.

    Attributes:
        code: Code and machines, those of most trials first.
        states: Number of trials of other or mixed code, by state.
        datasets: Number of finished trials by the dataset that they were evaluated on.
        continued: By trial the shorter one that it continued from, with the step.
        launches: Launches, the oldest of each workdir first.
    """

    code: Sequence[Origin]
    states: Mapping[str, int]
    datasets: Mapping[str, int]
    continued: Mapping[str, str]
    launches: Sequence[Launch]


def read_origins(frame: pd.DataFrame, workdirs: Sequence[str]) -> Origins:
    """Read the origins of the trials in a data frame, and the launches recorded in workdirs.

    Issues a `BrokenFileWarning` for each launch that is left out because its file is broken.
    """
    starts = Counter(_read_origin(folder) for folder in frame["folder"] if folder)
    starts.pop(None, None)
    finished = frame[frame["status"] == "finished"]
    datasets = finished["dataset"].fillna("").replace("", _UNKNOWN).value_counts()
    states = frame.loc[frame["code_state"].fillna("") != "", "code_state"].value_counts()
    return Origins(
        code=[Origin(count, *origin) for origin, count in starts.most_common()],
        states={str(name): int(count) for name, count in states.items()},
        datasets={str(name): int(count) for name, count in datasets.items()},
        continued={
            row.trial: row.continued_from
            for row in frame[frame["continued_from"].fillna("") != ""].itertuples()},
        # A file of rows has none.
        launches=[
            launch for workdir in workdirs if not workdir.endswith(".csv")
            for launch in _read_launches(workdir)],
    )


def _read_origin(folder: str) -> tuple[str, str, str, str] | None:
    try:
        attempts = TrialWorkdir(folder).read_attempts()
    except UserError:
        # Reported when the trial was loaded.
        return None
    if not attempts:
        return None
    last = attempts[-1]
    versions = last.get("versions") or {}
    return (
        _commit(last), str(last.get("code") or _UNKNOWN), str(last.get("host") or _UNKNOWN),
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or _UNKNOWN)


def _read_launches(workdir: str) -> list[Launch]:
    folder = f"{workdir}/launches"
    launches = []
    try:
        names = [entry.name for entry in file_io.list_folders([folder])[folder] if entry.is_folder]
    except UserError as error:
        warnings.warn(f"Launches are left out: {error}", BrokenFileWarning, stacklevel=2)
        return []
    for name in names:
        path = f"{folder}/{name}/provenance.json"
        try:
            if (text := file_io.read(path)) is None:
                continue
            fields = from_json(text, path)
            check_fields(fields, _PROVENANCE, path)
        except UserError as error:
            warnings.warn(f"A launch is left out: {error}", BrokenFileWarning, stacklevel=2)
            continue
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(fields.get("time") or 0))
        command = redact(" ".join(fields.get("command") or ()))
        launches.append(Launch(moment, _commit(fields), command))
    return launches


def _commit(fields: Mapping[str, Any]) -> str:
    commit = fields.get("commit")
    if not commit:
        return _UNKNOWN
    return f"{commit[:_COMMIT_DIGITS]}{' (uncommitted changes)' if fields.get('dirty') else ''}"
