"""Results as the last line of a notebook's cell: tables, figures and pictures that show themselves.

::

    frame = results.load("../runs/boxes")
    notebook.table(frame)
    notebook.plot(frame, "effects")
    notebook.gallery(frame)

They are the same as those of the commands and of the report; as text, as in a terminal.
"""

from __future__ import annotations

import itertools

import pandas as pd

from deepmac_ablate import class_splits, results
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import arms as grouping
from deepmac_ablate.results import formats
from deepmac_ablate.results.comparison import rendering as comparison_cells
from deepmac_ablate.results.effects import rendering as effect_cells
from deepmac_ablate.results.formats import Document
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report import page
from deepmac_ablate.results.report.figures.figure_files import to_inline_svg
from deepmac_ablate.results.report.sections.gallery import MAX_ARMS, make_gallery
from deepmac_ablate.results.report.sections.plots import PLOTS, make_plot_data
from deepmac_ablate.results.report.selection import most_informative_arms
from deepmac_ablate.results.tables import rendering as table_cells

# Ids within a notebook must differ, also those of one figure that is drawn twice.
_numbers = itertools.count(1)


class Shown:
    """Something to look at.

    Attributes:
        html: What a notebook shows.
        text: What a terminal shows.
    """

    def __init__(self, html: str, text: str) -> None:
        self.html = html
        self.text = text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def table(
    frame: pd.DataFrame,
    *metrics: str,
    split: class_splits.Split = None,
    confidence: float = 0.95,
) -> Shown:
    """Return a row per arm, as `deepmac-ablate table` does.

    Args:
        frame: What `results.load` returned.
        *metrics: As `<reading>/<metric>`; none: IoU in ground-truth boxes, and mask AP.
        split: Which classes count as seen; None: those of training.
        confidence: Of the intervals over seeds, in (0, 1).

    Raises:
        UserError: If there is no such metric or split.
    """
    numbers, classes = _of_split(frame, split), results.per_class(frame)
    made = results.arm_table(numbers, metrics, confidence, classes, split=split)
    return _of_document(table_cells.document(made))


def effects(
    frame: pd.DataFrame,
    metric: str = "groundtruth/iou",
    split: class_splits.Split = None,
    confidence: float = 0.95,
) -> Shown:
    """Return the effect of each axis, as `deepmac-ablate effects` does."""
    numbers, classes = _of_split(frame, split), results.per_class(frame)
    made = results.axis_effects(numbers, metric, confidence, classes, split)
    return _of_document(effect_cells.document(made))


def compare(
    frame: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    metric: str = "groundtruth/iou",
    resamples: int = 1000,
    seed: int = 0,
    images: int = 5,
) -> Shown:
    """Return two arms class by class and image by image, as `deepmac-ablate compare` does."""
    made = results.compare(frame, arm_a, arm_b, metric, resamples, seed)
    return _of_document(comparison_cells.document(made, images))


def plot(
    frame: pd.DataFrame,
    name: str,
    metric: str = "groundtruth/iou",
    split: class_splits.Split = None,
) -> Shown:
    """Return a figure of the report with its caption.

    Args:
        frame: What `results.load` returned.
        name: "arms", "effects", "cost", "classes" or "curves".
        metric: As `<reading>/<metric>`.
        split: Which classes count as seen; None: those of training.

    Raises:
        UserError: If there is no such figure or split.
    """
    if name not in PLOTS:
        raise UserError(
            f"There is no figure {name!r}.{did_you_mean(name, PLOTS)} There are "
            f"{', '.join(PLOTS)}.")
    classes = results.per_class(frame)
    data = make_plot_data(_of_split(frame, split), classes, metric, split)
    made = PLOTS[name](data)
    title = f"{made.title}: {metric_title(metric)}"
    drawn = ""
    if made.figure is not None:
        drawn = to_inline_svg(made.figure, f"{name}-{next(_numbers)}", title)
    html = page.render_template("figure.html.j2", title=title, svg=drawn, caption=made.caption)
    return Shown(html, f"{title}\n{made.caption}")


def gallery(
    frame: pd.DataFrame,
    images: int = 4,
    seed: int = 0,
    data: str | None = None,
    metric: str = "groundtruth/iou",
) -> Shown:
    """Return the same objects as every arm segments them, in ground-truth boxes.

    Args:
        frame: What `results.load` returned.
        images: Objects in each of the three groups: largest disagreement, worst, at random.
        seed: Of those at random.
        data: The prefix of the evaluated dataset; None: where the trials found it.
        metric: Where there are more arms than fit beside each other, those that are best in it are
            shown.

    Raises:
        UserError: If `data` is no dataset, or another than the trials were evaluated on.
    """
    chosen = most_informative_arms(grouping.of(frame).arms, metric, MAX_ARMS)
    made = make_gallery(chosen.arms, images, seed, data)
    notes = [note for note in (*made.notes, chosen.note) if note]
    html = page.render_template(
        "pictures.html.j2", gallery=made, notes=notes, styles=page.read_template("gallery.css"))
    return Shown(html, "\n".join(notes))


def _of_split(frame: pd.DataFrame, split: class_splits.Split) -> pd.DataFrame:
    return frame if split is None else results.with_split(frame, split)


def _of_document(document: Document) -> Shown:
    return Shown(formats.html_fragment(document), formats.markdown(document))
