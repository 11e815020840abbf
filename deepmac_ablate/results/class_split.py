"""The class split that a command or a report applies to results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepmac_ablate import class_splits
from deepmac_ablate.results.formats import join_names

if TYPE_CHECKING:
    import pandas as pd


def apply_split(
    frame: pd.DataFrame, per_class: pd.DataFrame, text: str | None
) -> tuple[pd.DataFrame, class_splits.Split]:
    """Return a frame with the metrics of a class split, and the split.

    Args:
        frame: The frame from `results.load`.
        per_class: The frame from `results.per_class`.
        text: The split as given on the command line; None leaves the frame as it is.

    Raises:
        UserError: If there is no such split, or it names a class that the dataset lacks.
    """
    from deepmac_ablate import results

    if text is None:
        return frame, None
    split = parse_split(text, per_class["name"].unique())
    return results.with_split(frame, split), split


def parse_split(text: str, names: Sequence[str]) -> class_splits.Split:
    """Return the class split that a command line gives.

    Args:
        text: The name of a split, or class ids and names separated by commas.
        names: The names of the dataset's classes.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    listed: list[int | str] = [int(part) if part.isdigit() else part for part in parts]
    is_split_name = len(parts) == 1 and not parts[0].isdigit() and parts[0] not in names
    return parts[0] if is_split_name else listed


def split_note(split: str | Sequence[int | str]) -> str:
    """Return the note below tables whose metrics use another class split than training."""
    shown = split if isinstance(split, str) else join_names(map(str, split))
    return (
        f"Seen and novel classes are those of the split {shown}; each trial was trained with its "
        "own split.")
