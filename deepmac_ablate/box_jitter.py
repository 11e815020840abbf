"""Jitter of ground-truth boxes: ratio, mode, and the names of box sources with jitter.

The seven modes are those of the paper's other code base (`random_jitter_boxes` of
tensorflow/models, research/object_detection/core/preprocessor.py, used by its DeepMAC), so that a
ratio means the same in both. With ratio r, u drawn uniformly, and distances from the centre:

| mode | multiplied by 1 + u | u in |
|---|---|---|
| default | the distance of each of the four edges, each by its own u | -r..r |
| expand | the same | 0..r |
| shrink | the same | -r..0 |
| expand_symmetric | height and width, each by its own u; the centre stays | 0..r |
| shrink_symmetric | the same | -r..0 |
| expand_symmetric_xy | height and width by one u; centre and aspect ratio stay | 0..r |
| shrink_symmetric_xy | the same | -r..0 |

So an edge moves by at most r / 2 of the side that it bounds. Boxes are clipped to the image; in the
symmetric modes, growth instead ends on both sides at the nearest border of the image.
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

# The strongest jitter: boxes up to eleven times as large.
MAX_RATIO = 10.0

_PREFIX = "jittered"
# Each ratio has one spelling, that of `Jitter.name`.
_NAME = re.compile(rf"{_PREFIX}(\d+(?:\.\d+)?)(?:-(\w+))?")


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Noise on boxes.

    Attributes:
        ratio: The ratio r above, at least 0; less than 1 in modes in which boxes may shrink.
        mode: One of `MODES`.
    """

    ratio: float
    mode: Mode = "default"

    def __post_init__(self) -> None:
        """Check mode and ratio.

        Raises:
            UserError: If the mode is unknown or the ratio out of range.
        """
        if self.mode not in MODES:
            raise UserError(
                f"Unknown jitter mode {self.mode!r}.{did_you_mean(self.mode, MODES)} Known modes: "
                f"{', '.join(MODES)}.")
        fits = 0.0 <= self.ratio <= MAX_RATIO and (self.grows_only or self.ratio < 1.0)
        if not fits:
            bound = f" and at most {MAX_RATIO:g}" if self.grows_only else " and less than 1"
            raise UserError(
                f"The jitter ratio must be at least 0{bound} in mode {self.mode!r}, got "
                f"{self.ratio}.")

    @property
    def grows_only(self) -> bool:
        """True if boxes never shrink in this mode."""
        return self.mode.startswith("expand")

    @property
    def name(self) -> str:
        """Name of the box source: "jittered0.1", or "jittered0.1-expand" in another mode."""
        return f"{_PREFIX}{_plain(self.ratio)}" + (
            "" if self.mode == "default" else f"-{self.mode}")


def parse_jitter(name: str) -> Jitter | None:
    """Parse the name of a box source; return None if it does not name jittered boxes.

    Raises:
        UserError: If the mode is unknown, the ratio is out of range, or the spelling is not that of
            `Jitter.name`, under which results are stored.
    """
    found = _NAME.fullmatch(name)
    if not found:
        return None
    jitter = Jitter(float(found[1]), found[2] or "default")
    if jitter.name != name:
        raise UserError(f"Box source {name!r} must be spelled {jitter.name!r}.")
    return jitter


def _plain(ratio: float) -> str:
    """Format a ratio: 0.1 -> "0.1", 1.0 -> "1"; without an exponent, which names cannot have."""
    return f"{ratio:.6f}".rstrip("0").rstrip(".")
