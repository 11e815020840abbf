"""The class split that a command or a report reads results with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepmac_ablate import class_splits

if TYPE_CHECKING:
    import pandas as pd


def apply_split(
    frame: pd.DataFrame, per_class: pd.DataFrame, text: str | None
) -> tuple[pd.DataFrame, class_splits.Split]:
    """Return a frame with the numbers of a split, and the split; as it is without one.

    Args:
        frame: From `results.load`.
        per_class: From `results.per_class`.
        text: What the command line says; None: nothing.

    Raises:
        UserError: If there is no such split, or a class that the dataset lacks.
    """
    from deepmac_ablate import results

    if text is None:
        return frame, None
    split = parse_split(text, per_class["name"].unique())
    return results.with_split(frame, split), split


def parse_split(text: str, names: Sequence[str]) -> class_splits.Split:
    """Return the class split that a command line names.

    Args:
        text: The name of a split, or class ids and names with commas.
        names: Of the classes of the dataset.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    listed: list[int | str] = [int(part) if part.isdigit() else part for part in parts]
    single = len(parts) == 1 and not parts[0].isdigit() and parts[0] not in names
    return parts[0] if single else listed
