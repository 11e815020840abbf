"""Detection of bindings without effect, with which an arm would not differ from its baseline.

Gin ignores a binding silently if nothing calls the configurable, if a scope or macro is misspelled,
or if the caller passes the argument explicitly, which overrides the binding. After construction,
gin's operative configuration shows which bindings were used.

The check proves that a value was passed, not that it matters; that is up to each module's tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deepmac_ablate.bindings import registry
from deepmac_ablate.bindings.identity import ROOTS, reachable_bindings
from deepmac_ablate.bindings.text import Binding, merge
from deepmac_ablate.bindings.values import Macro, Reference, leaf_values
from deepmac_ablate.errors import UserError, did_you_mean


class UnusedBindingError(UserError):
    """Error for a binding that had no effect; the message states the likely cause."""


def check_all_bindings_used(bindings: Sequence[Binding], roots: Sequence[str] = ROOTS) -> None:
    """Check that everything was constructed with the values that were bound.

    Args:
        bindings: The result of `parse`. Bindings given outside files (by an arm or the command
            line) must all have effect; those in files may be of a module that was not selected, but
            the caller must not override them.
        roots: The configurables that code calls without a reference.

    Raises:
        UnusedBindingError: For the first binding without effect; the message states the likely
            cause.
        UserError: For the first binding that had effect but is not part of the trial's id.
    """
    for problem in unused_binding_problems(bindings, roots):
        raise problem


def unused_binding_problems(
    bindings: Sequence[Binding], roots: Sequence[str] = ROOTS
) -> Iterator[UserError]:
    """Yield every problem that `check_all_bindings_used` checks for."""
    operative = _Operative(bindings)
    for binding in bindings:
        overridden = operative.is_winner(binding) and operative.is_overridden_by_caller(binding)
        if overridden or not (binding.in_file or operative.was_used(binding)):
            yield UnusedBindingError(f"{binding.place} had no effect: {operative.cause(binding)}")
    in_reach = {name for root in roots for name in reachable_bindings(bindings, root)}
    for binding in bindings:
        if operative.was_used(binding) and not (binding.is_macro or binding.name in in_reach):
            yield UserError(
                f"{binding.place} took effect, but no @reference leads to it from "
                f"{' or '.join(roots)}, so the trial's id would not depend on it.")


def find_unused_bindings(bindings: Sequence[Binding]) -> tuple[Binding, ...]:
    """Return the winning bindings that had no effect, for the log.

    Args:
        bindings: The result of `parse`; everything must have been constructed.
    """
    operative = _Operative(bindings)
    return tuple(b for b in bindings if operative.is_winner(b) and not operative.was_used(b))


class _Operative:
    """Comparison of bindings with gin's operative configuration."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._merged = merge(bindings)
        self._calls = registry.operative_calls()
        self._selectors: dict[str, str] = {}
        self._of_parameter: dict[tuple[str, str], list[Binding]] = {}
        for binding in self._merged.values():
            if not binding.is_macro:
                selector = registry.find_configurable(binding.selector).selector
                self._selectors[binding.name] = selector
                self._of_parameter.setdefault((selector, binding.parameter), []).append(binding)
        self._passed = {name for name in self._selectors if self._was_passed(self._merged[name])}
        self._macros = self._used_macros()

    def is_winner(self, binding: Binding) -> bool:
        return self._merged[binding.name] is binding

    def was_used(self, binding: Binding) -> bool:
        """Return whether gin passed the value to a call; for a macro, a value that refers to it."""
        names = self._macros if binding.is_macro else self._passed
        return self.is_winner(binding) and binding.name in names

    def is_overridden_by_caller(self, binding: Binding) -> bool:
        """Return whether every call to which the binding applies passed the argument explicitly."""
        if binding.is_macro or binding.name in self._passed:
            return False
        return any(self._innermost(binding, scope) is binding for scope in self._scopes(binding))

    def cause(self, binding: Binding) -> str:
        """Return why a binding had no effect, as the end of a sentence."""
        winner = self._merged[binding.name]
        if winner is not binding:
            return f"the later {winner.place} overrides it."
        if binding.is_macro:
            hint = did_you_mean(binding.parameter, sorted(self._macros))
            return f"nothing that took effect refers to %{binding.parameter}.{hint}"
        if self.is_overridden_by_caller(binding):
            return (
                f"the code that calls {binding.selector} passes '{binding.parameter}' explicitly, "
                "which overrides every binding; it must leave the argument to gin."
            )
        scopes = sorted(self._scopes(binding))
        for scope in filter(binding.applies_in, scopes):
            inner = self._innermost(binding, scope)
            return f"{inner.place} is more specific wherever {binding.selector} is used."
        if scopes:
            used = " and ".join(
                f"in scope '{scope}'" if scope else "without a scope" for scope in scopes)
            hint = did_you_mean(binding.scope, scopes)
            return f"{binding.selector} is used {used}, not in scope '{binding.scope}'.{hint}"
        return f"nothing uses {binding.selector}{self._selected_instead(binding)}."

    def _was_passed(self, binding: Binding) -> bool:
        # Gin's own representation of the value, which spells out the names of constants.
        value = repr(registry.parse_value(repr(binding.value)))
        selector = self._selectors[binding.name]
        return any(
            self._innermost(binding, scope) is binding
            and binding.parameter in self._calls[scope, selector]
            and repr(self._calls[scope, selector][binding.parameter]) == value
            for scope in self._scopes(binding)
        )

    def _scopes(self, binding: Binding) -> list[str]:
        """Return the scopes in which the binding's configurable was called."""
        selector = self._selectors[binding.name]
        return [scope for scope, called in self._calls if called == selector]

    def _innermost(self, binding: Binding, scope: str) -> Binding | None:
        """Return the binding of the same parameter that gin uses for a call in a scope."""
        rivals = self._of_parameter[self._selectors[binding.name], binding.parameter]
        applying = [rival for rival in rivals if rival.applies_in(scope)]
        return max(applying, key=lambda rival: len(rival.scope), default=None)

    def _used_macros(self) -> set[str]:
        used: set[str] = set()
        waiting = [part for name in self._passed for part in leaf_values(self._merged[name].value)]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Macro) and part.name in self._merged and part.name not in used:
                used.add(part.name)
                waiting += leaf_values(self._merged[part.name].value)
        return used

    def _selected_instead(self, binding: Binding) -> str:
        """Return the end of a sentence that names the binding of an alternative configurable."""
        family = registry.shared_bases(registry.find_configurable(binding.selector))
        for name in sorted(self._passed):
            for part in leaf_values(self._merged[name].value):
                if not isinstance(part, Reference):
                    continue
                if family & registry.shared_bases(registry.find_configurable(part.selector)):
                    return f"; {self._merged[name].place} selects another"
        return ""
