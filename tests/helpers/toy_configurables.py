"""Small configurables for the tests of bindings, with names that no real configurable has."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import gin

from deepmac_ablate.bindings.ranges import Range
from deepmac_ablate.errors import UserError

if TYPE_CHECKING:
    from decimal import Decimal

gin.constant("toy_configurables.GOLDEN", 1.618)


class Brush(Protocol):
    """Tool to paint with."""

    def stroke(self) -> str:
        """Paint a stroke."""


@gin.register(module="toy_configurables")
class RoundBrush:
    """Configurable with literals of all kinds."""

    def __init__(
        self,
        width: int = 3,
        softness: Annotated[float, Range(0, 1)] | None = 0.5,
        tip: Literal["fine", "broad"] = "fine",
        wet: bool = False,
        name: str | None = None,
        bristles: Sequence[Annotated[int, Range(1, 1000)]] = (),
    ) -> None:
        self.settings, self.bristles = (width, softness, tip, wet, name), bristles


@gin.register(module="toy_configurables")
class FlatBrush:
    """Alternative in the same module."""

    def __init__(self, hairs: Sequence[int] = (1, 2), grid: tuple[int, int] = (1, 1)) -> None:
        self.hairs, self.grid = hairs, grid


@gin.register(module="toy_configurables")
@dataclasses.dataclass
class Studio:
    """Root of the configuration."""

    brush: Brush | None = None
    spare: Brush | None = None
    steps: int = 10
    rate: float = 0.1
    on_stroke: Callable[[], None] | None = None
    kind: type[Brush] | None = None


@gin.register(module="toy_configurables")
def varnish(coats: int, colour: str = gin.REQUIRED) -> tuple[int, str]:
    """Take a parameter without default and one required from gin."""
    return coats, colour


@gin.register(module="toy_configurables")
def mix(pigments: dict[str, float], **kwargs: float) -> dict[str, float]:
    """Accept misspelled parameters."""
    return pigments | kwargs


@gin.register(module="toy_configurables")
def frame(wood, price: Decimal = 1) -> str:
    """Take a parameter without annotation, and one annotated for type checkers only."""
    return f"{wood} {price}"


@gin.register(module="toy_configurables")
def sell(price: float = 0.0) -> float:
    """Raise a user error from within a configurable."""
    if price < 0:
        raise UserError(f"The price {price} is negative; give at least 0.")
    return price


@gin.register(denylist=["text"])
def sign(text: str = "") -> str:
    """Keep a parameter to its callers."""
    return text


@gin.register(module="gallery.left")
def hang(height: float = 1.5) -> float:
    """Share a name with another configurable."""
    return height


@gin.register("hang", module="gallery.right")
def hang_right(height: float = 1.5) -> float:
    """Share a name with another configurable."""
    return height
