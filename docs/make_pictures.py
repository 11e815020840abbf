"""Draw the README's pictures from a finished sweep.

::

    make quickstart
    .venv/bin/python docs/make_pictures.py runs/quickstart

The object is chosen by rule, not by looks: of all novel-class objects, the one whose IoU in its
ground-truth box, averaged over the arms, is the median.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from deepmac_ablate import results
from deepmac_ablate.results import arms as grouping
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.report import evaluation_artifacts, gallery
from deepmac_ablate.results.report.figures import arms as arms_figure
from deepmac_ablate.results.report.figures import style

_METRIC = "groundtruth/iou"
_DOTS_PER_INCH = 150
_COLORS = 128


def make(workdir: str, output: Path) -> None:
    """Write masks.png and arms.png.

    Args:
        workdir: Of a finished sweep whose evaluated images are still where they were.
        output: The folder of the pictures.
    """
    arms = grouping.of(results.load(workdir)).arms
    output.mkdir(parents=True, exist_ok=True)
    save(draw_masks(arms), output / "masks.png")
    save(arms_figure.draw(arms, _METRIC), output / "arms.png")


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


def draw_masks(arms: Sequence[ArmTrials]) -> Figure:
    """Draw the median object: its ground-truth mask, then the mask of every arm."""
    trials = evaluation_artifacts.trials(arms)
    dataset = evaluation_artifacts.find(trials, None)
    objects = pd.concat([evaluation_artifacts.instances(trial) for trial in trials])
    chosen = median_object(objects)
    annotation = dataset.annotations[chosen]
    pixels = dataset.pixels([annotation["image_id"]])[annotation["image_id"]]
    ious = objects[objects["annotation_id"] == chosen].set_index("arm")["iou"]
    name = objects.set_index("annotation_id")["name"][chosen].iloc[0]
    shown = {"ground truth": (annotation["segmentation"], f"novel class: {name}")}
    for trial in trials:
        predicted = evaluation_artifacts.predicted(trial, [chosen])[chosen]
        shown[trial.arm] = (predicted["segmentation"], f"IoU {100 * ious[trial.arm]:.0f} %")
    with style.applied():
        figure = style.figure(height=2.05, width=1.5 * len(shown))
        panels = figure.subplots(1, len(shown), squeeze=False)[0]
        for panel, (title, (segmentation, caption)) in zip(panels, shown.items(), strict=True):
            crop = gallery.draw(
                pixels, segmentation, pixels.shape[:2], annotation["bbox"], "novel")
            panel.imshow(np.asarray(Image.open(io.BytesIO(crop))), interpolation="none")
            panel.set_title(title.replace("+", "\n+ "))
            panel.set_xlabel(caption)
            panel.set_xticks([])
            panel.set_yticks([])
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
    make(args.workdir, args.output)
