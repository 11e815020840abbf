"""Axes of an ablation and their levels: alternative gin files and bindings."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from deepmac_ablate.errors import UserError, did_you_mean, shorten

# One or several gin files and bindings, such as "ConvMaskHead.width = 64".
Settings = str | Iterable[str]

# Names are typed on command lines, and joined into labels of arms.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class Level:
    """One value of an axis.

    Attributes:
        name: The name in tables and for ``--only``.
        gin_files: Gin files that are read after those of the sweep.
        bindings: Bindings that are read after those of the sweep.
    """

    name: str
    gin_files: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Axis:
    """One factor of an ablation.

    Attributes:
        name: The name in tables and for ``--only``.
        levels: At least one level; the first is the baseline's by default.
    """

    name: str
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.levels, list | tuple) or not all(
                isinstance(level, Level) for level in self.levels):
            raise UserError(f"Axis {self.name!r} is made of other things than levels; use axis().")
        if not self.levels:
            raise UserError(f"Axis {self.name!r} has no levels; it needs at least one.")
        for name in (self.name, *self.level_names):
            if not (isinstance(name, str) and _NAME.fullmatch(name)):
                raise UserError(
                    f"Axis {self.name!r}: {name!r} is not a valid name; use letters, digits, '_', "
                    "'-' and '.', as in axis('crop', small='ConvMaskHead.crop_size = 14').")
        if len(set(self.level_names)) < len(self.levels):
            twice = next(n for n in self.level_names if self.level_names.count(n) > 1)
            raise UserError(f"Axis {self.name!r} has two levels named {twice!r}.")

    @functools.cached_property
    def level_names(self) -> tuple[str, ...]:
        """Names of the levels, in order."""
        return tuple(level.name for level in self.levels)

    @functools.cached_property
    def _by_name(self) -> dict[str, Level]:
        return {level.name: level for level in self.levels}

    def level(self, name: str) -> Level:
        """Return a level by its name.

        Raises:
            UserError: If the axis has no such level.
        """
        if isinstance(name, str) and name in self._by_name:
            return self._by_name[name]
        hint = did_you_mean(name, self.level_names) or f" It has {', '.join(self.level_names)}."
        raise UserError(f"Axis {self.name!r} has no level {name!r}.{hint}")


def axis(
    name: str, *levels: str | Mapping[str, Settings], **named_levels: Settings
) -> Axis:
    """Return an axis of the given levels.

    ::

        axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")
        axis("depth", {"10": "HourglassMaskHead.depth = 10", "20": "HourglassMaskHead.depth = 20"})
        axis("head", small=["gin/mask_heads/default.gin", "ConvMaskHead.width = 64"], big=...)

    Args:
        name: The name in tables and for ``--only``.
        *levels: Gin files, each a level named after the file, or mappings of names to settings.
        **named_levels: Further levels by name: a gin file, a binding, or several of these; ``[]``
            changes nothing.

    Raises:
        UserError: If there is no level, or two levels have the same name.
    """
    made: list[Level] = []
    for item in levels:
        if isinstance(item, Mapping):
            made += [_level(level, settings) for level, settings in item.items()]
        elif isinstance(item, str) and item.endswith(".gin"):
            made.append(_level(PurePath(item).stem, item))
        else:
            example = item if isinstance(item, str) else "ConvMaskHead.width = 64"
            raise UserError(
                f"Axis {name!r}: {shorten(item)} is not a gin file; a level of bindings needs a "
                f"name, as in axis({name!r}, small={example!r}).")
    made += [_level(level, settings) for level, settings in named_levels.items()]
    return Axis(name, tuple(made))


def values(parameter: str, *choices: object, name: str = "") -> Axis:
    """Return an axis of values of one parameter: ``values("LEARNING_RATE", 0.05, 0.1)``.

    Args:
        parameter: The parameter or macro, as on the left-hand side of a binding.
        *choices: Numbers, strings, booleans or None; each is a level, named by its text.
        name: The name of the axis; by default the part of the parameter after its last dot.

    Raises:
        UserError: If there is no value, or one of another type.
    """
    if not isinstance(parameter, str):
        raise UserError(
            f"values(): {shorten(parameter)} is not the name of a parameter, such as "
            "'ConvMaskHead.width'.")
    name = name or parameter.rpartition(".")[2]
    for choice in choices:
        if choice is not None and not isinstance(choice, str | bool | int | float):
            raise UserError(
                f"values({parameter!r}): {shorten(choice)} is not a number, string, boolean or "
                "None; use axis(), which names its levels.")
    return Axis(name, tuple(Level(str(c), (), (f"{parameter} = {c!r}",)) for c in choices))


def switch(name: str, *settings: str) -> Axis:
    """Return an axis of the levels "off" and "on"; "on" reads the gin files and bindings."""
    return Axis(name, (Level("off"), _level("on", settings)))


def _level(name: str, settings: Settings) -> Level:
    items = tuple(settings) if isinstance(settings, list | tuple) else (settings,)
    gin_files, bindings = split_settings(items)
    return Level(str(name), gin_files, bindings)


def split_settings(settings: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return gin files, whose names end in ".gin", and bindings separately.

    Raises:
        UserError: If a setting is neither.
    """
    gin_files, bindings = [], []
    for item in settings:
        if not isinstance(item, str) or not (item.endswith(".gin") or "=" in item):
            raise UserError(
                f"{shorten(item)} is neither a gin file ('gin/mask_heads/default.gin') nor a "
                "binding ('ConvMaskHead.width = 64').")
        # A binding never ends in ".gin": in NAME = 'x.gin' a quotation mark follows.
        (gin_files if item.endswith(".gin") else bindings).append(item)
    return tuple(gin_files), tuple(bindings)
