"""Sources for sweep workdirs and single trial folders, on a disk or on ``gs://``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from deepmac_ablate.errors import BrokenFileWarning, UserError
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.progress import track
from deepmac_ablate.results.loading.record_cache import (
    CachedTrial,
    file_stamps,
    read_cache,
    write_cache,
)
from deepmac_ablate.results.loading.source import TrialRecord, describe_setup
from deepmac_ablate.results.loading.trial_folder import read_trial_folder, read_trial_folders
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost, parse_costs


class TrialFolderSource:
    """A source of one trial, which may belong to a sweep.

    Args:
        folder: A folder that contains trial.json.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder.rstrip("/")

    def axes(self) -> Sequence[str]:
        """Return none; see `Source`."""
        return ()

    def trials(self) -> Iterable[TrialRecord]:
        """Return the trial, see `Source`."""
        record = read_trial_folder(self._folder)
        return [] if record is None else [record]


class SweepWorkdirSource:
    """A source of all trials in a sweep's workdir and all trials of its plan.

    Args:
        path: A folder that contains plan.json or trials/.

    Raises:
        UserError: If plan.json is broken.
    """

    def __init__(self, path: str) -> None:
        self._path = path.rstrip("/")
        self._plan = _read_plan(self._path)

    def axes(self) -> Sequence[str]:
        """Return the axes of the plan, see `Source`."""
        return tuple(self._plan.axes) if self._plan else ()

    def trials(self) -> Iterable[TrialRecord]:
        """Return the trials in the order of the plan, then the others by arm and seed."""
        costs = _read_costs(self._path)
        found = {record.trial: record for record in self._read_records()}
        records = []
        if self._plan:
            records = [
                _with_plan(found.pop(planned.id, None), self._plan, planned)
                for planned in self._plan.trials]
            found = {
                trial: record._replace(baseline=record.arm == self._plan.baseline)
                for trial, record in found.items()}
        others = sorted(
            found.values(),
            key=lambda other: (other.arm, -1 if other.seed is None else other.seed, other.trial))
        return [_with_cost(record, costs.get(record.trial)) for record in [*records, *others]]

    def _read_records(self) -> list[TrialRecord]:
        folder = f"{self._path}/trials"
        planned = {trial.id for trial in self._plan.trials} if self._plan else set()
        # A file in place of a planned trial's folder is reported; other files are not of a sweep.
        names = [
            entry.name for entry in file_io.list_folders([folder])[folder]
            if entry.is_folder or entry.name in planned]
        return (_read_remote if file_io.is_remote(folder) else _read_local)(self._path, names)


def _read_remote(workdir: str, names: Sequence[str]) -> list[TrialRecord]:
    folders = [f"{workdir}/trials/{name}" for name in names]
    records = track(read_trial_folders(folders), len(folders), "Reading trials")
    return [record for record in records if record is not None]


def _read_local(workdir: str, names: Sequence[str]) -> list[TrialRecord]:
    """Return the records of trials, of finished ones from the cache unless they have changed."""
    cached = read_cache(workdir)
    finished: dict[str, CachedTrial] = {}
    records = []
    for name in names:
        folder = f"{workdir}/trials/{name}"
        # Taken before the files are read, so that a change meanwhile is noticed next time.
        stamps = file_stamps(folder)
        trial = cached.get(name)
        if trial is None or trial.stamps != stamps:
            record = read_trial_folder(folder)
            if record is None:
                continue
            trial = CachedTrial(stamps, record)
        if trial.record.status == "finished" and not trial.record.broken:
            finished[name] = trial
        records.append(trial.record._replace(folder=folder))
    if finished.keys() != cached.keys() or any(
            trial is not cached[name] for name, trial in finished.items()):
        write_cache(workdir, finished)
    return records


def _read_plan(path: str) -> Plan | None:
    if file_io.read(f"{path}/plan.json") is None:
        return None
    return SweepWorkdir(path).read_plan()


def _with_plan(record: TrialRecord | None, plan: Plan, planned: PlannedTrial) -> TrialRecord:
    """Return a record with the names that the plan gives the trial."""
    record = record or TrialRecord(planned.id)
    return record._replace(
        sweep=plan.name, arm=planned.trial.arm, baseline=planned.trial.arm == plan.baseline,
        seed=planned.trial.seed, levels=planned.levels, setup=describe_setup(planned.trial),
        steps=planned.steps if record.steps is None else record.steps)


def _read_costs(path: str) -> dict[str, Cost]:
    """Return the costs by trial; those of a broken file or entry are unknown."""
    path = f"{path}/costs.json"
    try:
        text = file_io.read(path)
        costs, problem = ({}, "") if text is None else parse_costs(text, path)
    except UserError as error:
        costs, problem = {}, str(error)
    if problem:
        warnings.warn(f"Costs are left out: {problem}", BrokenFileWarning, stacklevel=2)
    return costs


def _with_cost(record: TrialRecord, cost: Cost | None) -> TrialRecord:
    if cost is None:
        return record
    return record._replace(parameters=cost.parameters, training_gmacs=cost.training_gmacs)
