"""Trials in folders: a sweep's workdir, or one trial alone; on a disk or on ``gs://``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from deepmac_ablate import storage
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.progress import track
from deepmac_ablate.results.loading import cache, trial_folder
from deepmac_ablate.results.loading.source import Record
from deepmac_ablate.storage.strict_json import from_json
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost


class Trial:
    """A source of one trial, trained in a folder of its own or in a sweep's.

    Args:
        folder: With trial.json in it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder.rstrip("/")

    def axes(self) -> Sequence[str]:
        """Return none; see `Source`."""
        return ()

    def trials(self) -> Iterable[Record]:
        """Return the trial, see `Source`."""
        record = trial_folder.read(self._folder)
        return [] if record is None else [record]


class Workdir:
    """A source of all trials that were ever launched in a sweep's workdir, and of the missing ones.

    Args:
        path: With plan.json or trials/ in it.

    Raises:
        UserError: If plan.json is broken.
    """

    def __init__(self, path: str) -> None:
        self._path = path.rstrip("/")
        self._plan = _plan(self._path)

    def axes(self) -> Sequence[str]:
        """Return the axes of the plan, see `Source`."""
        return tuple(self._plan.axes) if self._plan else ()

    def trials(self) -> Iterable[Record]:
        """Return the trials in the order of the plan, then the others by arm and seed.

        Raises:
            UserError: If costs.json is broken.
        """
        costs = _costs(self._path)
        there = {record.trial: record for record in self._read()}
        records = []
        if self._plan:
            records = [_planned(self._plan, it, there.pop(it.id, None)) for it in self._plan.trials]
            there = {
                trial: record._replace(baseline=record.arm == self._plan.baseline)
                for trial, record in there.items()}
        others = sorted(
            there.values(), key=lambda it: (it.arm, -1 if it.seed is None else it.seed, it.trial))
        return [_with_cost(record, costs.get(record.trial)) for record in [*records, *others]]

    def _read(self) -> list[Record]:
        folder = f"{self._path}/trials"
        names = [entry.name for entry in storage.list_folders([folder])[folder]]
        return (_at_once if storage.is_remote(folder) else _through_cache)(self._path, names)


def _at_once(workdir: str, names: Sequence[str]) -> list[Record]:
    folders = [f"{workdir}/trials/{name}" for name in names]
    read = track(trial_folder.read_many(folders), len(folders), "Reading trials")
    return [record for record in read if record is not None]


def _through_cache(workdir: str, names: Sequence[str]) -> list[Record]:
    kept = cache.load(workdir)
    now: dict[str, cache.Entry] = {}
    records = []
    for name in names:
        folder = f"{workdir}/trials/{name}"
        # Before the files are read, so that what changes meanwhile is read again next time.
        stamps = cache.stamps(folder)
        entry = kept.get(name)
        if entry is None or entry.stamps != stamps:
            record = trial_folder.read(folder)
            if record is None:
                continue
            entry = cache.Entry(stamps, record)
        if entry.record.status == "finished":
            now[name] = entry
        records.append(entry.record._replace(folder=folder))
    if now.keys() != kept.keys() or any(now[name] is not kept[name] for name in now):
        cache.save(workdir, now)
    return records


def _plan(path: str) -> Plan | None:
    if storage.read(f"{path}/plan.json") is None:
        return None
    return SweepWorkdir(path).read_plan()


def _planned(plan: Plan, planned: PlannedTrial, record: Record | None) -> Record:
    """Return a trial under the names that the plan has for it."""
    record = record or Record(planned.id)
    return record._replace(
        sweep=plan.name, arm=planned.trial.arm, baseline=planned.trial.arm == plan.baseline,
        seed=planned.trial.seed, levels=planned.levels,
        steps=planned.steps if record.steps is None else record.steps)


def _costs(path: str) -> dict[str, Any]:
    text = storage.read(f"{path}/costs.json")
    return {} if text is None else from_json(text, f"{path}/costs.json")


def _with_cost(record: Record, fields: Any) -> Record:  # noqa: ANN401 - JSON
    try:
        cost = Cost.from_json(fields)
    except TypeError:
        # None, or one of another version.
        return record
    return record._replace(parameters=cost.parameters, training_gmacs=cost.training_gmacs)
