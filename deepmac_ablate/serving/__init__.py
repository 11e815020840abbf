"""Use of trained trials elsewhere: SavedModels, and masks on other images."""

from __future__ import annotations

from typing import Literal, get_args

# Inputs of an exported function, by the names that Model Garden's exports use.
InputType = Literal["image_tensor", "image_bytes", "tf_example", "image_and_boxes_tensor"]
INPUT_TYPES: tuple[InputType, ...] = get_args(InputType)
