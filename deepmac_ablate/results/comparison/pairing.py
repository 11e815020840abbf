"""The two sides of a comparison, which are arms or single trials, and their common seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results.arms import ArmTrials, group_by_arm
from deepmac_ablate.results.loading.load import name_with_workdir
from deepmac_ablate.storage import file_io

Trials = Mapping[int, Mapping[str, Any]]


class Sides(NamedTuple):
    """Two arms or trials that are compared.

    Attributes:
        a: The name of the first side.
        b: The name of the second side.
        trials_a: The finished trials of the first side by seed, as rows of the data frame.
        trials_b: The finished trials of the second side.
        paired: True if trials are compared seed by seed, because the sides share seeds.
        unpaired_reason: Why they are not, as the end of a sentence; empty if they are.
        left_out: Seeds that were dropped because only one side has them.
        others: Ids of trials with the label of an arm that do not fit it, see `arms.Arms`.
    """

    a: str
    b: str
    trials_a: Trials
    trials_b: Trials
    paired: bool
    left_out: tuple[int, ...]
    others: tuple[str, ...]
    unpaired_reason: str = ""

    @property
    def trials(self) -> list[Mapping[str, Any]]:
        """The trials of both sides."""
        return [*self.trials_a.values(), *self.trials_b.values()]


def pair_sides(
    frame: pd.DataFrame, a: str, b: str, frame_b: pd.DataFrame | None = None
) -> Sides:
    """Return the trials of two sides, paired by seed if they share seeds.

    Args:
        frame: The results, see `columns`.
        a: The label of an arm or the id of a trial.
        b: The label of another arm or the id of another trial.
        frame_b: The results of another workdir that has the second side, whose trials are paired
            only if both sides were trained on the same dataset; None means `frame`.

    Raises:
        UserError: If a side does not exist, has no finished trial or no files, both sides are the
            same, or they were evaluated on different datasets.
    """
    if a == b and frame_b is None:
        raise UserError(f"Both sides are {a!r}; pass two different arms or trials.")
    frames = (frame, frame if frame_b is None else frame_b)
    known = [group_by_arm(each) for each in frames]
    trials_a, trials_b = (
        _trials_by_seed(each, found.arms, name)
        for each, found, name in zip(frames, known, (a, b), strict=True))
    namesakes = [
        trial for each, found, name in zip(frames, known, (a, b), strict=True)
        for trial in each["trial"][each["trial"].isin(found.left_out) & each["arm"].isin(
            {arm.arm for arm in found.arms if arm.label == name})]]
    reason = "" if trials_a.keys() & trials_b.keys() else "the sides share no seed"
    if frame_b is not None:
        a, b = _names_with_workdirs(a, b, trials_a, trials_b)
        reason = reason or _different_training_data(trials_a, trials_b)
    left_out: tuple[int, ...] = ()
    if not reason:
        shared = sorted(trials_a.keys() & trials_b.keys())
        left_out = tuple(sorted(trials_a.keys() ^ trials_b.keys()))
        trials_a, trials_b = (
            {seed: trials[seed] for seed in shared} for trials in (trials_a, trials_b))
    sides = Sides(
        a, b, trials_a, trials_b, not reason, left_out, tuple(dict.fromkeys(namesakes)), reason)
    if len({row["trial"] for row in sides.trials}) < len(sides.trials):
        raise UserError(f"{a!r} and {b!r} have the same trials; pass two different arms or trials.")
    datasets = Counter(row["dataset"] for row in sides.trials if row["dataset"])
    if len(datasets) > 1:
        raise UserError(
            f"{a!r} and {b!r} were evaluated on different datasets ({', '.join(datasets)}); "
            "only metrics on the same images can be compared.")
    return sides


def _names_with_workdirs(a: str, b: str, trials_a: Trials, trials_b: Trials) -> tuple[str, str]:
    """Return the names of two sides followed by their workdirs, as "deep (runs2)"."""
    workdirs = [
        next(iter(trials.values()))["folder"].partition("/trials/")[0]
        for trials in (trials_a, trials_b)]
    first, second = (
        name_with_workdir(name, workdir, workdirs)
        for name, workdir in zip((a, b), workdirs, strict=True))
    return first, second


def _different_training_data(trials_a: Trials, trials_b: Trials) -> str:
    """Return why seeds of two workdirs are not of the same kind; empty if they are.

    A seed decides, among others, the order of the images in training, so that the same number
    means the same draws on the same dataset only.
    """
    names = [_training_data(next(iter(trials.values()))) for trials in (trials_a, trials_b)]
    if "" in names:
        return "it is unknown whether both were trained on the same dataset"
    if names[0] != names[1]:
        return f"they were trained on different datasets ({names[0]} and {names[1]})"
    return ""


def _training_data(row: Mapping[str, Any]) -> str:
    """Return the dataset that a trial was trained on; empty if it is unknown."""
    try:
        text = (file_io.read(f"{row['folder']}/config.gin") or b"").decode()
        found = {
            binding.parameter: binding.canonical_value.strip("'")
            for binding in bindings.expanded_bindings(bindings.read([], [text]).bindings)
            if binding.short_selector == "TrainingData"}
    except (UserError, UnicodeDecodeError):
        return ""
    # The fingerprint, which does not depend on the place of the files.
    dataset = found.get("dataset", "None")
    return found.get("prefix", "") if dataset == "None" else dataset


def _trials_by_seed(
    frame: pd.DataFrame, known: Sequence[ArmTrials], name: str
) -> dict[int, Mapping[str, Any]]:
    """Return the finished trials of an arm, or a single trial, by seed."""
    rows = [row for arm in known if name == arm.label for row in arm.trials]
    if not rows:
        chosen = frame[frame["trial"] == name].drop_duplicates("trial")
        rows = chosen.astype(object).where(chosen.notna(), None).to_dict("records")
    if not rows:
        labels = [arm.label for arm in known]
        suggestion = did_you_mean(name, [*labels, *frame["trial"]])
        raise UserError(
            f"There is no arm or trial {name!r}.{suggestion} Known arms are {', '.join(labels)}.")
    finished = [row for row in rows if row["status"] == "finished"]
    if not finished:
        statuses = Counter(row["status"] for row in rows)
        counts = ", ".join(f"{n} {status}" for status, n in statuses.items())
        raise UserError(f"No trial of {name!r} has finished yet ({counts}).")
    if absent := [row["trial"] for row in finished if not row["folder"]]:
        raise UserError(
            f"The files of trial {absent[0]} of {name!r} are not available; a comparison needs the "
            "workdir itself, not only its numbers.")
    return {row["seed"] or 0: row for row in finished}
