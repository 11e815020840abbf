"""Tree of a configuration, from the text alone: references between configurables, with places."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from deepmac_ablate.bindings.identity import ROOTS, binding_sources
from deepmac_ablate.bindings.text import Binding, merge, same_configurable
from deepmac_ablate.bindings.values import Macro, expand_macros


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a call, with the value that it gets.

    Attributes:
        name: Name of the parameter.
        binding: The binding that gin uses for this call, with macros expanded.
        sources: That binding as it was written, then the macros in its value.
        below: The configurables that the value refers to, in order.
    """

    name: str
    binding: Binding
    sources: tuple[Binding, ...]
    below: tuple[Node, ...]

    @property
    def value(self) -> str:
        """The value with macros expanded, as canonical text."""
        return self.binding.canonical_value

    @property
    def written(self) -> str:
        """The value as it was written."""
        return self.sources[0].canonical_value

    @property
    def where(self) -> tuple[str, ...]:
        """The place of the binding, as file and line, then those of the macros in its value."""
        return tuple(binding.where for binding in self.sources)

    @property
    def decided(self) -> tuple[str, ...]:
        """The places that set the value; if it is a single macro, only the place of the macro."""
        return self.where[-1:] if isinstance(self.sources[0].value, Macro) else self.where


@dataclasses.dataclass(frozen=True)
class Node:
    """A configurable that is called in a scope.

    Attributes:
        name: The configurable as it is referred to, with the scope of the call.
        parameters: The bound parameters, in the order of the text; empty if the same call is shown
            earlier in the tree.
        shown_at: The parameter whose node shows the same call earlier, or None.
    """

    name: str
    parameters: tuple[Parameter, ...]
    shown_at: str | None = None


def compose_tree(bindings: Iterable[Binding], roots: Sequence[str] = ROOTS) -> tuple[Node, ...]:
    """Build the tree of the winning bindings by following references down from the roots.

    As in gin, a reference without a scope is called in the scope of the call that needs it, and of
    several bindings of a parameter the one of the innermost scope is used.

    Args:
        bindings: The result of `read` or `parse`.
        roots: The configurables that code calls without a reference.

    Returns:
        A node for each root.

    Raises:
        UserError: See `text.merge` and `values.expand_macros`.
    """
    composer = _Composer(merge(bindings))
    return tuple(composer.build_node("", root, root) for root in roots)


def flatten_tree(nodes: Iterable[Node]) -> dict[str, Parameter]:
    """Return all parameters of a tree by their complete names, in the tree's order."""
    return dict(_flat(nodes))


class _Composer:
    """Builder of the nodes, which shows each call once.

    Args:
        merged: The bindings that win, by name.
    """

    def __init__(self, merged: Mapping[str, Binding]) -> None:
        self._merged = merged
        self._macros = {
            binding.parameter: binding.value for binding in merged.values() if binding.is_macro}
        self._shown: dict[tuple[str, str], str] = {}

    def build_node(self, scope: str, selector: str, referring: str) -> Node:
        """Build the node of a call.

        Args:
            scope: Scope of the call, or an empty string.
            selector: The configurable.
            referring: Complete name of the parameter that refers to it.
        """
        name = f"{scope}/{selector}" if scope else selector
        if shown_at := self._shown.get((scope, selector)):
            return Node(name, (), shown_at)
        self._shown[scope, selector] = referring
        innermost: dict[str, Binding] = {}
        for binding in self._merged.values():
            if binding.is_macro or not same_configurable(binding.selector, selector):
                continue
            rival = innermost.get(binding.parameter)
            nearer = rival is None or len(rival.scope) < len(binding.scope)
            if binding.applies_in(scope) and nearer:
                innermost[binding.parameter] = binding
        found = (self._parameter(scope, name, binding) for binding in innermost.values())
        return Node(name, tuple(found))

    def _parameter(self, scope: str, node_name: str, written: Binding) -> Parameter:
        binding = dataclasses.replace(written, value=expand_macros(written.value, self._macros))
        referring = f"{node_name}.{binding.parameter}"
        below = tuple(
            self.build_node(reference.scope or scope, reference.selector, referring)
            for reference in binding.references)
        return Parameter(binding.parameter, binding, binding_sources(written, self._merged), below)


def _flat(nodes: Iterable[Node]) -> Iterator[tuple[str, Parameter]]:
    for node in nodes:
        for parameter in node.parameters:
            yield f"{node.name}.{parameter.name}", parameter
            yield from _flat(parameter.below)
