"""Continuation of trials from shorter ones, so that the steps of these are not taken again.

A finished trial has taken the first steps of a longer one if nothing that training uses differs but
`Training.steps`. If another setting follows the number of steps, such as a learning rate that falls
until the last one, it has not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.sweep.plan import PlannedTrial
from deepmac_ablate.trial import trial_files
from deepmac_ablate.trial.trial import trial_id
from deepmac_ablate.trial.trial_files import checkpoint_step, is_metric

STEPS = "Training.steps"
# Files of a trial's folder that tell what it is; the result comes last.
_FILES = ("trial.json", "config.gin", "result.json")


class Continuation(NamedTuple):
    """The trial that a longer one continues from.

    Attributes:
        source: Id of the shorter trial.
        step: Its last step.
    """

    source: str
    step: int


class _Shorter(NamedTuple):
    """A finished trial: its id, arm, seed and step, and the bindings that its training reached."""

    id: str
    arm: str
    seed: int
    step: int
    reached: Mapping[str, str]


def find_continuations(
    workdir: SweepWorkdir, trials: Sequence[PlannedTrial]
) -> dict[str, Continuation]:
    """Return the longest shorter trial in the workdir by the id of each trial that has one.

    Args:
        workdir: The workdir of the sweep.
        trials: The trials to continue from others; those that have a checkpoint are left out.

    Raises:
        UserError: If a shorter trial of the same arm and seed differs in a setting that follows the
            number of steps.
    """
    shorter = list(_read_finished(workdir))
    found: dict[str, Continuation] = {}
    reached: dict[str, dict[str, str]] = {}
    for planned in trials:
        trial, steps = planned.trial, planned.steps
        if steps is None or _last_checkpoint(workdir, planned.id) is not None:
            continue
        if trial.arm not in reached:
            read = bindings.read(trial.gin_files, trial.bindings)
            reached[trial.arm] = bindings.explicit_bindings(read.bindings)
        own = [each for each in shorter if each.seed == trial.seed and each.step < steps]
        same = [
            each for each in own
            if trial_id({**each.reached, STEPS: str(steps)}, trial.seed) == planned.id]
        if same:
            longest = max(same, key=lambda each: each.step)
            found[planned.id] = Continuation(longest.id, longest.step)
            continue
        for each in own:
            if each.arm == trial.arm:
                _check_schedule(each, trial.arm, reached[trial.arm], steps)
    return found


def describe_continuations(
    pending: Sequence[PlannedTrial], continuations: Mapping[str, Continuation]
) -> str:
    """Return which of the trials to be launched continue from others, in one line."""
    steps = Counter(
        continuations[planned.id].step for planned in pending if planned.id in continuations)
    parts = [
        f"{count_noun(number, 'trial continues', 'trials continue')} from a shorter one at step "
        f"{step}" for step, number in sorted(steps.items())]
    if rest := len(pending) - steps.total():
        parts.append(
            f"{count_noun(rest, 'trial has', 'trials have')} no finished shorter one that differs "
            "in nothing but the steps, or been started already")
    return f"{'; '.join(parts)}." if parts else "No trial is left to continue."


def copy_shorter_trial(workdir: SweepWorkdir, trial: str, continuation: Continuation) -> None:
    """Copy checkpoint, metrics and attempts of a shorter trial to a longer one that is prepared.

    The copied attempts name the shorter trial. The index of the checkpoint comes last: without it,
    training would begin at step 0.

    Raises:
        OSError: If a file cannot be read or written.
    """
    source, target = workdir.trial(continuation.source), workdir.trial(trial)
    evaluations = source.read_evaluations()
    result = source.read_result() or {}
    if evaluations and evaluations[-1].get("images") == result.get("images"):
        scalars = {name: result[name] for name in result if is_metric(name) or name == "images"}
        when = source.read_metrics()[-1]["wall_time"]
        evaluations.append({"step": continuation.step, "wall_time": when, **scalars})
    attempts = [{"trial": continuation.source, **start} for start in source.read_attempts()]
    for name, lines in (
            ("metrics.jsonl", source.read_metrics()), ("evaluations.jsonl", evaluations),
            ("attempts.jsonl", attempts)):
        if lines:
            file_io.write(target.path / name, "".join(f"{to_json(line)}\n" for line in lines))
    names = [
        path.name for path in source.checkpoints.iterdir()
        if path.name.startswith(f"ckpt-{continuation.step}.")]
    for name in sorted(names, key=lambda name: name.endswith(".index")):
        file_io.copy(source.checkpoints / name, target.checkpoints / name)


def _read_finished(workdir: SweepWorkdir) -> Iterator[_Shorter]:
    """Yield the finished trials of a workdir whose last checkpoint is there.

    Those with a broken file are passed over; other commands name them.
    """
    folder = f"{workdir.path}/trials"
    names = [entry.name for entry in file_io.list_folders([folder])[folder] if entry.is_folder]
    texts = file_io.read_many(
        [f"{folder}/{name}/{file}" for name in names for file in _FILES], unreadable={})
    parsed: dict[bytes, dict[str, str]] = {}
    for name in names:
        definition, config, result = (texts[f"{folder}/{name}/{file}"] for file in _FILES)
        if definition is None or config is None or result is None:
            continue
        try:
            step = trial_files.parse_result(result, name).get("step")
            _, trial = trial_files.parse_trial(definition, name)
            if config not in parsed:
                read = bindings.read([], [config.decode()])
                parsed[config] = bindings.explicit_bindings(read.bindings)
        except (UserError, UnicodeDecodeError):
            continue
        # An arm whose gin files have changed since still has the id of what it was trained with.
        if trial_id(parsed[config], trial.seed) == name and step == _last_checkpoint(workdir, name):
            yield _Shorter(name, trial.arm, trial.seed, step, parsed[config])


def _last_checkpoint(workdir: SweepWorkdir, trial: str) -> int | None:
    folder = f"{workdir.location(trial)}/checkpoints"
    entries = file_io.list_folders([folder], unreadable={})[folder]
    steps = [step for entry in entries if (step := checkpoint_step(entry.name)) is not None]
    return max(steps, default=None)


def _check_schedule(shorter: _Shorter, arm: str, reached: Mapping[str, str], steps: int) -> None:
    """Raise a UserError if nothing differs from a shorter trial but what follows the steps."""
    names = [
        name for name in {**shorter.reached, **reached}
        if name != STEPS and shorter.reached.get(name) != reached.get(name)]
    values = {(shorter.reached.get(name), reached.get(name)) for name in names}
    if values == {(str(shorter.step), str(steps))}:
        raise UserError(
            f"{arm} cannot continue from its trial {shorter.id} of {shorter.step} steps, as "
            f"{' and '.join(names)} follows the number of steps: the first {shorter.step} of "
            f"{steps} steps would have had another value. Leave --continue-from-shorter out to "
            "train from step 0, or bind what does not follow the steps, such as "
            "gin/schedules/constant.gin.")
