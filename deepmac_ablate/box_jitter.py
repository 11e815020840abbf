"""Noise on ground-truth boxes: how much of it, and in which way.

The seven modes are those of the paper's other code base (`random_jitter_boxes` of
tensorflow/models, research/object_detection/core/preprocessor.py, used by its DeepMAC), so that a
ratio means the same there and here. With u drawn uniformly, ratio r, and distances from the centre:

| mode | what is multiplied by 1 + u | u in |
|---|---|---|
| default | the distance of each of the four edges, each by its own u | -r..r |
| expand | the same | 0..r |
| shrink | the same | -r..0 |
| expand_symmetric | height and width, each by its own u; the centre stays | 0..r |
| shrink_symmetric | the same | -r..0 |
| expand_symmetric_xy | height and width by one u; centre and aspect ratio stay | 0..r |
| shrink_symmetric_xy | the same | -r..0 |

So an edge moves by at most r / 2 of the side that it bounds. Boxes are clipped to the image; the
symmetric modes instead grow no further than the nearest border of the image, on both sides alike.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal, get_args

from deepmac_ablate.errors import UserError, did_you_mean

Mode = Literal[
    "default", "expand", "shrink", "expand_symmetric", "shrink_symmetric", "expand_symmetric_xy",
    "shrink_symmetric_xy",
]
MODES: tuple[Mode, ...] = get_args(Mode)

_PREFIX = "jittered"
# One spelling for each ratio, as `Jitter.name` writes it.
_NAME = re.compile(rf"{_PREFIX}(\d+(?:\.\d+)?)(?:-(\w+))?")


@dataclasses.dataclass(frozen=True)
class Jitter:
    """A kind of noise on boxes.

    Attributes:
        ratio: r above, at least 0. Where a box may shrink it is less than 1, which would leave
            nothing of the box.
        mode: one of `MODES`.
    """

    ratio: float
    mode: Mode = "default"

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            UserError: If the mode is unknown or the ratio outside of its range.
        """
        if self.mode not in MODES:
            raise UserError(
                f"Unknown jitter mode {self.mode!r}.{did_you_mean(self.mode, MODES)} Known are "
                f"{', '.join(MODES)}.")
        below = float("inf") if self.grows_only else 1.0
        if not 0.0 <= self.ratio < below:
            bound = "" if self.grows_only else " and less than 1"
            raise UserError(
                f"The jitter ratio {self.ratio} makes no sense in mode {self.mode!r}; it must be "
                f"at least 0{bound}.")

    @property
    def grows_only(self) -> bool:
        """Whether a box never shrinks."""
        return self.mode.startswith("expand")

    @property
    def name(self) -> str:
        """How this noise is called: "jittered0.1", or "jittered0.1-expand" unless by default."""
        return f"{_PREFIX}{_plain(self.ratio)}" + (
            "" if self.mode == "default" else f"-{self.mode}")


def parse_jitter(name: str) -> Jitter | None:
    """Return what a name stands for, or None if it names no noise.

    Raises:
        UserError: If it does, but with an unknown mode, a ratio outside of its range, or in another
            spelling than `Jitter.name`, which numbers are stored by.
    """
    found = _NAME.fullmatch(name)
    if not found:
        return None
    jitter = Jitter(float(found[1]), found[2] or "default")
    if jitter.name != name:
        raise UserError(f"Jittered boxes {name!r} are called {jitter.name!r}.")
    return jitter


def _plain(ratio: float) -> str:
    """0.1 -> "0.1", 1.0 -> "1"; never with an exponent, which the grammar does not know."""
    return f"{ratio:.6f}".rstrip("0").rstrip(".")
