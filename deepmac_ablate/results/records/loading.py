"""What trials came to, from wherever they have left it, as one data frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import pandas as pd

from deepmac_ablate.results.records import frame, per_class_numbers, sweep_names
from deepmac_ablate.results.records.sources import opening
from deepmac_ablate.results.records.sources.record import Record


def load(*workdirs: str | os.PathLike[str], per_class: Sequence[str] = ()) -> pd.DataFrame:
    """Returns one row per trial, see `columns`.

    Args:
        *workdirs: The workdirs of sweeps, the folders of trials, both also on ``gs://``; offline
            files of W&B's or a folder of them; ``wandb:entity/project``.
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
    sources = [opening.find(os.fspath(workdir)) for workdir in workdirs]
    of_workdirs = [list(source.trials()) for source in sources]
    records = _once(sweep_names.told_apart(workdirs, of_workdirs))
    loaded = frame.of_records(records, [axis for source in sources for axis in source.axes()])
    return per_class_numbers.with_columns(loaded, per_class) if per_class else loaded


def _once(records: Iterable[Record]) -> list[Record]:
    """Returns each trial once, where it came first."""
    kept: dict[str, Record] = {}
    for record in records:
        other = kept.setdefault(record.trial, record)
        if other is not record:
            best, worse = sorted([other, record], key=_progress, reverse=True)
            kept[record.trial] = best._replace(levels={**worse.levels, **best.levels})
    return list(kept.values())


def _progress(record: Record) -> tuple[bool, int]:
    return record.status == "finished", record.step or 0
