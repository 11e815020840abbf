"""An axis of an ablation and its levels: what is exchanged, and for what."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from deepmac_ablate.errors import UserError, did_you_mean

# One or several gin files and bindings, such as "ConvMaskHead.width = 64".
Settings = str | Iterable[str]

# Names are typed on command lines and joined into labels.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclasses.dataclass(frozen=True)
class Level:
    """One value of an axis.

    Attributes:
        name: As tables and ``--only`` call it.
        gin_files: Read after those of the sweep.
        bindings: Read after those of the sweep.
    """

    name: str
    gin_files: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Axis:
    """One factor of an ablation.

    Attributes:
        name: As tables call it.
        levels: At least one; the first is the baseline's, unless the sweep says otherwise.
    """

    name: str
    levels: tuple[Level, ...]

    def __post_init__(self) -> None:
        if not self.levels:
            raise UserError(f"The axis {self.name!r} has no level.")
        for name in (self.name, *self.level_names):
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"Axis {self.name!r}: {name!r} is no name; use letters, digits, '_', '-' and "
                    "'.', as in axis('crop', small='ConvMaskHead.crop_size = 14').")
        if len(set(self.level_names)) < len(self.levels):
            twice = next(n for n in self.level_names if self.level_names.count(n) > 1)
            raise UserError(f"The axis {self.name!r} has two levels called {twice!r}.")

    @functools.cached_property
    def level_names(self) -> tuple[str, ...]:
        """The names of the levels, in order."""
        return tuple(level.name for level in self.levels)

    @functools.cached_property
    def _by_name(self) -> dict[str, Level]:
        return {level.name: level for level in self.levels}

    def level(self, name: str) -> Level:
        """Return a level by its name.

        Raises:
            UserError: If there is none of this name.
        """
        if name in self._by_name:
            return self._by_name[name]
        hint = did_you_mean(name, self.level_names) or f" It has {', '.join(self.level_names)}."
        raise UserError(f"The axis {self.name!r} has no level {name!r}.{hint}")


def axis(
    name: str, *levels: str | Mapping[str, Settings], **named_levels: Settings
) -> Axis:
    """Make an axis.

    ::

        axis("mask_head", "gin/mask_heads/default.gin", "gin/mask_heads/hourglass20.gin")
        axis("depth", {"10": "HourglassMaskHead.depth = 10", "20": "HourglassMaskHead.depth = 20"})
        axis("head", small=["gin/mask_heads/default.gin", "ConvMaskHead.width = 64"], big=...)

    Args:
        name: As tables call it.
        *levels: Gin files, each a level of the file's name, or levels by name.
        **named_levels: Further levels by name: a gin file, a binding, or several of these; ``[]``
            leaves everything as it is.

    Raises:
        UserError: If there is no level, or two of one name.
    """
    made: list[Level] = []
    for item in levels:
        if isinstance(item, Mapping):
            made += [_level(level, settings) for level, settings in item.items()]
        elif item.endswith(".gin"):
            made.append(_level(PurePath(item).stem, item))
        else:
            raise UserError(
                f"Axis {name!r}: {item!r} is no gin file; a level of bindings needs a name, as in "
                f"axis({name!r}, small={item!r}).")
    made += [_level(level, settings) for level, settings in named_levels.items()]
    return Axis(name, tuple(made))


def values(parameter: str, *choices: object, name: str = "") -> Axis:
    """Make an axis of one parameter or macro: ``values("LEARNING_RATE", 0.05, 0.1)``.

    Args:
        parameter: The left-hand side of the binding.
        *choices: Numbers, strings, booleans or None, whose text is the level's name.
        name: The axis's name; by default what follows the parameter's last dot.

    Raises:
        UserError: If there is no choice, or one that is no such value.
    """
    name = name or parameter.rpartition(".")[2]
    for choice in choices:
        if choice is not None and not isinstance(choice, str | bool | int | float):
            raise UserError(
                f"values({parameter!r}): {choice!r} is no number, string, boolean or None; "
                "use axis(), which names its levels.")
    return Axis(name, tuple(Level(str(c), (), (f"{parameter} = {c!r}",)) for c in choices))


def switch(name: str, *settings: str) -> Axis:
    """Make an axis of the levels "off" and "on"; on, the gin files and bindings are read."""
    return Axis(name, (Level("off"), _level("on", settings)))


def _level(name: str, settings: Settings) -> Level:
    items = (settings,) if isinstance(settings, str) else tuple(settings)
    gin_files, bindings = split_settings(items)
    return Level(str(name), gin_files, bindings)


def split_settings(settings: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell gin files, whose names end in ".gin", from bindings.

    Raises:
        UserError: If something is neither.
    """
    gin_files, bindings = [], []
    for item in settings:
        if not isinstance(item, str) or not (item.endswith(".gin") or "=" in item):
            raise UserError(
                f"{item!r} is neither a gin file ('gin/mask_heads/default.gin') nor a binding "
                "('ConvMaskHead.width = 64').")
        # A string may end in ".gin" as well: NAME = 'x.gin' has a quotation mark after it.
        (gin_files if item.endswith(".gin") else bindings).append(item)
    return tuple(gin_files), tuple(bindings)
