"""What trials came to, from wherever they have left it, as one data frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from deepmac_ablate.results.loading import find_source, frame
from deepmac_ablate.results.loading import per_class as per_class_numbers
from deepmac_ablate.results.loading.source import Record


def load(*workdirs: str | os.PathLike[str], per_class: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per trial, see `columns`.

    Args:
        *workdirs: The workdirs of sweeps, the folders of trials, both also on ``gs://``;
            ``wandb:entity/project``.
        per_class: Numbers to have for each class too, such as "groundtruth/iou", which gives
            columns `groundtruth/iou/class:<name of the class>`.

    Returns:
        Trials in the order of their sweep's plan, workdir by workdir. One that is in several is
        there once: finished if it is so anywhere, else as it has come furthest; with the levels
        that it has in all of them. Where two workdirs of a sweep have other trials for the same arm
        and seed, as after a launch with other bindings, the sweep's name has the workdir's behind
        it: they are two sweeps.

    Raises:
        UserError: If there are no results in one of the places, or a plan is broken. A trial whose
            files are broken is a row that says so.
    """
    sources = [find_source.find(os.fspath(workdir)) for workdir in workdirs]
    of_workdirs = [list(source.trials()) for source in sources]
    records = _once(told_apart(workdirs, of_workdirs))
    loaded = frame.of_records(records, [axis for source in sources for axis in source.axes()])
    return per_class_numbers.with_columns(loaded, per_class) if per_class else loaded


def _once(records: Iterable[Record]) -> list[Record]:
    """Return each trial once, where it came first."""
    kept: dict[str, Record] = {}
    for record in records:
        other = kept.setdefault(record.trial, record)
        if other is not record:
            best, worse = sorted([other, record], key=_progress, reverse=True)
            kept[record.trial] = best._replace(levels={**worse.levels, **best.levels})
    return list(kept.values())


def _progress(record: Record) -> tuple[bool, int]:
    return record.status == "finished", record.step or 0


Workdirs = Sequence[str | os.PathLike[str]]


def told_apart(
    workdirs: Workdirs, of_workdirs: Sequence[Sequence[Record]]
) -> Iterator[Record]:
    """Yield all records; a sweep that is another one in another workdir has the workdir's name.

    Args:
        workdirs: What was read.
        of_workdirs: The records of each.
    """
    trials: dict[tuple[str, str, int | None], dict[str, int]] = {}
    for number, records in enumerate(of_workdirs):
        for record in records:
            first = trials.setdefault((record.sweep, record.arm, record.seed), {})
            first.setdefault(record.trial, number)
    twofold = {sweep for (sweep, *_), first in trials.items() if len(set(first.values())) > 1}
    for workdir, records in zip(workdirs, of_workdirs, strict=True):
        for record in records:
            if record.sweep and record.sweep in twofold:
                yield record._replace(sweep=with_workdir(record.sweep, workdir, workdirs))
            else:
                yield record


def with_workdir(sweep: str, workdir: str | os.PathLike[str], workdirs: Workdirs) -> str:
    """Return what a sweep is called that is another one in another workdir.

    Args:
        sweep: Its name.
        workdir: Where it is.
        workdirs: All that are read together; the last part of the path stands for it where no
            other ends in the same.
    """
    def last_part(path: str | os.PathLike[str]) -> str:
        return os.fspath(path).rstrip("/").rpartition("/")[2]

    alike = [it for it in workdirs if last_part(it) == last_part(workdir)]
    return f"{sweep} ({last_part(workdir) if len(alike) == 1 else os.fspath(workdir)})"
