"""Draw the README's pictures from a finished sweep, beside what needs no training.

::

    make quickstart
    .venv/bin/python docs/make_pictures.py runs/quickstart

The object is chosen by rule, not by looks: of all novel-class objects, the one whose IoU in its
ground-truth box, averaged over the arms, is the median. Dotted lines in the arms' plot are what the
filled ground-truth box and the ellipse in it would score.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from deepmac_ablate import results
from deepmac_ablate.data import masks
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.report import evaluation_artifacts
from deepmac_ablate.results.report.crops import draw_crop
from deepmac_ablate.results.report.evaluation_artifacts import (
    EvaluatedDataset,
    RepresentativeTrial,
)
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.arms_plot import draw_arms

_METRIC = "groundtruth/iou"
_DOTS_PER_INCH = 150
_COLORS = 128


def make_pictures(workdir: str, output: Path) -> None:
    """Write masks.png and arms.png.

    Args:
        workdir: Workdir of a finished sweep.
        output: Folder of the pictures.

    Raises:
        UserError: If the images on which it was evaluated are not available.
    """
    arms = group_by_arm(results.load(workdir)).arms
    trials = evaluation_artifacts.choose_trials(arms)
    dataset = evaluation_artifacts.find_dataset(trials, None)
    if not dataset.annotations:
        raise UserError(
            f"The images on which {workdir} was evaluated are not where they were; run this from "
            "the folder that it was launched from.")
    objects = pd.concat([evaluation_artifacts.read_instances(trial) for trial in trials])
    output.mkdir(parents=True, exist_ok=True)
    save(draw_masks(trials, dataset, objects), output / "masks.png")
    figure = draw_arms(arms, _METRIC)
    draw_floors(figure, floors(dataset.annotations, objects))
    save(figure, output / "arms.png")


def median_object(objects: pd.DataFrame) -> int:
    """Choose the novel-class object with the median of the mean IoU over the arms.

    Args:
        objects: A row per object and arm, with `role`, `annotation_id` and `iou`.

    Returns:
        Its annotation id; of an even number of objects, the lower of the two in the middle.
    """
    novel = objects[objects["role"] == "novel"]
    means = novel.groupby("annotation_id")["iou"].mean().sort_values(kind="stable")
    return int(means.index[(len(means) - 1) // 2])


def floors(annotations: Mapping[int, Mapping[str, Any]], objects: pd.DataFrame) -> pd.DataFrame:
    """Measure shapes that need no training.

    Args:
        annotations: COCO annotations by id, with run-length encoded masks.
        objects: A row per object and arm, with `role`, `category_id` and `annotation_id`.

    Returns:
        IoU in percent, averaged over classes: a row per role, a column for the filled "box" and one
        for the inscribed "ellipse".
    """
    ious = []
    for key, row in objects.groupby("annotation_id").first().iterrows():
        height, width = annotations[key]["segmentation"]["size"]
        mask = masks.decode_segmentation(annotations[key]["segmentation"], height, width) > 0
        x, y, box_width, box_height = annotations[key]["bbox"]
        rows, columns = np.mgrid[:height, :width] + 0.5
        # From -1 to 1 inside the box.
        down = (rows - y) / box_height * 2 - 1
        right = (columns - x) / box_width * 2 - 1
        shapes = {"box": np.maximum(abs(down), abs(right)) < 1, "ellipse": down**2 + right**2 < 1}
        ious.append({"role": row["role"], "class": row["category_id"], **{
            name: 100 * (mask & shape).sum() / (mask | shape).sum()
            for name, shape in shapes.items()}})
    return pd.DataFrame(ious).groupby(["role", "class"]).mean().groupby("role").mean()


def draw_floors(figure: Figure, values: pd.DataFrame) -> None:
    """Mark in each panel of the arms' plot what needs no training, and print it."""
    print(values.round(1).to_string())
    for panel, role in zip(figure.axes, style.ROLES, strict=True):
        for name, value in values.loc[role].items():
            panel.axvline(value, color=style.QUIET, linestyle=":")
            panel.text(value, -0.45, f" {name}", color=style.QUIET, fontsize="small")


def draw_masks(
    trials: Sequence[RepresentativeTrial], dataset: EvaluatedDataset, objects: pd.DataFrame
) -> Figure:
    """Draw the median object: its ground-truth mask, then the mask of every arm."""
    chosen = median_object(objects)
    annotation = dataset.annotations[chosen]
    pixels = dataset.read_pixels([annotation["image_id"]])[annotation["image_id"]]
    ious = objects[objects["annotation_id"] == chosen].set_index("arm")["iou"]
    name = objects.set_index("annotation_id")["name"][chosen].iloc[0]
    shown = {"ground truth": (annotation["segmentation"], f"novel class: {name}")}
    for trial in trials:
        predicted = evaluation_artifacts.read_predicted_masks(trial, [chosen])[chosen]
        shown[trial.arm] = (predicted["segmentation"], f"IoU {100 * ious[trial.arm]:.0f} %")
    with style.applied():
        figure = style.new_figure(height=2.05, width=1.5 * len(shown))
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for panel, (title, (segmentation, caption)) in zip(panels, shown.items(), strict=True):
            crop = draw_crop(
                pixels, segmentation, pixels.shape[:2], annotation["bbox"], "novel")
            panel.imshow(np.asarray(Image.open(io.BytesIO(crop))), interpolation="none")
            panel.set_title(title.replace("+", "\n+ "))
            panel.set_xlabel(caption)
            panel.set_xticks([])
            panel.set_yticks([])
            panel.spines[:].set_visible(False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a small PNG file on white, which is legible on any page."""
    file = io.BytesIO()
    with style.applied():
        figure.savefig(file, format="png", dpi=_DOTS_PER_INCH, facecolor="white")
    picture = Image.open(file).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workdir", help="workdir of a finished sweep")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "pictures")
    args = parser.parse_args()
    make_pictures(args.workdir, args.output)
