"""The gallery: objects beside each other, as they are annotated and as every arm segments them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from deepmac_ablate.evaluation.metrics.ground_truth import has_mask
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.report import evaluation_artifacts, gallery
from deepmac_ablate.results.report import gallery as crops
from deepmac_ablate.results.report.evaluation_artifacts import Shown
from deepmac_ablate.results.report.gallery import Chosen

# Beside the annotation, in a row.
MOST_ARMS = 6
# Of pictures, so that a page stays below 8 MB with what else is in it.
_MOST_BYTES = 5_500_000


class Cell(NamedTuple):
    """A picture: its address, what it shows for who cannot see it, and the IoU in percent."""

    uri: str
    text: str
    iou: str


class Row(NamedTuple):
    """An object, annotated and as the arms segment it; `range` is that of its IoU, in percent."""

    name: str
    role: str
    image_id: int
    range: str
    cells: Sequence[Cell]


class Exhibition(NamedTuple):
    """All that is shown.

    Attributes:
        heads: Of the columns of pictures.
        groups: Titles and rows.
        notes: What a reader should know; where nothing is shown, why.
    """

    heads: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Row]]]
    notes: Sequence[str]


def make(arms: Sequence[ArmTrials], count: int, seed: int, data: str | None) -> Exhibition:
    """Choose objects and draw them.

    Args:
        arms: Those to show.
        count: Objects of each group; 0: none.
        seed: Of the group that is drawn at random.
        data: The prefix of the evaluated dataset; None: where the trials found it.

    Raises:
        UserError: If `data` is no dataset, or another than the trials were evaluated on; if a file
            of a trial is broken.
    """
    if count < 1:
        return Exhibition((), (), ("No pictures were asked for (--images 0).",))
    shown = evaluation_artifacts.trials(arms)
    if not shown:
        return Exhibition((), (), (
            "No trial of these arms has left masks (instances.csv.gz and masks.json.gz), so there "
            "is nothing to show.",))
    images = evaluation_artifacts.find(shown, data)
    objects = pd.concat([evaluation_artifacts.instances(arm) for arm in shown])
    groups = gallery.choose(objects, count, seed)
    chosen = {it.annotation_id: it for group in groups.values() for it in group}
    masks = {it.arm: evaluation_artifacts.predicted(it, chosen) for it in shown}
    pixels = images.pixels({it.image_id for it in chosen.values()})
    drawn, left_out = _drawn(groups, _Painter(images.annotations, masks, pixels))
    notes = [_seeds(shown), *_without_masks(arms, shown), images.note]
    if left_out:
        notes.append(
            f"{left_out} objects are left out, as the page would become too large; ask for fewer "
            "with --images.")
    heads = [*(["annotated"] if images.annotations else []), *masks]
    titles = [(title, drawn[name]) for name, title in gallery.GROUPS.items()]
    return Exhibition(heads, titles, [note for note in notes if note])


def _drawn(
    groups: Mapping[str, Sequence[Chosen]], painter: _Painter
) -> tuple[dict[str, list[Row]], int]:
    """Draw the groups in turn, an object of each, until the page is full."""
    rows: dict[str, list[Row]] = {name: [] for name in groups}
    left, left_out = _MOST_BYTES, 0
    for of_each in itertools.zip_longest(*groups.values()):
        for name, chosen in zip(groups, of_each, strict=True):
            if chosen is None:
                continue
            if left < 0:
                left_out += 1
                continue
            row = painter.row(chosen)
            left -= sum(len(cell.uri) for cell in row.cells)
            rows[name].append(row)
    return rows, left_out


class _Painter:
    """Draws objects.

    Args:
        annotations: By their ids; none where they are not at hand.
        masks: COCO results by arm and annotation.
        pixels: Of images by their ids.
    """

    def __init__(
        self,
        annotations: Mapping[int, Mapping[str, Any]],
        masks: Mapping[str, Mapping[int, Mapping[str, Any]]],
        pixels: Mapping[int, np.ndarray],
    ) -> None:
        self._annotations = annotations
        self._masks = masks
        self._pixels = pixels

    def row(self, chosen: Chosen) -> Row:
        """Return an object with its pictures."""
        percent = {arm: 100 * iou for arm, iou in chosen.ious.items()}
        cells = [self._annotated(chosen)] if self._annotations else []
        for arm, of_arm in self._masks.items():
            iou = f"{percent[arm]:.0f}"
            text = f"{chosen.name}, mask of {arm}: IoU {iou} %"
            cells.append(self._cell(of_arm.get(chosen.annotation_id), chosen, text, iou))
        extent = f"{min(percent.values()):.0f} to {max(percent.values()):.0f}"
        return Row(chosen.name, chosen.role, chosen.image_id, extent, cells)

    def _annotated(self, chosen: Chosen) -> Cell:
        annotation = self._annotations.get(chosen.annotation_id)
        if annotation is not None and not has_mask(annotation):
            annotation = None
        return self._cell(annotation, chosen, f"{chosen.name}, annotated mask", "")

    def _cell(
        self, result: Mapping[str, Any] | None, chosen: Chosen, text: str, iou: str
    ) -> Cell:
        if result is None:
            return Cell("", text, iou)
        size = next(
            of_arm[chosen.annotation_id]["segmentation"]["size"]
            for of_arm in self._masks.values() if chosen.annotation_id in of_arm)
        picture = crops.draw(
            self._pixels.get(chosen.image_id), result["segmentation"], size, result["bbox"],
            chosen.role)
        return Cell(crops.data_uri(picture), text, iou)


def _seeds(shown: Sequence[Shown]) -> str:
    seeds = sorted({it.seed for it in shown})
    if len(seeds) == 1:
        return f"Masks are those of seed {seeds[0]} of each arm."
    named = ", ".join(f"{it.seed} of {it.arm}" for it in shown)
    return f"No seed has left masks in all arms; masks are those of the seeds {named}."


def _without_masks(arms: Sequence[ArmTrials], shown: Sequence[Shown]) -> list[str]:
    there = {it.arm for it in shown}
    missing = [arm.label for arm in arms if arm.label not in there]
    return [f"Without masks, therefore not shown: {', '.join(missing)}."] if missing else []
