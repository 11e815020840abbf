"""The IoU of each annotated object, as a trial has kept it in instances.csv.gz."""

from __future__ import annotations

import gzip
import io
import zlib

import pandas as pd

from deepmac_ablate.errors import UserError

FILE = "instances.csv.gz"


def table(content: bytes, where: str) -> pd.DataFrame:
    """Return `image_id`, `category_id`, `iou`, `boundary_iou` of masks in ground-truth boxes.

    Raises:
        UserError: If the content is broken; it names `where` it was read.
    """
    columns = ["image_id", "category_id", "annotation_id", "iou", "boundary_iou"]
    try:
        rows = pd.read_csv(io.BytesIO(gzip.decompress(content)))
        rows = rows.loc[rows["reading"] == "groundtruth", columns]
    except (OSError, EOFError, ValueError, KeyError, zlib.error) as error:
        raise UserError(
            f"{where} is broken ({error}); delete it and evaluate the trial again.") from error
    # As written, in the order of the annotations; sorted, because trials are compared row by row.
    return rows.sort_values(["image_id", "annotation_id"], ignore_index=True)
