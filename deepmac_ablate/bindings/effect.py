"""A binding that has no effect is an error: then the ablation ablates nothing.

gin lets it happen in silence, when nothing calls the configurable, when a scope or a macro is
misspelt, and when the caller passes the argument itself, which beats the binding. Once everything
that gin binds has been constructed, the operative configuration tells.

It proves that a value was passed, not that it was used; that is for each module's own tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deepmac_ablate.bindings import registry
from deepmac_ablate.bindings.identity import ROOTS, reachable
from deepmac_ablate.bindings.text import Binding, merge
from deepmac_ablate.bindings.values import Macro, Reference, parts
from deepmac_ablate.errors import UserError, did_you_mean


class BindingHadNoEffect(UserError):  # noqa: N818
    """A binding that nothing took up, with the likely cause."""


def check_took_effect(bindings: Sequence[Binding], roots: Sequence[str] = ROOTS) -> None:
    """Check that what was bound is what everything was constructed with.

    Args:
        bindings: What `parse` returned. Those given outside files (by an arm or the command line)
            must all have effect; those of files may belong to a module that was not selected, but
            must not be beaten by their caller.
        roots: The configurables that code calls without being told to by a reference.

    Raises:
        BindingHadNoEffect: For the first that had none; it says why, as far as that can be known.
        UserError: For the first that had effect but is out of reach of the trial's id.
    """
    for problem in effect_problems(bindings, roots):
        raise problem


def effect_problems(
    bindings: Sequence[Binding], roots: Sequence[str] = ROOTS
) -> Iterator[UserError]:
    """Yield every problem that `check_took_effect` looks for."""
    operative = _Operative(bindings)
    for binding in bindings:
        beaten = operative.is_winner(binding) and operative.is_beaten_by_caller(binding)
        if beaten or not (binding.in_file or operative.took_up(binding)):
            yield BindingHadNoEffect(f"{binding.place} had no effect: {operative.cause(binding)}")
    in_reach = {name for root in roots for name in reachable(bindings, root)}
    for binding in bindings:
        if operative.took_up(binding) and not (binding.is_macro or binding.name in in_reach):
            yield UserError(
                f"{binding.place} took effect, but no @reference leads to it from "
                f"{' or '.join(roots)}, so the trial's id would miss it.")


def inactive_bindings(bindings: Sequence[Binding]) -> tuple[Binding, ...]:
    """Return the bindings that won but that nothing took up, for the log.

    Args:
        bindings: What `parse` returned, after everything has been constructed.
    """
    operative = _Operative(bindings)
    return tuple(b for b in bindings if operative.is_winner(b) and not operative.took_up(b))


class _Operative:
    """The bindings seen against gin's operative configuration."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._merged = merge(bindings)
        self._calls = registry.calls()
        self._selectors: dict[str, str] = {}
        self._of_parameter: dict[tuple[str, str], list[Binding]] = {}
        for binding in self._merged.values():
            if not binding.is_macro:
                selector = registry.find(binding.selector).selector
                self._selectors[binding.name] = selector
                self._of_parameter.setdefault((selector, binding.parameter), []).append(binding)
        self._passed = {name for name in self._selectors if self._was_passed(self._merged[name])}
        self._macros = self._used_macros()

    def is_winner(self, binding: Binding) -> bool:
        return self._merged[binding.name] is binding

    def took_up(self, binding: Binding) -> bool:
        """Whether gin passed it to a call, or for a macro, passed what refers to it."""
        names = self._macros if binding.is_macro else self._passed
        return self.is_winner(binding) and binding.name in names

    def is_beaten_by_caller(self, binding: Binding) -> bool:
        """Whether its configurable was called where it applies, always with another argument."""
        if binding.is_macro or binding.name in self._passed:
            return False
        return any(self._innermost(binding, scope) is binding for scope in self._scopes(binding))

    def cause(self, binding: Binding) -> str:
        """Say why a binding had no effect."""
        winner = self._merged[binding.name]
        if winner is not binding:
            return f"the later {winner.place} replaces it."
        if binding.is_macro:
            hint = did_you_mean(binding.parameter, sorted(self._macros))
            return f"nothing that took effect refers to %{binding.parameter}.{hint}"
        if self.is_beaten_by_caller(binding):
            return (
                f"the code that calls {binding.selector} passes '{binding.parameter}' itself, "
                "which beats every binding; it has to leave that to gin."
            )
        scopes = sorted(self._scopes(binding))
        for scope in filter(binding.applies_in, scopes):
            inner = self._innermost(binding, scope)
            return f"{inner.place} is more specific wherever {binding.selector} is used."
        if scopes:
            used = " and ".join(f"in scope '{scope}'" if scope else "in none" for scope in scopes)
            hint = did_you_mean(binding.scope, scopes)
            return f"{binding.selector} is used {used}, not in scope '{binding.scope}'.{hint}"
        return f"nothing uses {binding.selector}{self._selected_instead(binding)}."

    def _was_passed(self, binding: Binding) -> bool:
        # gin's own writing of the value, as it spells out the names of constants.
        value = repr(registry.parse_value(repr(binding.value)))
        selector = self._selectors[binding.name]
        return any(
            self._innermost(binding, scope) is binding
            and binding.parameter in self._calls[scope, selector]
            and repr(self._calls[scope, selector][binding.parameter]) == value
            for scope in self._scopes(binding)
        )

    def _scopes(self, binding: Binding) -> list[str]:
        """The scopes in which the binding's configurable was called."""
        selector = self._selectors[binding.name]
        return [scope for scope, called in self._calls if called == selector]

    def _innermost(self, binding: Binding, scope: str) -> Binding | None:
        """The binding of the same parameter that gin uses for a call in a scope."""
        rivals = self._of_parameter[self._selectors[binding.name], binding.parameter]
        applying = [rival for rival in rivals if rival.applies_in(scope)]
        return max(applying, key=lambda rival: len(rival.scope), default=None)

    def _used_macros(self) -> set[str]:
        used: set[str] = set()
        waiting = [part for name in self._passed for part in parts(self._merged[name].value)]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Macro) and part.name in self._merged and part.name not in used:
                used.add(part.name)
                waiting += parts(self._merged[part.name].value)
        return used

    def _selected_instead(self, binding: Binding) -> str:
        """Name the binding that selects a sibling of this configurable."""
        family = registry.family(registry.find(binding.selector))
        for name in sorted(self._passed):
            for part in parts(self._merged[name].value):
                if not isinstance(part, Reference):
                    continue
                if family & registry.family(registry.find(part.selector)):
                    return f"; {self._merged[name].place} selects another"
        return ""
