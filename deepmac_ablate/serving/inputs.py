"""What may go into an exported function, by the names that Model Garden's exports use."""

from __future__ import annotations

from typing import Literal, get_args

Input = Literal["image_tensor", "image_bytes", "tf_example", "image_and_boxes_tensor"]
INPUTS: tuple[Input, ...] = get_args(Input)
