"""Finished trials whose evaluation settings have changed since; they are not part of a trial's id.

A trial's config.gin has the settings that it was evaluated with.
"""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from deepmac_ablate import bindings
from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.errors import UserError, count_noun, inflect
from deepmac_ablate.launch.status_rows import TrialRow
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.trial.trial_files import is_metric

_BOX_SOURCES, _PREFIX = "Evaluation.box_sources", "EvaluationData.prefix"
_IMAGES = "Evaluation.images"
# They leave the numbers of a finished trial as they are.
_WITHOUT_EFFECT = {
    "Evaluation.every", "Evaluation.overlays", "Evaluation.images_during_training",
    "EvaluationData.batch_size"}
_MOST_IDS = 5
_SECTION = re.compile(r"^# Parameters for (.*):$", re.MULTILINE)

# The values before and now by the name of the parameter; None for a default.
_Changes = dict[str, tuple[str | None, str | None]]


def describe_changes(workdir: SweepWorkdir, plan: Plan, rows: Sequence[TrialRow]) -> list[str]:
    """Return a sentence for each change of evaluation settings, with the trials it concerns.

    Settings that leave the numbers as they are do not count, nor does the path of a dataset.

    Args:
        workdir: The workdir of the sweep.
        plan: The sweep as it is now.
        rows: The status of the plan's trials.
    """
    finished = {row.id for row in rows if row.status == "finished"}
    paths = {name: f"{workdir.location(name)}/config.gin" for name in finished}
    texts = file_io.read_many(paths.values(), unreadable={})
    wanted: dict[str, Mapping[str, str]] = {}
    groups: dict[str, tuple[_Changes, list[str]]] = {}
    for planned in plan.trials:
        if planned.id not in finished or (text := texts[paths[planned.id]]) is None:
            continue
        # Broken files have sentences of their own.
        with contextlib.suppress(UserError, UnicodeDecodeError):
            arm = planned.trial.arm
            if arm not in wanted:
                read = bindings.read(planned.trial.gin_files, planned.trial.bindings)
                wanted[arm] = _settings(read.bindings)
            now = wanted[arm]
            before = _read_settings(text.decode(), {name.rpartition(".")[0] for name in now})
            changes = {
                name: (before.get(name), now.get(name)) for name in sorted({*before, *now})
                if before and before.get(name) != now.get(name)}
            if changes and (result := workdir.trial(planned.id).read_result()):
                changes = dict(_drop_same(changes, result))
            if changes:
                groups.setdefault(repr(changes), (changes, []))[1].append(planned.id)
    return [_sentence(workdir, changes, trials) for changes, trials in groups.values()]


def _settings(bound: Sequence[bindings.Binding]) -> dict[str, str]:
    """Return the settings of an evaluation by names without modules, as canonical text."""
    return {
        name: binding.canonical_value
        for binding in bindings.reachable_bindings(bound, "Evaluation").values()
        if (name := f"{binding.short_selector}.{binding.parameter}") not in _WITHOUT_EFFECT}


def _read_settings(config: str, configurables: Collection[str]) -> dict[str, str]:
    """Return the settings in a config.gin; the other sections, which take long, are not parsed."""
    first, *sections = _SECTION.split(config)
    for name, body in zip(sections[::2], sections[1::2], strict=True):
        if re.split(r"[./]", name)[-1] in {"Evaluation", *configurables}:
            first += body
    return _settings(bindings.read([], [first]).bindings)


def _drop_same(
    changes: _Changes, result: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    """Yield the changes that the result does not have already: a default may be bound, too."""
    for name, (before, now) in changes.items():
        same = False
        if name == _BOX_SOURCES and now is not None:
            evaluated = sorted({name.partition("/")[0] for name in result if is_metric(name)})
            same = sorted(set(ast.literal_eval(now))) == evaluated
            before = before or repr(evaluated)
        elif name == _PREFIX and now is not None:
            with contextlib.suppress(UserError):
                same = DatasetInfo.load(ast.literal_eval(now)).identity == result.get("dataset")
        elif name == _IMAGES and (most := result.get("dataset_images")):
            same = min(_images(now) or most, most) == result.get("images")
        if not same:
            yield name, (before, now)


def _sentence(workdir: SweepWorkdir, changes: _Changes, trials: Sequence[str]) -> str:
    settings = ", ".join(
        f"{name} = {_shown(before)} (now {_shown(now)})"
        for name, (before, now) in changes.items())
    options = []
    if sources := changes.get(_BOX_SOURCES, ("", None))[1]:
        options += [f"--box-source {shlex.quote(name)}" for name in ast.literal_eval(sources)]
    if prefix := changes.get(_PREFIX, ("", None))[1]:
        options.append(f"--data {shlex.quote(ast.literal_eval(prefix))}")
    if _IMAGES in changes:
        options.append(f"--images {_images(changes[_IMAGES][1]) or 'all'}")
    again = ""
    if changes.keys() <= {_BOX_SOURCES, _PREFIX, _IMAGES} and options:
        folder = shlex.quote(str(workdir.path))
        again = (
            f"evaluate them again with `deepmac-ablate evaluate --workdir {folder} "
            f"{' '.join(options)}`, which writes beside their results, or ")
    more = f" and {len(trials) - _MOST_IDS} more" if len(trials) > _MOST_IDS else ""
    were = inflect(len(trials), "was", "were")
    return (
        f"{count_noun(len(trials), 'finished trial')} {were} evaluated with other settings: "
        f"{settings}; {again}delete their result.json and launch the sweep again, which evaluates "
        f"their last checkpoints ({', '.join(trials[:_MOST_IDS])}{more}).")


def _images(value: str | None) -> int | None:
    return None if value is None else ast.literal_eval(value)


def _shown(value: str | None) -> str:
    return "its default" if value is None else textwrap.shorten(value, 100, placeholder=" ...")
