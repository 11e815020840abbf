"""The metrics of each ground-truth object, as stored in a trial's instances.csv.gz."""

from __future__ import annotations

import gzip
import io
import zlib

import pandas as pd

from deepmac_ablate.errors import UserError

FILE = "instances.csv.gz"
IDS = ("image_id", "category_id", "annotation_id")
# Columns that are neither metrics of the predicted mask nor ids.
_OTHERS = ("reading", "area", "iou_filled_box", "iou_ellipse", "iou_ceiling")


def parse_instances(content: bytes, path: str) -> pd.DataFrame:
    """Return the metrics of masks in ground-truth boxes, one row per object.

    Args:
        content: The content of the file.
        path: The file's path, for the error message.

    Returns:
        Columns `image_id`, `category_id`, `annotation_id`, `iou`, `boundary_iou` and further
        metrics, sorted by image and annotation, so that the rows of two trials correspond.

    Raises:
        UserError: If the content is broken.
    """
    try:
        rows = pd.read_csv(io.BytesIO(gzip.decompress(content)))
        if not isinstance(rows.index, pd.RangeIndex):
            raise ValueError("a line has too many cells")  # noqa: TRY004, TRY301
        metrics = [name for name in rows if name not in (*IDS, *_OTHERS, "iou", "boundary_iou")]
        rows = rows.loc[
            rows["reading"] == "groundtruth", [*IDS, "iou", "boundary_iou", *metrics]]
        _check_rows(rows)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise UserError(
            f"{path} is broken ({error}); delete it and evaluate the trial again.") from error
    return rows.sort_values(["image_id", "annotation_id"], ignore_index=True)


def _check_rows(rows: pd.DataFrame) -> None:
    """Raise a ValueError unless ids are whole numbers and metrics in [0, 1] or missing."""
    for name in IDS:
        if len(rows) and rows[name].dtype != "int64":
            raise ValueError(f"{name} must be a whole number")
    if rows["annotation_id"].duplicated().any():
        raise ValueError("an annotation appears twice")
    for name in rows.columns.drop(list(IDS)):
        values = pd.to_numeric(rows[name]).astype(float)
        if not (values.isna() | values.between(0, 1 + 1e-6)).all():
            raise ValueError(f"{name} must be from 0 to 1")
