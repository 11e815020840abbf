"""Draw the pictures of README and docs from a finished sweep.

::

    make quickstart
    .venv/bin/deepmac-ablate evaluate --workdir runs/quickstart --box-noise 0.1 0.2 0.4 0.6
    .venv/bin/python docs/make_pictures.py runs/quickstart

Those of docs/study.md are drawn by `analysis/study_page.py`.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from deepmac_ablate import results
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.arms import ArmTrials, group_by_arm
from deepmac_ablate.results.report import evaluation_artifacts
from deepmac_ablate.results.report.crops import draw_crop
from deepmac_ablate.results.report.figures import style
from deepmac_ablate.results.report.figures.arms_plot import draw_arms
from deepmac_ablate.results.report.figures.noise_plot import draw_noise

_METRIC = "groundtruth/iou"
_NOISE = "val-groundtruth-jittered0.1-jittered0.2-jittered0.4-jittered0.6"
_DOTS_PER_INCH = 130
_COLORS = 256


def make_pictures(workdir: str, output: Path) -> None:
    """Write arms.png and, if the sweep was evaluated with box noise, box_noise.png.

    Args:
        workdir: Workdir of a finished sweep.
        output: Folder of the pictures.
    """
    arms = group_by_arm(results.load(workdir)).arms
    output.mkdir(parents=True, exist_ok=True)
    save(draw_arms(arms, _METRIC), output / "arms.png")
    try:
        noisy = results.load(workdir, evaluation=_NOISE)
    except UserError as error:
        print(f"box_noise.png is not drawn: {error}")
    else:
        save(draw_noise(group_by_arm(noisy).arms), output / "box_noise.png")


def object_at(objects: pd.DataFrame, share: float) -> int:
    """Choose a novel-class object by the rank of its mean IoU over the arms.

    Args:
        objects: A row per object and arm, with `role`, `annotation_id` and `iou`.
        share: The share of objects below it, in [0, 1]; 0.5 is the median.

    Returns:
        Its annotation id; between two ranks, that of the lower.
    """
    novel = objects[objects["role"] == "novel"]
    means = novel.groupby("annotation_id")["iou"].mean().sort_values(kind="stable")
    return int(means.index[int((len(means) - 1) * share)])


def draw_masks(
    arms: Mapping[str, ArmTrials], shares: Sequence[float], width: float
) -> Figure:
    """Draw a row per object: its ground-truth mask, then the mask of every arm, compared.

    Objects are chosen by rule, not by looks.

    Args:
        arms: The arms by title.
        shares: The ranks of the objects, see `object_at`.
        width: The width of a panel in inches.

    Raises:
        UserError: If the images on which the arms were evaluated are not available.
    """
    titles = {arm.label: title for title, arm in arms.items()}
    trials = evaluation_artifacts.choose_trials(list(arms.values()))
    dataset = evaluation_artifacts.find_dataset(trials, None)
    if not dataset.annotations:
        raise UserError(
            "The images on which the sweep was evaluated are not where they were; run this from "
            "the folder that it was launched from.")
    objects = pd.concat([evaluation_artifacts.read_instances(trial) for trial in trials])
    names = objects.drop_duplicates("annotation_id").set_index("annotation_id")["name"]
    with style.applied():
        figure = style.new_figure(
            height=0.2 + (width + 0.3) * len(shares), width=width * (len(trials) + 1))
        grid = figure.subplots(len(shares), len(trials) + 1, squeeze=False)
        for panels, share in zip(grid, shares, strict=True):
            chosen = object_at(objects, share)
            annotation = dataset.annotations[chosen]
            pixels = dataset.read_pixels([annotation["image_id"]])[annotation["image_id"]]
            # Tints are told apart on grey only.
            pixels = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
            ious = objects[objects["annotation_id"] == chosen].set_index("arm")["iou"]
            truth = annotation["segmentation"]
            shown = {"ground truth": (truth, None, f"novel: {names[chosen]}")}
            for trial in trials:
                predicted = evaluation_artifacts.read_predicted_masks(trial, [chosen])[chosen]
                shown[titles[trial.arm]] = (
                    predicted["segmentation"], truth, f"IoU {100 * ious[trial.arm]:.0f} %")
            for panel, (title, (mask, annotated, caption)) in zip(
                    panels, shown.items(), strict=True):
                crop = draw_crop(
                    pixels, mask, pixels.shape[:2], annotation["bbox"], "novel", annotated)
                panel.imshow(np.asarray(Image.open(io.BytesIO(crop))), interpolation="none")
                if share == shares[0]:
                    panel.set_title(title)
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
