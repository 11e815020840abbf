"""In what two configurations differ: what is bound, and which defaults are others."""

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


class Difference(NamedTuple):
    """A parameter that two sides bind to different values.

    Attributes:
        name: Complete, with the scope of the call.
        a: What the first side binds; None where it does not reach it, or leaves the default.
        b: The same of the second side.
    """

    name: str
    a: Parameter | None
    b: Parameter | None


class ChangedDefault(NamedTuple):
    """A parameter that neither side binds, whose value was another when they ran."""

    name: str
    a: str | None
    b: str | None


class Comparison(NamedTuple):
    """All in which two sides differ.

    Attributes:
        differences: In the order of the tree.
        defaults: What differs although nobody bound it: the code has changed. Known only of trials
            that have taken a step.
        seeds: Of both, where both are trials.
        same_trial: Whether the trial's id is the same, seeds left out where one has none.
    """

    differences: tuple[Difference, ...]
    defaults: tuple[ChangedDefault, ...]
    seeds: tuple[int, int] | None
    same_trial: bool

    @property
    def seed_differs(self) -> bool:
        """Whether both are trials, of different seeds."""
        return self.seeds is not None and self.seeds[0] != self.seeds[1]

    def verdict(self) -> str:
        """Say in one sentence what the rows alone do not; an empty string if there is nothing."""
        if self.differences or self.defaults:
            same = self.same_trial and not self.defaults
            return "Both are the same trial: what differs is no part of its id." if same else ""
        if self.seed_differs:
            return f"Only the seed differs: {self.seeds[0]} and {self.seeds[1]}."
        return "Nothing differs."


def compare(a: Side, b: Side) -> Comparison:
    """Compare what two sides bind.

    Raises:
        UserError: As `text.merge` and `values.expand_macros`.
    """
    bound_a, bound_b = (flatten_tree(compose_tree(side.bindings)) for side in (a, b))
    differences = []
    for name in _in_both_orders(list(bound_a), list(bound_b)):
        one, other = bound_a.get(name), bound_b.get(name)
        if one is None or other is None or one.value != other.value:
            differences.append(Difference(name, one, other))
    seeds = None if a.seed is None or b.seed is None else (a.seed, b.seed)
    id_a, id_b = (
        trial_id(bindings.explicit_bindings(side.bindings), seed)
        for side, seed in zip((a, b), seeds or (0, 0), strict=True))
    defaults: tuple[ChangedDefault, ...] = ()
    if a.operative is not None and b.operative is not None:
        defaults = tuple(_changed_defaults(a, b))
    return Comparison(tuple(differences), defaults, seeds, id_a == id_b)


def _in_both_orders(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Merge two orders: what only the other has stands behind what precedes it there."""
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
    operative_a, operative_b = _operative(a), _operative(b)
    bound = {
        (binding.short_selector, binding.parameter)
        for side in (a, b) for binding in bindings.merge(side.bindings).values()}
    # A module that only one side selects has no counterpart; its defaults tell nothing.
    called = {_configurable(name) for name in operative_a}
    called &= {_configurable(name) for name in operative_b}
    for name in sorted(operative_a.keys() | operative_b.keys()):
        one, other = operative_a.get(name), operative_b.get(name)
        binding = one or other
        key = (binding.short_selector, binding.parameter)
        if key in bound or _configurable(name) not in called:
            continue
        values = [None if it is None else it.canonical_value for it in (one, other)]
        if values[0] != values[1]:
            yield ChangedDefault(name, *values)


def _operative(side: Side) -> Mapping[str, bindings.Binding]:
    """What took effect in a trial, by the names that gin writes, with macros expanded."""
    return {binding.name: binding for binding in bindings.expanded_bindings(side.operative or ())}


def _configurable(name: str) -> str:
    return name.rpartition(".")[0]


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
    """Find what a name on the command line stands for.

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
    """Return what a trial was bound to; from its gin files, unless they have changed since."""
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
        for binding in bindings.reachable_bindings(text.bindings, root).values():
            key = (binding.scope, binding.short_selector, binding.parameter)
            reached[key] = binding.canonical_value
    return reached


def _planned(name: str, workdir: SweepWorkdir) -> list[PlannedTrial]:
    """Return the trials of an arm, or the one of an id; none where a name is that of a file."""
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
