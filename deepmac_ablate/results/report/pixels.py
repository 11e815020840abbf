"""Pixels of evaluated images, read from their records."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from deepmac_ablate.data.evaluation_data import EvaluationData


def load(prefix: str, image_ids: Collection[int]) -> dict[int, np.ndarray]:
    """Return [height, width, 3] uint8 by image id; images that the records lack are left out.

    Args:
        prefix: Of the dataset.
        image_ids: Which ones.

    Raises:
        UserError: If there is no complete dataset at the prefix.
    """
    return dict(EvaluationData(prefix).images(image_ids))
