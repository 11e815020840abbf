"""A small part of COCO for tests, which are skipped if it is absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_BESIDE_THE_REPOSITORY = Path(__file__).parents[3] / "shared/data/coco_tiny"


def root() -> Path:
    """Return the folder of `images` and `annotations`; skip the test if it is absent."""
    folder = Path(os.environ.get("DEEPMAC_COCO_TINY", _BESIDE_THE_REPOSITORY))
    if not (folder / "annotations").is_dir():
        pytest.skip(f"needs 156 images of COCO at {folder} (or DEEPMAC_COCO_TINY)")
    return folder


def instances(part: str = "instances") -> dict[str, Any]:
    """Return the annotations as a COCO document; skip the test if they are absent."""
    return json.loads((root() / f"annotations/{part}.json").read_text())
