"""Where the tests find a real, small part of COCO, and what they do where it is absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).parents[2] / "shared/data/coco_tiny"


def instances(part: str = "instances") -> dict[str, Any]:
    """Returns the annotations as a COCO dict, or skips the test with the reason."""
    root = Path(os.environ.get("DEEPMAC_COCO_TINY", _BESIDE_THE_REPOSITORY))
    path = root / f"annotations/{part}.json"
    if not path.exists():
        pytest.skip(f"needs 156 images of COCO at {root} (or DEEPMAC_COCO_TINY)")
    return json.loads(path.read_text())
