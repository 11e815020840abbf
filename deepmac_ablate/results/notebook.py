"""Tables, figures and pictures of results for notebook cells.

::

    frame = results.load("../runs/boxes")
    notebook.table(frame)
    notebook.plot(frame, "effects")
    notebook.gallery(frame)

They show the same as the commands and the report; `print` gives the text of the terminal.
"""

from __future__ import annotations

import itertools

import pandas as pd
from matplotlib.figure import Figure

from deepmac_ablate import class_splits, results
from deepmac_ablate.errors import UserError, did_you_mean
from deepmac_ablate.results import formats
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.comparison.comparison_rendering import render_comparison
from deepmac_ablate.results.effects.effects_rendering import render_effects
from deepmac_ablate.results.formats import Document
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report import page
from deepmac_ablate.results.report.figures.figure_files import to_inline_svg
from deepmac_ablate.results.report.sections.gallery import MAX_ARMS, make_gallery
from deepmac_ablate.results.report.sections.plots import PLOTS, make_plot_data
from deepmac_ablate.results.report.selection import most_informative_arms
from deepmac_ablate.results.tables.table_rendering import render_table

# SVG ids must be unique within a notebook, even if a figure is drawn twice.
_numbers = itertools.count(1)


class NotebookOutput:
    """Output of a notebook cell.

    Attributes:
        html: The HTML that a notebook shows.
        text: The text that a terminal shows.
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
) -> NotebookOutput:
    """Return a table of arms, as `deepmac-ablate table` does.

    Args:
        frame: The frame from `results.load`.
        *metrics: Metrics as `<box source>/<metric>`; by default mask IoU in ground-truth boxes and
            mask AP in detected boxes.
        split: The classes that count as seen; None means those of training.
        confidence: The confidence of the intervals over seeds, in (0, 1).

    Raises:
        UserError: If there is no such metric or split.
    """
    numbers, classes = _with_split(frame, split), results.per_class(frame)
    compared = results.arm_table(numbers, metrics, confidence, classes, split=split)
    return _show_document(render_table(compared))


def effects(
    frame: pd.DataFrame,
    metric: str = "groundtruth/iou",
    split: class_splits.Split = None,
    confidence: float = 0.95,
) -> NotebookOutput:
    """Return the effect of each axis, as `deepmac-ablate effects` does."""
    numbers, classes = _with_split(frame, split), results.per_class(frame)
    found = results.axis_effects(numbers, metric, confidence, classes, split)
    return _show_document(render_effects(found))


def compare(
    frame: pd.DataFrame,
    arm_a: str,
    arm_b: str,
    metric: str = "groundtruth/iou",
    resamples: int = 1000,
    seed: int = 0,
    images: int = 5,
) -> NotebookOutput:
    """Return a comparison of two arms, as `deepmac-ablate compare` does."""
    compared = results.compare(frame, arm_a, arm_b, metric, resamples, seed)
    return _show_document(render_comparison(compared, images))


def plot(
    frame: pd.DataFrame,
    name: str,
    metric: str = "groundtruth/iou",
    split: class_splits.Split = None,
) -> NotebookOutput:
    """Return a figure of the report with its caption.

    Args:
        frame: The frame from `results.load`.
        name: The figure: "arms", "effects", "cost", "classes" or "curves".
        metric: The metric as `<box source>/<metric>`.
        split: The classes that count as seen; None means those of training.

    Raises:
        UserError: If there is no such figure or split.
    """
    if name not in PLOTS:
        raise UserError(
            f"There is no figure {name!r}.{did_you_mean(name, PLOTS)} Available are "
            f"{', '.join(PLOTS)}.")
    classes = results.per_class(frame)
    data = make_plot_data(_with_split(frame, split), classes, metric, split)
    made = PLOTS[name](data)
    return show_figure(made.figure, f"{made.title}: {metric_title(metric)}", made.caption)


def show_figure(figure: Figure | None, title: str, caption: str = "") -> NotebookOutput:
    """Return a figure of one's own with its title and caption, as `plot` shows those of the report.

    Args:
        figure: The figure; None if there is nothing to draw, which the caption explains.
        title: The title.
        caption: What else there is to say.
    """
    drawn = "" if figure is None else to_inline_svg(figure, f"figure-{next(_numbers)}", title)
    html = page.render_template("figure.html.j2", title=title, svg=drawn, caption=caption)
    return NotebookOutput(html, f"{title}\n{caption}".rstrip())


def gallery(
    frame: pd.DataFrame,
    images: int = 4,
    seed: int = 0,
    data: str | None = None,
    metric: str = "groundtruth/iou",
) -> NotebookOutput:
    """Return pictures of the masks that each arm predicts for the same ground-truth boxes.

    Args:
        frame: The frame from `results.load`.
        images: The number of objects in each of three groups: largest disagreement, worst, random.
        seed: The seed of the random group.
        data: The prefix of the evaluated dataset; None means the one that the trials name.
        metric: The metric that ranks the arms if there are too many to show side by side.

    Raises:
        UserError: If `data` is not a dataset, or not the one that the trials were evaluated on.
    """
    chosen = most_informative_arms(group_by_arm(frame).arms, metric, MAX_ARMS)
    made = make_gallery(chosen.arms, images, seed, data)
    notes = [note for note in (*made.notes, chosen.note) if note]
    html = page.render_template(
        "pictures.html.j2", gallery=made, notes=notes, styles=page.read_styles("gallery.css"))
    return NotebookOutput(html, "\n".join(notes))


def _with_split(frame: pd.DataFrame, split: class_splits.Split) -> pd.DataFrame:
    return frame if split is None else results.with_split(frame, split)


def _show_document(document: Document) -> NotebookOutput:
    return NotebookOutput(formats.html_fragment(document), formats.markdown_text(document))
