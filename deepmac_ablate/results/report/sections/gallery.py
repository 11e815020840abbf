"""Gallery: the same objects side by side, as annotated and as each arm segments them.

Each arm is represented by one trial, and masks are predicted in ground-truth boxes, so that no
detector decides which objects there are.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from deepmac_ablate.errors import BrokenFileWarning, UserError, count_noun
from deepmac_ablate.evaluation.metrics.ground_truth import has_mask
from deepmac_ablate.results.arms import ArmTrials
from deepmac_ablate.results.report import crops, evaluation_artifacts
from deepmac_ablate.results.report.evaluation_artifacts import RepresentativeTrial
from deepmac_ablate.results.report.selection import GROUPS, ChosenObject, choose_objects

# Arms that fit beside the annotation in a row.
MAX_ARMS = 6
# Size of all images, so that a whole page stays below 8 MB.
_MAX_BYTES = 5_500_000

T = TypeVar("T")


class Cell(NamedTuple):
    """Image of an object.

    Attributes:
        uri: Data URI of the image; empty if there is no mask.
        text: Alternative text.
        iou: IoU in percent; empty for the annotation.
    """

    uri: str
    text: str
    iou: str


class Row(NamedTuple):
    """Object with its images.

    Attributes:
        name: Name of the class.
        role: "seen" or "novel".
        image_id: Id of the image that shows the object.
        iou_range: Lowest and highest IoU of the arms, in percent.
        cells: The annotation, if available, and each arm's mask.
    """

    name: str
    role: str
    image_id: int
    iou_range: str
    cells: Sequence[Cell]


class Gallery(NamedTuple):
    """Objects in groups.

    Attributes:
        headers: Headers of the columns of images.
        groups: Titles and rows.
        notes: Caveats for readers; if nothing is shown, why.
        missing: The note that the dataset is not available; empty if it is.
    """

    headers: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Row]]]
    notes: Sequence[str]
    missing: str = ""

    @property
    def classes(self) -> dict[str, int]:
        """The number of rows of each class by its name, in alphabetical order."""
        names = Counter(row.name for _, rows in self.groups for row in rows)
        return dict(sorted(names.items()))

    @property
    def roles(self) -> dict[str, int]:
        """The number of rows of novel and of seen classes."""
        roles = Counter(row.role for _, rows in self.groups for row in rows)
        return {role: roles[role] for role in ("novel", "seen") if roles[role]}


def make_gallery(arms: Sequence[ArmTrials], count: int, seed: int, data: str | None) -> Gallery:
    """Choose objects and draw them.

    Issues a `BrokenFileWarning` for each trial that is not shown because one of its files is
    broken.

    Args:
        arms: Arms to show.
        count: Number of objects in each group; 0 shows none.
        seed: Seed of the random group.
        data: Prefix of the evaluated dataset; None takes the one that the trials recorded.

    Raises:
        UserError: If there is no dataset at `data`, the trials were evaluated on a different one,
            or its annotations are broken.
    """
    if count < 1:
        return Gallery((), (), ("No images were requested (--images 0).",))
    trials = evaluation_artifacts.choose_trials(arms)
    if not trials:
        return Gallery((), (), (
            "Nothing to show: no finished trial of these arms has masks (instances.csv.gz and "
            "masks.json.gz).",))
    dataset = evaluation_artifacts.find_dataset(trials, data)
    tables = _read_each(trials, evaluation_artifacts.read_instances)
    if not tables:
        return Gallery((), (), ("Nothing to show: the files of all trials are broken.",))
    instances = pd.concat(tables.values())
    groups = choose_objects(instances, count, seed)
    chosen = {each.annotation_id: each for group in groups.values() for each in group}
    masks = {
        trial.arm: found for trial, found in _read_each(
            tables, lambda trial: evaluation_artifacts.read_predicted_masks(trial, chosen)).items()}
    trials = [trial for trial in trials if trial.arm in masks]
    pixels = dataset.read_pixels({each.image_id for each in chosen.values()})
    rows, omitted = _draw_rows(groups, _Painter(dataset.annotations, masks, pixels))
    notes = [_seed_note(trials), *_missing_arms_note(arms, trials), dataset.note]
    if omitted:
        notes.append(
            f"{count_noun(omitted, 'object is', 'objects are')} omitted to limit the size of the "
            "page; request fewer with --images.")
    headers = [*(["annotated"] if dataset.annotations else []), *masks]
    titled = [(title, rows[name]) for name, title in GROUPS.items()]
    return Gallery(headers, titled, [note for note in notes if note], dataset.note)


def _read_each(
    trials: Iterable[RepresentativeTrial], read: Callable[[RepresentativeTrial], T]
) -> dict[RepresentativeTrial, T]:
    """Read a file of each trial; those of which it is broken are left out with a warning."""
    found = {}
    for trial in trials:
        try:
            found[trial] = read(trial)
        except UserError as error:
            warnings.warn(
                f"No masks of {trial.arm} are shown: {error}", BrokenFileWarning, stacklevel=2)
    return found


class _Painter:
    """Draws objects.

    Args:
        annotations: Annotations by id; empty if they are not available.
        masks: COCO results by arm and annotation id.
        pixels: Pixels by image id.
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

    def draw_row(self, chosen: ChosenObject) -> Row:
        """Return an object with its images."""
        percent = {arm: 100 * iou for arm, iou in chosen.ious.items()}
        annotation, cells = self._find_annotation(chosen), []
        if self._annotations:
            text = f"{chosen.name}, annotated mask"
            cells.append(self._draw_cell(annotation, None, chosen, text, ""))
        for arm, arm_masks in self._masks.items():
            iou = f"{percent[arm]:.0f}"
            text = f"{chosen.name}, mask of {arm}: IoU {iou} %"
            result = arm_masks.get(chosen.annotation_id)
            cells.append(self._draw_cell(result, annotation, chosen, text, iou))
        iou_range = f"{min(percent.values()):.0f} to {max(percent.values()):.0f}"
        return Row(chosen.name, chosen.role, chosen.image_id, iou_range, cells)

    def _draw_cell(
        self,
        result: Mapping[str, Any] | None,
        annotation: Mapping[str, Any] | None,
        chosen: ChosenObject,
        text: str,
        iou: str,
    ) -> Cell:
        """Return the image of a mask, compared with an annotation if there is one."""
        if result is None:
            return Cell("", text, iou)
        size = next(
            arm_masks[chosen.annotation_id]["segmentation"]["size"]
            for arm_masks in self._masks.values() if chosen.annotation_id in arm_masks)
        crop = crops.draw_crop(
            self._pixels.get(chosen.image_id), result["segmentation"], size, result["bbox"],
            chosen.role, annotation and annotation["segmentation"])
        return Cell(crops.data_uri(crop), text, iou)

    def _find_annotation(self, chosen: ChosenObject) -> Mapping[str, Any] | None:
        """Return the annotation of an object; None if it is not available or has no mask."""
        annotation = self._annotations.get(chosen.annotation_id)
        return annotation if annotation is not None and has_mask(annotation) else None


def _draw_rows(
    groups: Mapping[str, Sequence[ChosenObject]], painter: _Painter
) -> tuple[dict[str, list[Row]], int]:
    """Draw one object of each group in turn until the page is full.

    Returns:
        The rows by group, and the number of omitted objects.
    """
    rows: dict[str, list[Row]] = {name: [] for name in groups}
    left, omitted = _MAX_BYTES, 0
    for row_of_groups in itertools.zip_longest(*groups.values()):
        for name, chosen in zip(groups, row_of_groups, strict=True):
            if chosen is None:
                continue
            if left < 0:
                omitted += 1
                continue
            row = painter.draw_row(chosen)
            left -= sum(len(cell.uri) for cell in row.cells)
            rows[name].append(row)
    return rows, omitted


def _seed_note(trials: Sequence[RepresentativeTrial]) -> str:
    seeds = {trial.seed for trial in trials}
    if len(seeds) == 1:
        return f"All masks are from seed {seeds.pop()}."
    named = ", ".join(f"seed {trial.seed} of {trial.arm}" for trial in trials)
    return f"No single seed has masks for every arm; the masks are from {named}."


def _missing_arms_note(
    arms: Sequence[ArmTrials], trials: Sequence[RepresentativeTrial]
) -> list[str]:
    shown = {trial.arm for trial in trials}
    missing = [arm.label for arm in arms if arm.label not in shown]
    return [f"Not shown because they have no masks: {', '.join(missing)}."] if missing else []
