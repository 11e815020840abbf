"""In what two configurations differ: what is bound, and which defaults are others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.tree import Parameter, compose, flat
from deepmac_ablate.listing.sides import Side
from deepmac_ablate.trial import trial_id


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
        """Says in one sentence what the rows alone do not; an empty string if there is nothing."""
        if self.differences or self.defaults:
            same = self.same_trial and not self.defaults
            return "Both are the same trial: what differs is no part of its id." if same else ""
        if self.seed_differs:
            return f"Only the seed differs: {self.seeds[0]} and {self.seeds[1]}."
        return "Nothing differs."


def compare(a: Side, b: Side) -> Comparison:
    """Compares what two sides bind.

    Raises:
        UserError: As `text.merge` and `values.expand`.
    """
    bound_a, bound_b = (flat(compose(side.bindings)) for side in (a, b))
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
    """Merges two orders: what only the other has stands behind what precedes it there."""
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
    return {binding.name: binding for binding in bindings.expanded(side.operative or ())}


def _configurable(name: str) -> str:
    return name.rpartition(".")[0]
