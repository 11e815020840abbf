"""The exact numbers as they are stored: one table by class, and named scalars.

A trained model is read twice: with the boxes it detects, and with the annotated boxes, which takes
the detector out of the question. Each reading becomes rows of `per_class.csv` and scalars of
`result.json`, named `<reading>/<metric>/<classes>`: `detections/mask_ap/novel`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import pandas as pd

from deepmac_ablate.class_splits import Role
from deepmac_ablate.coco_metrics import summarise
from deepmac_ablate.mask_iou import instance_mean_iou

Reading = Literal["detections", "groundtruth"]


def per_class_frame(roles: Mapping[int, Role], *tables: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per class: `category_id`, `name`, `role`, `instances`, then every metric.

    Args:
        roles: The role of every class, from `class_splits.roles`.
        *tables: The per-class tables of one reading, all of the same images: mask AP and box AP, or
            mask AP and IoU. `instances` are those of the first.
    """
    frame = pd.concat(tables, axis="columns")
    # Every table brings name and instances.
    frame = frame.loc[:, ~frame.columns.duplicated()]
    frame.insert(1, "role", [roles[class_id] for class_id in frame.index])
    return frame.reset_index()


def scalars(reading: Reading, frame: pd.DataFrame) -> dict[str, float | None]:
    """Returns the means over seen, novel and all classes as `<reading>/<metric>/<classes>`.

    Values are in [0, 1] and means over classes, but for `iou_instances`, the mean over instances;
    None where no class has a value (JSON knows no NaN).

    Args:
        reading: Where the boxes came from.
        frame: What `per_class_frame` returned for this reading.
    """
    table = frame.set_index("category_id")
    named: dict[str, float | None] = {}
    for classes in ("seen", "novel", "all"):
        ids = table.index if classes == "all" else table.index[table["role"] == classes]
        means = summarise(table, ids)
        if "iou" in table:
            means["iou_instances"] = instance_mean_iou(table, ids)
        for metric, value in means.items():
            named[f"{reading}/{metric}/{classes}"] = None if math.isnan(value) else value
    return named


def table_text(result: Mapping[str, float | None]) -> str:
    """Returns scalars as a table for people: a row per reading and metric, in percent.

    Args:
        result: What `scalars` returned; names of another form are left out.
    """
    rows: dict[tuple[str, str], dict[str, float | None]] = {}
    for name, value in result.items():
        reading, _, rest = name.partition("/")
        metric, _, classes = rest.partition("/")
        if classes:
            rows.setdefault((reading, metric), {})[classes] = value
    columns = ("seen", "novel", "all")
    lines = [f"{'boxes':<12} {'metric':<14}" + "".join(f"{c:>8}" for c in columns)]
    for (reading, metric), values in rows.items():
        cells = (values.get(column) for column in columns)
        shown = "".join(f"{'-' if v is None else f'{100 * v:.1f}':>8}" for v in cells)
        lines.append(f"{reading:<12} {metric:<14}{shown}")
    return "\n".join(lines)
