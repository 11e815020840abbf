"""The scores as they are stored: a table with a row per class, and named scalars.

A trained model predicts masks in the boxes of several box sources: in those that it detects, in the
ground-truth boxes, which leaves the detector out, and optionally in ground-truth boxes that are
jittered. Each box source has rows in `per_class.csv` (named in the column `reading`) and scalars in
`result.json`, named `<box source>/<metric>/<classes>`, such as `detections/mask_ap/novel`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from deepmac_ablate import box_jitter
from deepmac_ablate.box_jitter import Jitter
from deepmac_ablate.class_splits import Role
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.evaluation.metrics.average_precision import class_means, instance_mean

BOX_SOURCES: tuple[str, ...] = ("detections", "groundtruth")

# Metrics that are shares of instances: for a group of classes they are the share of all its
# instances, not the mean of its classes' shares.
OVER_INSTANCES: tuple[str, ...] = ("mask_ar100_agnostic",)


def check_box_sources(names: Sequence[str]) -> None:
    """Raise unless all names are valid box sources.

    Raises:
        UserError: If a name is not a box source or is given twice.
    """
    for name in names:
        if name not in BOX_SOURCES and box_jitter.parse_jitter(name) is None:
            number = re.search(r"\d+(\.\d+)?", name)
            known = [*BOX_SOURCES, *([f"jittered{number[0]}"] if number else [])]
            raise UserError(
                f"Unknown box source {name!r}.{did_you_mean(name, known)} Known are "
                f"{', '.join(BOX_SOURCES)}, and ground-truth boxes jittered by a ratio and mode, "
                "such as jittered0.1 or jittered0.1-expand.")
        if names.count(name) > 1:
            raise UserError(f"Box source {name!r} is given {names.count(name)} times, not once.")


def requested_box_sources(
    box_sources: Sequence[str], noise: Sequence[float], mode: box_jitter.Mode | None
) -> list[str]:
    """Return the box sources that the options of a command name; an empty list if none do.

    Args:
        box_sources: Box sources given by name.
        noise: Jitter ratios. If there are any, ground-truth boxes without jitter are included.
        mode: The jitter mode; None for "default".

    Raises:
        UserError: If a name, a ratio or the mode is invalid, or a box source is given twice.
    """
    if mode is not None and not noise:
        raise UserError(
            f"--jitter-mode {mode} has no effect without --box-noise; give jitter ratios, such as "
            "--box-noise 0.1.")
    jittered = [Jitter(ratio, mode or "default").name for ratio in noise]
    if jittered and "groundtruth" not in box_sources:
        jittered.insert(0, "groundtruth")
    check_box_sources([*box_sources, *jittered])
    return [*box_sources, *jittered]


def per_class_frame(roles: Mapping[int, Role], *tables: pd.DataFrame) -> pd.DataFrame:
    """Return one row per class: `category_id`, `name`, `role`, `instances`, then every metric.

    Args:
        roles: The role of every class, from `class_splits.roles`.
        *tables: The per-class tables of one box source for the same images, such as mask AP and box
            AP. `instances` is taken from the first one; if that is about masks, it counts the
            instances with a mask.
    """
    frame = pd.concat(tables, axis="columns")
    # Every table has the columns name and instances.
    frame = frame.loc[:, ~frame.columns.duplicated()]
    frame.insert(1, "role", [roles[class_id] for class_id in frame.index])
    return frame.reset_index()


def mean_scalars(box_source: str, frame: pd.DataFrame) -> dict[str, float | None]:
    """Return the means over seen, novel and all classes as `<box source>/<metric>/<classes>`.

    Values are in [0, 1] and means over classes, except `iou_instances` and `OVER_INSTANCES`, which
    are means over instances. They are None where no class has a value, as JSON has no NaN.

    Args:
        box_source: The box source.
        frame: The table from `per_class_frame` for this box source.
    """
    table = frame.set_index("category_id")
    named: dict[str, float | None] = {}
    for classes in ("seen", "novel", "all"):
        ids = table.index if classes == "all" else table.index[table["role"] == classes]
        means = class_means(table, ids)
        for metric in OVER_INSTANCES:
            if metric in table:
                means[metric] = instance_mean(table, ids, metric)
        if "iou" in table:
            means["iou_instances"] = instance_mean(table, ids, "iou")
        for metric, value in means.items():
            named[f"{box_source}/{metric}/{classes}"] = None if math.isnan(value) else value
    return named


def table_text(result: Mapping[str, float | None]) -> str:
    """Return scalars as a readable table with a row per box source and metric, in percent.

    Args:
        result: The content of result.json. If only a part of the images was evaluated, the last
            line says so; other entries than metrics are left out.
    """
    rows: dict[tuple[str, str], dict[str, float | None]] = {}
    for name, value in result.items():
        box_source, _, rest = name.partition("/")
        metric, _, classes = rest.partition("/")
        if classes:
            rows.setdefault((box_source, metric), {})[classes] = value
    columns = ("seen", "novel", "all")
    boxes = max([12, *(len(box_source) for box_source, _ in rows)])
    names = max([14, *(len(metric) for _, metric in rows)])
    lines = [f"{'boxes':<{boxes}} {'metric':<{names}}" + "".join(f"{c:>8}" for c in columns)]
    for (box_source, metric), values in rows.items():
        cells = (values.get(column) for column in columns)
        shown = "".join(f"{'-' if v is None else f'{100 * v:.1f}':>8}" for v in cells)
        lines.append(f"{box_source:<{boxes}} {metric:<{names}}{shown}")
    images, most = result.get("images"), result.get("dataset_images")
    if images and most and images < most:
        lines.append(f"Evaluated on {images:,} of {most:,} images.")
    return "\n".join(lines)
