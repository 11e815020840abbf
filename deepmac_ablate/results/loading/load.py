"""Results of trials from any number of sources, as one data frame."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from deepmac_ablate.errors import BrokenFileWarning, UserError, count_noun, did_you_mean
from deepmac_ablate.results import columns
from deepmac_ablate.results.formats import join_names
from deepmac_ablate.results.loading.find_source import find_source
from deepmac_ablate.results.loading.frame import frame_of_records
from deepmac_ablate.results.loading.per_class import add_per_class_columns
from deepmac_ablate.results.loading.source import TrialRecord
from deepmac_ablate.storage import file_io
from deepmac_ablate.trial import trial_files

Workdirs = Sequence[str | os.PathLike[str]]


def load(
    *workdirs: str | os.PathLike[str], per_class: Sequence[str] = (), evaluation: str | None = None
) -> pd.DataFrame:
    """Return one row per trial, see `columns`.

    Issues a `BrokenFileWarning` for each other file that is broken or cannot be read. What is in it
    counts as unknown; a trial without a valid result is not finished.

    Args:
        *workdirs: Sweep workdirs and trial folders, on a disk or on ``gs://``, files that
            ``deepmac-ablate rows`` has written (``trials.csv``), and W&B projects as
            ``wandb:entity/project``.
        per_class: Metrics to add for each class, such as "groundtruth/iou", which adds the columns
            `groundtruth/iou/class:<name of the class>`.
        evaluation: Name of another evaluation of the finished trials, a folder in `evaluations` of
            each, see `deepmac-ablate evaluate`. The metrics, `dataset`, `images`,
            `dataset_images` and `folder` are then those of this evaluation, and missing where a
            trial has none.

    Returns:
        Trials in the order of their sweep's plan, workdir by workdir. A trial that is in several
        workdirs has one row: the finished one, else the one with the most steps, with its levels in
        all of them; `arms.group_by_arm` counts it in all of its sweeps. If two workdirs of a sweep
        have different trials for the same arm and seed, other bindings for the same arm, or
        different baselines, they count as two sweeps, and the workdir is added to the sweep's name.

    Raises:
        UserError: If one of the sources has no results, a plan is broken, or no trial has the
            evaluation.
    """
    sources = [find_source(os.fspath(workdir)) for workdir in workdirs]
    records_by_workdir = [list(source.trials()) for source in sources]
    found = list(disambiguate_sweeps(workdirs, records_by_workdir))
    records = _deduplicate(found)
    if evaluation is not None:
        records = _with_evaluation(records, evaluation)
    for record in records:
        if record.broken:
            warnings.warn(record.broken, BrokenFileWarning, stacklevel=2)
    frame = frame_of_records(records, [axis for source in sources for axis in source.axes()])
    frame.attrs[columns.OTHER_PLACES] = _other_places(found, records)
    return add_per_class_columns(frame, per_class) if per_class else frame


def disambiguate_sweeps(
    workdirs: Workdirs, records_by_workdir: Sequence[Sequence[TrialRecord]]
) -> Iterator[TrialRecord]:
    """Yield all records; adds the workdir to the name of a sweep that differs between workdirs.

    Args:
        workdirs: The workdirs that were read.
        records_by_workdir: The records of each workdir.
    """
    # By what should be the same in all workdirs of a sweep: the number of the first workdir that
    # has each of the values.
    first: dict[tuple[str, ...], dict[str, int]] = {}
    for number, records in enumerate(records_by_workdir):
        for record in records:
            sweep, arm = record.sweep, record.arm
            first.setdefault((sweep, arm, str(record.seed)), {}).setdefault(record.trial, number)
            if record.setup:
                first.setdefault((sweep, arm), {}).setdefault(record.setup, number)
            if record.baseline:
                first.setdefault((sweep,), {}).setdefault(arm, number)
    ambiguous = {key[0] for key, numbers in first.items() if len(set(numbers.values())) > 1}
    for workdir, records in zip(workdirs, records_by_workdir, strict=True):
        for record in records:
            if record.sweep and record.sweep in ambiguous:
                yield record._replace(sweep=name_with_workdir(record.sweep, workdir, workdirs))
            else:
                yield record


def name_with_workdir(sweep: str, workdir: str | os.PathLike[str], workdirs: Workdirs) -> str:
    """Return the name of a sweep followed by its workdir, as "heads (runs2)".

    Args:
        sweep: The sweep's name.
        workdir: The sweep's workdir.
        workdirs: All workdirs that are read together; the last part of the path is enough if it is
            unique among them.
    """
    def last_part(path: str | os.PathLike[str]) -> str:
        return os.fspath(path).rstrip("/").rpartition("/")[2]

    same_name = [path for path in workdirs if last_part(path) == last_part(workdir)]
    return f"{sweep} ({last_part(workdir) if len(same_name) == 1 else os.fspath(workdir)})"


def _deduplicate(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return one record per trial, in order of first appearance."""
    kept: dict[str, TrialRecord] = {}
    for record in records:
        other = kept.setdefault(record.trial, record)
        if other is not record:
            best, worse = sorted([other, record], key=_progress, reverse=True)
            kept[record.trial] = best._replace(levels={**worse.levels, **best.levels})
    return list(kept.values())


def _other_places(
    found: Iterable[TrialRecord], records: Iterable[TrialRecord]
) -> dict[str, list[dict[str, Any]]]:
    """Return the sweep, arm and baseline of trials in the sweeps that their records do not name."""
    kept = {record.trial: record for record in records}
    places: dict[str, dict[str, dict[str, Any]]] = {}
    for record in found:
        if record.sweep != kept[record.trial].sweep:
            place = {"sweep": record.sweep, "arm": record.arm, "baseline": record.baseline}
            places.setdefault(record.trial, {}).setdefault(record.sweep, place)
    return {trial: list(by_sweep.values()) for trial, by_sweep in places.items()}


def _with_evaluation(records: Sequence[TrialRecord], name: str) -> list[TrialRecord]:
    """Return records with the numbers of another evaluation.

    Raises:
        UserError: If no trial has it; the message lists those that there are.
    """
    folders = {
        record.trial: f"{record.folder}/evaluations/{name}" for record in records
        if record.status == "finished" and record.folder}
    paths = {f"{folder}/result.json": folder for folder in folders.values()}
    contents = file_io.read_many(paths, unreadable=(problems := {}))
    found: dict[str, Mapping[str, Any]] = {}
    for path, text in contents.items():
        try:
            if text is not None:
                found[paths[path]] = trial_files.parse_result(text, path)
        except UserError as error:
            problems[path] = str(error)
    for problem in problems.values():
        warnings.warn(problem, BrokenFileWarning, stacklevel=3)
    if not found:
        entries = file_io.list_folders(f"{record.folder}/evaluations" for record in records)
        names = sorted({entry.name for listed in entries.values() for entry in listed})
        known = f"; there are {', '.join(names)}" if names else ""
        raise UserError(
            f"No finished trial has the evaluation {name!r}{known}.{did_you_mean(name, names)} "
            "'deepmac-ablate evaluate' makes it.")
    if missing := [trial for trial, folder in folders.items() if folder not in found]:
        warnings.warn(
            f"{count_noun(len(missing), 'finished trial')} without the evaluation {name!r}: "
            f"{join_names(missing)}. Run 'deepmac-ablate evaluate' with the same options again.",
            BrokenFileWarning, stacklevel=3)
    evaluated = []
    for record in records:
        folder = folders.get(record.trial, "")
        if (fields := found.get(folder)) is None:
            evaluated.append(record._replace(metrics={}, folder=""))
            continue
        about = {name: fields.get(name) for name in ("dataset", "images", "dataset_images")}
        evaluated.append(record._replace(
            metrics=trial_files.result_metrics(fields), folder=folder, **about))
    return evaluated


def _progress(record: TrialRecord) -> tuple[bool, int]:
    return record.status == "finished", record.step or 0
