"""Ranges of numbers, for annotations of configurable parameters.

``num_convs: Annotated[int, Range(0, 100)] = 4`` is checked when gin files are read, before anything
is built, and listed by ``deepmac-ablate bindings``. A range should admit every value that an
ablation may want, and refuse those that no trial can train with or fit into memory. The names below
are for ranges that several classes share.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated


@dataclasses.dataclass(frozen=True)
class Range:
    """Range of a number, both ends included; NaN is in no range."""

    least: float
    most: float

    def __contains__(self, number: float) -> bool:
        return self.least <= number <= self.most

    def __str__(self) -> str:
        return f"from {_format(self.least)} to {_format(self.most)}"


def _format(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


# A part of a whole, an IoU, a score or a momentum.
Share = Annotated[float, Range(0, 1)]
Factor = Annotated[float, Range(0.01, 10)]
Epsilon = Annotated[float, Range(1e-20, 1)]

# A convolution has the square of its channels in weights, several times over.
Channels = Annotated[int, Range(1, 4096)]
Units = Annotated[int, Range(1, 16_384)]
Layers = Annotated[int, Range(0, 100)]
# In cells of a feature map.
Side = Annotated[int, Range(1, 512)]

# Boxes of an image, of which each is a row in a tensor, or a crop that the mask head is trained on.
Count = Annotated[int, Range(1, 100_000)]
Slots = Annotated[int, Range(1, 2000)]

Images = Annotated[int, Range(1, 10_000)]
Steps = Annotated[int, Range(1, 10_000_000)]
