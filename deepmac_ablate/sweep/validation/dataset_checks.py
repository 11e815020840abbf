"""Checks of configurations against the datasets that are in reach; no records are read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from deepmac_ablate import class_splits
from deepmac_ablate.data.class_agreement import check_agreement, describe_missing
from deepmac_ablate.data.dataset_info import DatasetInfo, info_path
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.model_classes import dataset_classes
from deepmac_ablate.sweep.validation.validation_result import DataRequirements, ValidationResult
from deepmac_ablate.training.data_checks import check_initial_classes


def check_datasets(results: Sequence[ValidationResult]) -> list[ValidationResult]:
    """Return results with the problems of their datasets added.

    Args:
        results: Results without anything about datasets.

    Returns:
        The results with further problems where classes do not fit or a dataset is incomplete, and
        with the prefixes of datasets out of reach. These are no problem, as a plan may be made on a
        machine without the data.
    """
    # Arms of a sweep mostly share their datasets, which may be on a bucket.
    load = _remember(_load_info)
    check = _remember(lambda data: _check(data, load))
    checked = []
    for result in results:
        if result.data is None:
            checked.append(result)
            continue
        found = check(result.data)
        checked.append(dataclasses.replace(
            result, problems=(*result.problems, *found.problems), data_out_of_reach=found.missing,
            data_notes=found.notes))
    return checked


class _Findings(NamedTuple):
    """Problems with the datasets, prefixes of those out of reach, and further notes."""

    problems: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def _remember(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that calls another once per argument; arguments may be unhashable."""
    known: dict[str, Any] = {}

    def remembering(argument: Any) -> Any:  # noqa: ANN401
        key = repr(argument)
        if key not in known:
            known[key] = function(argument)
        return known[key]

    return remembering


def _load_info(prefix: str) -> DatasetInfo | str | None:
    """Return the dataset's info, or the problem with it, or None if it is out of reach."""
    try:
        return DatasetInfo.load(prefix) if info_path(prefix).exists() else None
    except OSError:
        # A bucket without credentials, permissions or network.
        return None
    except UserError as problem:
        return str(problem)


def _check(
    data: DataRequirements, load: Callable[[str], DatasetInfo | str | None]
) -> _Findings:
    problems: list[str] = []
    notes: list[str] = []
    missing: list[str] = []
    infos = {prefix: load(prefix) for prefix in dict.fromkeys((data.train, data.evaluation))}
    for prefix, info in infos.items():
        if info is None:
            missing.append(prefix)
        elif isinstance(info, str):
            problems.append(info)
        else:
            problems += _class_problems(data, info)
            if prefix == data.train:
                problems += _declaration_problems(data, info) + _mask_problems(data, info)
                problems += _initial_problems(data, info)
                if data.max_instances is not None:
                    notes.append(info.describe_dropped(data.max_instances))
    train, evaluation = infos[data.train], infos[data.evaluation]
    if isinstance(train, DatasetInfo) and isinstance(evaluation, DatasetInfo):
        problems += _messages(lambda: check_agreement(
            data.train, train.names, data.evaluation, evaluation.names))
        notes.append(describe_missing(data.train, train.names, data.evaluation, evaluation.names))
    if len(missing) == len({data.train, data.evaluation}):
        problems += _messages(lambda: class_splits.check_name(data.seen_classes))
    return _Findings(
        tuple(dict.fromkeys(problems)), tuple(missing), tuple(note for note in notes if note))


def _class_problems(data: DataRequirements, info: DatasetInfo) -> list[str]:
    return _messages(
        lambda: class_splits.resolve(data.seen_classes, info.categories),
        lambda: info.check_num_classes(data.num_classes))


def _declaration_problems(data: DataRequirements, info: DatasetInfo) -> list[str]:
    # Only the fingerprint identifies a dataset; the name is for readers.
    if data.declared is None or data.declared.rpartition("@")[2] == info.fingerprint:
        return []
    return [
        f"{data.train} is the dataset {info.identity}, but TrainingData.dataset = "
        f"{data.declared!r} declares another one; bind {info.identity!r}, which makes a different "
        "trial, or None."]


def _initial_problems(data: DataRequirements, info: DatasetInfo) -> list[str]:
    if data.init_checkpoint is None:
        return []
    return _messages(lambda: check_initial_classes(
        data.init_checkpoint, data.init_parts,
        dataset_classes(info.categories, data.seen_classes), data.train))


def _mask_problems(data: DataRequirements, info: DatasetInfo) -> list[str]:
    try:
        seen_ids = class_splits.resolve(data.seen_classes, info.categories)
    except UserError:
        # One of `_class_problems`.
        return []
    if not data.needs_masks:
        return []
    return _messages(lambda: info.check_masks(seen_ids, data.seen_classes))


def _messages(*checks: Callable[[], object]) -> list[str]:
    """Return the messages of the checks that fail."""
    problems = []
    for check in checks:
        try:
            check()
        except UserError as problem:
            problems.append(str(problem))
    return problems
