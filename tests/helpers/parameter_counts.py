"""Numbers of parameters of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping

import tf_keras


def counts(parts: Mapping[str, tf_keras.layers.Layer | None]) -> dict[str, dict[str, int]]:
    """Count the trainable and the other parameters of each part; a part may be missing."""
    return {
        name: {
            kind: sum(math.prod(v.shape) for v in getattr(part, f"{kind}_variables", ()))
            for kind in ("trainable", "non_trainable")
        }
        for name, part in parts.items()
    }
