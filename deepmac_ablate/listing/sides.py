"""What ``diff`` compares: gin files, the folder of a trial, or a trial or arm of a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from deepmac_ablate import bindings
from deepmac_ablate.bindings.text import Text
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.sweep.plan import PlannedTrial
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir
from deepmac_ablate.trial import Trial
from deepmac_ablate.workdir import TrialWorkdir

_CONFIG = "config.gin"
_OPERATIVE_CONFIG = "operative_config.gin"
_NAMED_AT_MOST = 5


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two that are compared.

    Attributes:
        label: What it was called.
        bindings: What was read for it.
        seed: Of a trial; None for gin files, and for an arm of several seeds.
        operative: Where it was started, what took effect, defaults included.
        note: What a reader should know of where the bindings were read, or an empty string.
    """

    label: str
    bindings: tuple[bindings.Binding, ...]
    seed: int | None = None
    operative: tuple[bindings.Binding, ...] | None = None
    note: str = ""


def find(name: str, given: Sequence[str] = (), workdir: str | None = None) -> Side:
    """Finds what a name on the command line stands for.

    Args:
        name: Gin files joined by "+", the folder of a trial, or with `workdir` the id of one of
            its trials, the beginning of an id, or the label of an arm.
        given: Bindings to read after its own.
        workdir: The folder of a sweep.

    Raises:
        UserError: If there is no such thing, or more than one.
    """
    if workdir is not None and (trials := _planned(name, SweepWorkdir(workdir))):
        first = trials[0]
        folder = SweepWorkdir(workdir).folder(first.id)
        if (folder / "trial.json").is_file():
            side = _of_folder(folder, given)
        else:
            text = bindings.read(first.trial.gin_files, [*first.trial.bindings, *given])
            side = Side(name, text.bindings)
        seed = first.trial.seed if len(trials) == 1 else None
        return dataclasses.replace(side, label=name, seed=seed)
    if Path(name).is_dir():
        return _of_folder(Path(name), given)
    return Side(name, bindings.read(name.split("+"), given).bindings)


def _of_folder(folder: Path, given: Sequence[str]) -> Side:
    trial = TrialWorkdir(folder).read_trial()
    if trial is None:
        raise UserError(f"There is no trial in {folder}: trial.json is missing.")
    text, note = _as_started(trial, folder)
    if given:
        text = Text((*text.bindings, *bindings.read([], given).bindings), text.imports)
    operative = None
    if (folder / _OPERATIVE_CONFIG).is_file() and not given:
        operative = bindings.read([str((folder / _OPERATIVE_CONFIG).resolve())], []).bindings
    return Side(str(folder), text.bindings, trial.seed, operative, note)


def _as_started(trial: Trial, folder: Path) -> tuple[Text, str]:
    """Returns what a trial was bound to; from its gin files, unless they have changed since."""
    config = folder / _CONFIG
    if not config.is_file():
        return bindings.read(trial.gin_files, trial.bindings), ""
    started = bindings.read([str(config.resolve())], [])
    try:
        today = bindings.read(trial.gin_files, trial.bindings)
    except UserError:
        # They are gone, or on another machine.
        return started, f"{folder}: its gin files cannot be read here; shown is {config}."
    if _values(started) == _values(today):
        return today, ""
    return started, f"{folder}: its gin files have changed since it was started; shown is {config}."


def _values(text: Text) -> dict[tuple[str, str, str], str]:
    """What wins, by names without modules: gin writes its own spelling of them."""
    reached = {}
    for root in bindings.ROOTS:
        for binding in bindings.reachable(text.bindings, root).values():
            key = (binding.scope, binding.short_selector, binding.parameter)
            reached[key] = binding.canonical_value
    return reached


def _planned(name: str, workdir: SweepWorkdir) -> list[PlannedTrial]:
    """Returns the trials of an arm, or the one of an id; none where a name is that of a file."""
    plan = workdir.read_plan()
    if name in plan.arms:
        return plan.arms[name]
    found = [planned for planned in plan.trials if planned.id.startswith(name)]
    if len(found) > 1:
        ids = " ".join(planned.id for planned in found[:_NAMED_AT_MOST])
        raise UserError(
            f"{name!r} begins the ids of {len(found)} trials ({ids}); write more of it.")
    if not found and not (name.endswith(".gin") or Path(name).is_dir()):
        known = sorted({*plan.arms, *(planned.id for planned in plan.trials)})
        raise UserError(
            f"{workdir.path} has no trial or arm {name!r}.{did_you_mean(name, known)}")
    return found
