"""Differences between two configurations: bindings, and defaults that changed with the code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.text import Text
from deepmac_ablate.bindings.tree import Parameter, compose_tree, flatten_tree
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep.plan import PlannedTrial
from deepmac_ablate.trial.trial import Trial, trial_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

_CONFIG = "config.gin"
_OPERATIVE_CONFIG = "operative_config.gin"
_MOST_NAMES = 5


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two configurations that are compared.

    Attributes:
        label: The name that the user gave.
        bindings: The bindings of the configuration.
        seed: The seed of a trial; None for gin files, and for an arm with several seeds.
        operative: The operative configuration, including defaults, of a trial that has started;
            else None.
        note: A remark on the origin of the bindings, or an empty string.
    """

    label: str
    bindings: tuple[bindings.Binding, ...]
    seed: int | None = None
    operative: tuple[bindings.Binding, ...] | None = None
    note: str = ""


class ChangedBinding(NamedTuple):
    """A parameter for which the two sides bind different values.

    Attributes:
        name: The complete name of the parameter, with the scope of the call.
        a: The first side's binding; None if the side does not reach the parameter or leaves its
            default.
        b: The second side's binding; None likewise.
    """

    name: str
    a: Parameter | None
    b: Parameter | None


class ChangedDefault(NamedTuple):
    """A parameter whose default differed when the two trials ran, or was used by one of them.

    Attributes:
        name: The complete name of the parameter.
        a: The value on the first side, as gin text; None if it has none.
        b: The value on the second side; None likewise.
        one_sided: True if only one side uses the class, so that the code need not have changed.
    """

    name: str
    a: str | None
    b: str | None
    one_sided: bool = False


class Comparison(NamedTuple):
    """All differences between two configurations.

    Attributes:
        differences: The parameters that are bound differently, in the order of the tree.
        defaults: The defaults that differ because the code has changed, and those of classes that
            only one side uses; known only if both sides are trials that have taken a step.
        seeds: The two seeds if both sides are trials, else None.
        same_trial: True if both sides have the same trial id, apart from the seed if either side
            has none.
    """

    differences: tuple[ChangedBinding, ...]
    defaults: tuple[ChangedDefault, ...]
    seeds: tuple[int, int] | None
    same_trial: bool

    @property
    def seed_differs(self) -> bool:
        """True if both sides are trials with different seeds."""
        return self.seeds is not None and self.seeds[0] != self.seeds[1]

    def verdict(self) -> str:
        """Return a sentence that the rows of the table do not say, or an empty string."""
        if self.differences or self.defaults:
            same = self.same_trial and all(default.one_sided for default in self.defaults)
            return "Both have the same trial id: the differences do not affect it." if same else ""
        if self.seed_differs:
            return f"Only the seed differs: {self.seeds[0]} and {self.seeds[1]}."
        return "Nothing differs."


def compare_sides(a: Side, b: Side) -> Comparison:
    """Compare two configurations.

    Raises:
        UserError: As `text.merge` and `values.expand_macros`.
    """
    bound_a, bound_b = (flatten_tree(compose_tree(side.bindings)) for side in (a, b))
    differences = []
    for name in _merge_orders(list(bound_a), list(bound_b)):
        one, other = bound_a.get(name), bound_b.get(name)
        if one is None or other is None or one.value != other.value:
            differences.append(ChangedBinding(name, one, other))
    seeds = None if a.seed is None or b.seed is None else (a.seed, b.seed)
    id_a, id_b = (
        trial_id(bindings.explicit_bindings(side.bindings), seed)
        for side, seed in zip((a, b), seeds or (0, 0), strict=True))
    defaults: tuple[ChangedDefault, ...] = ()
    if a.operative is not None and b.operative is not None:
        defaults = tuple(_changed_defaults(a, b))
    return Comparison(tuple(differences), defaults, seeds, id_a == id_b)


def read_side(name: str, given: Sequence[str] = (), workdir: str | None = None) -> Side:
    """Return the configuration that a name on the command line stands for.

    Args:
        name: Gin files joined by "+", the folder of a trial, or with `workdir` the id of one of
            its trials, the beginning of an id, or the label of an arm.
        given: Additional bindings, applied after the configuration's own.
        workdir: The workdir of a sweep.

    Raises:
        UserError: If nothing or more than one trial has the name.
    """
    if workdir is not None and (trials := _planned_trials(name, SweepWorkdir(workdir))):
        first = trials[0]
        folder = SweepWorkdir(workdir).folder(first.id)
        if (folder / "trial.json").is_file():
            side = _read_folder(folder, given)
        else:
            text = bindings.read(first.trial.gin_files, [*first.trial.bindings, *given])
            side = Side(name, text.bindings)
        seed = first.trial.seed if len(trials) == 1 else None
        return dataclasses.replace(side, label=name, seed=seed)
    if Path(name).is_dir():
        return _read_folder(Path(name), given)
    return Side(name, bindings.read(name.split("+"), given).bindings)


def _merge_orders(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Merge two orders; a name that only the second has follows its predecessor there."""
    merged, known = list(one), set(one)
    position = 0
    for name in other:
        if name in known:
            position = merged.index(name) + 1
        else:
            merged.insert(position, name)
            position += 1
    return merged


def _changed_defaults(a: Side, b: Side) -> Iterable[ChangedDefault]:
    operative_a, operative_b = _operative_bindings(a), _operative_bindings(b)
    bound = {
        (binding.short_selector, binding.parameter)
        for side in (a, b) for binding in bindings.merge(side.bindings).values()}
    called = {_configurable(name) for name in operative_a}
    called &= {_configurable(name) for name in operative_b}
    for name in sorted(operative_a.keys() | operative_b.keys()):
        pair = operative_a.get(name), operative_b.get(name)
        binding = pair[0] or pair[1]
        key = (binding.short_selector, binding.parameter)
        if key in bound:
            continue
        values = [None if side is None else side.canonical_value for side in pair]
        if values[0] != values[1]:
            yield ChangedDefault(name, *values, one_sided=_configurable(name) not in called)


def _operative_bindings(side: Side) -> Mapping[str, bindings.Binding]:
    """Return a trial's operative bindings by the names that gin writes, with macros expanded."""
    return {binding.name: binding for binding in bindings.expanded_bindings(side.operative or ())}


def _configurable(name: str) -> str:
    return name.rpartition(".")[0]


def _read_folder(folder: Path, given: Sequence[str]) -> Side:
    trial = TrialWorkdir(folder).read_trial()
    if trial is None:
        raise UserError(f"There is no trial in {folder}: trial.json is missing.")
    text, note = _text_as_started(trial, folder)
    if given:
        text = Text((*text.bindings, *bindings.read([], given).bindings), text.imports)
    operative = None
    if (folder / _OPERATIVE_CONFIG).is_file() and not given:
        operative = bindings.read([str((folder / _OPERATIVE_CONFIG).resolve())], []).bindings
    return Side(str(folder), text.bindings, trial.seed, operative, note)


def _text_as_started(trial: Trial, folder: Path) -> tuple[Text, str]:
    """Return a trial's bindings, from its gin files unless they have changed, and a note."""
    config = folder / _CONFIG
    if not config.is_file():
        return bindings.read(trial.gin_files, trial.bindings), ""
    started = bindings.read([str(config.resolve())], [])
    try:
        today = bindings.read(trial.gin_files, trial.bindings)
    except UserError:
        # The gin files were deleted, or are on another machine.
        return started, f"{folder}: its gin files cannot be read here; this is from {config}."
    if _effective_values(started) == _effective_values(today):
        return today, ""
    return started, (
        f"{folder}: its gin files have changed since it was started; this is from {config}.")


def _effective_values(text: Text) -> dict[tuple[str, str, str], str]:
    """Return the values in effect by names without modules, which gin spells in its own way."""
    reached = {}
    for root in bindings.ROOTS:
        for binding in bindings.reachable_bindings(text.bindings, root).values():
            key = (binding.scope, binding.short_selector, binding.parameter)
            reached[key] = binding.canonical_value
    return reached


def _planned_trials(name: str, workdir: SweepWorkdir) -> list[PlannedTrial]:
    """Return the trials of an arm, or the trial of an id; none if the name is that of a file."""
    plan = workdir.read_plan()
    if name in plan.arms:
        return plan.arms[name]
    found = [planned for planned in plan.trials if planned.id.startswith(name)]
    if len(found) > 1:
        ids = " ".join(planned.id for planned in found[:_MOST_NAMES])
        raise UserError(
            f"{name!r} is ambiguous: the ids of {len(found)} trials begin with it ({ids}).")
    if not found and not (name.endswith(".gin") or Path(name).is_dir()):
        known = sorted({*plan.arms, *(planned.id for planned in plan.trials)})
        raise UserError(
            f"{workdir.path} has no trial or arm {name!r}.{did_you_mean(name, known)}")
    return found
