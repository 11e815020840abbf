"""Many configurations in gin, one after the other: where two are alike, it is told what differs.

Parsing and checking a hundred bindings takes gin some 10 ms. The arms of a sweep mostly differ in
one or two values, and what cannot have become wrong is not checked again.
"""

from __future__ import annotations

from collections.abc import Iterable

import gin

from deepmac_ablate.bindings import checks, parsing
from deepmac_ablate.bindings.identity import reachable, sources
from deepmac_ablate.bindings.text import Binding, Text, merge
from deepmac_ablate.bindings.values import Macro, parts
from deepmac_ablate.errors import UserError

Skeleton = tuple[tuple[object, ...], ...]


def skeleton(text: Text) -> Skeleton:
    """Returns all of a configuration but the values of its literals.

    Two configurations with equal skeletons bind the same names, refer to the same configurables and
    macros, and replace the same bindings. So names are right in both or in neither, and a binding
    has effect in both or in neither.
    """
    bound = (
        (binding.name, binding.in_file, "" if _is_literal(binding) else binding.canonical_value)
        for binding in text.bindings
    )
    return (*((statement.statement,) for statement in text.imports), *bound)


class Series:
    """What gin holds, from one configuration to the next."""

    def __init__(self) -> None:
        self._skeleton: Skeleton | None = None
        self._merged: dict[str, Binding] = {}

    def values(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns the values of some bindings and macros that gin holds, as text."""
        return tuple(self._merged[name].canonical_value for name in names)

    def hold(self, text: Text, bones: Skeleton) -> list[str]:
        """Makes gin hold exactly these bindings, checked and locked, or says why not.

        Args:
            text: what `text.read` returned.
            bones: its skeleton.

        Returns:
            Every problem with names, types and missing values, with file and line; none if gin now
            holds the bindings.
        """
        if bones == self._skeleton:
            return self._hold_difference(text)
        self._skeleton = None
        gin.clear_config()
        problems = self._hold_all(text)
        if problems:
            gin.clear_config()
        else:
            self._skeleton, self._merged = bones, merge(text.bindings)
        return problems

    def _hold_all(self, text: Text) -> list[str]:
        try:
            for statement in text.imports:
                parsing.run_import(statement)
            if problems := [str(problem) for problem in checks.problems(text.bindings)]:
                return problems
            for binding in merge(text.bindings).values():
                parsing.bind(binding)
            gin.finalize()
        except UserError as problem:
            return [str(problem)]
        return []

    def _hold_difference(self, text: Text) -> list[str]:
        try:
            merged = merge(text.bindings)
        except UserError as problem:
            return [str(problem)]
        # As text: to Python, 1 equals True.
        changed = [
            binding for name, binding in merged.items()
            if binding is not (held := self._merged[name])
            and binding.canonical_value != held.canonical_value
        ]
        macros = {each.parameter: each.value for each in merged.values() if each.is_macro}
        judged = _with_users(changed, merged.values()) if changed else []
        problems = [
            str(problem) for binding in judged
            if (problem := checks.value_problem(binding, macros))
        ]
        if problems:
            return problems
        bones, self._skeleton = self._skeleton, None
        try:
            with gin.unlock_config():
                for binding in changed:
                    parsing.bind(binding)
        except UserError as problem:
            # Some of it may be bound: the next configuration is told as a whole.
            return [str(problem)]
        self._skeleton, self._merged = bones, merged
        return []


def _with_users(changed: Iterable[Binding], merged: Iterable[Binding]) -> list[Binding]:
    """Returns changed bindings and those whose values contain a changed macro."""
    merged = list(merged)
    users: dict[str, list[Binding]] = {}
    for binding in merged:
        for part in parts(binding.value):
            if isinstance(part, Macro):
                users.setdefault(part.name, []).append(binding)
    found: dict[str, Binding] = {}
    waiting = list(changed)
    while waiting:
        binding = waiting.pop()
        if binding.name not in found:
            found[binding.name] = binding
            waiting += users.get(binding.parameter, []) if binding.is_macro else []
    return [binding for binding in merged if binding.name in found]


def behind(text: Text, root: str) -> tuple[str, ...]:
    """Returns the names of all bindings, macros included, that a root's values are made of."""
    merged = merge(text.bindings)
    return tuple(dict.fromkeys(
        source.name
        for name in reachable(text.bindings, root) for source in sources(merged[name], merged)))


def _is_literal(binding: Binding) -> bool:
    return not (binding.has_macros or binding.references)
