"""Predictions of a trained trial on image files.

::

    OUTPUT/drawings.json       names of the drawings, written first
    OUTPUT/<image>.jpg         each image with its masks; folders as in the input
    OUTPUT/images.json         id, file name and size of each image
    OUTPUT/predictions.json    COCO results with file names, written last
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from etils import epath
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate.data import drawing, model_input, picture_reader
from deepmac_ablate.data.class_agreement import find_conflicts
from deepmac_ablate.errors import UserError, count_noun, inflect
from deepmac_ablate.evaluation.given_boxes import GivenBox
from deepmac_ablate.evaluation.model_classes import ModelClasses
from deepmac_ablate.evaluation.predictor import ImagePrediction, Predictor
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.progress import track
from deepmac_ablate.serving.box_file import BoxFile, FileBox, ListedImage, clip_boxes
from deepmac_ablate.serving.image_folder import ImageFile, clear_output, drawing_names
from deepmac_ablate.serving.trained import TrainedModel, load_trained
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json

# Name of the file as a box source of the predictor.
_SOURCE = "file"


class PredictionSummary(NamedTuple):
    """Summary of a run.

    Attributes:
        lines: Lines that describe the written files to a user.
        problems: A sentence for each image or box that was skipped; those of the file of boxes are
            not repeated.
    """

    lines: list[str]
    problems: list[str]


class _LoadedImage(NamedTuple):
    """Image to predict on, with its boxes if any are given."""

    file: ImageFile
    image_id: int
    pixels: np.ndarray
    remarks: tuple[str, ...]
    boxes: list[FileBox]


def predict_images(
    workdir: str,
    images: Sequence[ImageFile],
    boxes: BoxFile | None,
    listed: Mapping[str, ListedImage],
    output: epath.Path,
    min_score: float,
    batch_size: int,
) -> PredictionSummary:
    """Predict masks with the latest checkpoint of a trial and draw them.

    Args:
        workdir: Workdir of the trial.
        images: Image files.
        boxes: Boxes to segment, at least one for each image; None detects objects.
        listed: Known ids and sizes of images by name. Other images are numbered from 1, or from the
            highest known id.
        output: Folder to write to; the results of an earlier run there are deleted.
        min_score: Lowest score of detections that are drawn, in [0, 1]; predictions.json has all
            of them.
        batch_size: Number of images in a batch, at least 1.

    Raises:
        UserError: If there is no trial or checkpoint, or boxes lack what the model needs.
    """
    trained = load_trained(workdir)
    trained.check_detector(bool(boxes), "give boxes with --boxes")
    classes, problems, notes = trained.classes, list[str](), list[str]()
    if boxes:
        notes = _check_classes(boxes, trained)
        classes = classes.with_names(boxes.class_names)
    predictor = Predictor(
        trained.model, trained.strategy, min(batch_size, len(images)), trained.classes)
    loaded = _load_images(
        track(images, len(images), "Predicting"), _complete_ids(images, listed), boxes, problems)
    deleted = clear_output(output, images)
    names = dict(zip(images, drawing_names(images), strict=True))
    results, shown, entries = (list[dict[str, Any]]() for _ in range(3))
    remarks: Counter[str] = Counter()
    for image, prediction in _predict(predictor, loaded, trained.model, boxes is None, batch_size):
        image_results = _make_results(image, prediction)
        visible = [result for result in image_results if result["score"] >= min_score]
        path = output / names[image.file]
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = draw_results(image.pixels, visible, classes, show_scores=boxes is None)
        file_io.write(path, encode_jpeg(drawn))
        results += image_results
        shown += visible
        height, width = image.pixels.shape[:2]
        entries.append({
            "id": image.image_id, "file_name": image.file.name, "width": width, "height": height})
        remarks.update(image.remarks)
    file_io.write(output / "images.json", to_json(entries) + "\n")
    path = output / "predictions.json"
    file_io.write(path, to_json(results) + "\n")
    drawn = count_noun(len(shown), "mask")
    if not boxes:
        drawn += f" that {inflect(len(shown), 'scores', 'score')} at least {min_score:g}"
        drawn += "" if shown else f"; {_describe_best(results)}"
    return PredictionSummary(
        [f"{output}: {len(entries)} of {count_noun(len(images), 'image')}, drawn with {drawn}"
         + _count_by_role(shown, classes),
         f"{path}: {count_noun(len(results), 'mask')}"
         + ("" if listed else "; images are numbered as in images.json"),
         *filter(None, [deleted]),
         *(f"  {remark}: {number}" for remark, number in sorted(remarks.items())), *notes],
        problems)


def _complete_ids(
    images: Sequence[ImageFile], listed: Mapping[str, ListedImage]
) -> dict[str, ListedImage]:
    """Return ids and sizes of all images by name, with new ids for those that are not listed."""
    new_ids = itertools.count(1 + max((image.image_id for image in listed.values()), default=0))
    return {
        image.name: listed.get(image.name) or ListedImage(next(new_ids), None) for image in images}


def _load_images(
    files: Iterable[ImageFile], listed: Mapping[str, ListedImage], boxes: BoxFile | None,
    problems: list[str],
) -> Iterator[_LoadedImage]:
    """Read images one by one, and add a sentence to `problems` for each image or box skipped."""
    for file in files:
        image_id, size = listed[file.name]
        try:
            picture, remarks = picture_reader.read_picture(file.path, size)
        except UserError as error:
            problems.append(f"{str(error).rstrip('.')}; it is skipped.")
            continue
        given = []
        if boxes:
            given, skipped = clip_boxes(
                boxes.by_name[file.name], file.name, picture.height, picture.width)
            problems += skipped
        yield _LoadedImage(file, image_id, np.asarray(picture), remarks, given)


def _predict(
    predictor: Predictor, images: Iterator[_LoadedImage], model: MaskRCNN, detect: bool,
    batch_size: int,
) -> Iterator[tuple[_LoadedImage, ImagePrediction]]:
    """Run the model on batches of images."""
    prepare = tf.function(
        lambda pixels: model_input.prepare_image(pixels, model.image_size),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    while batch := list(itertools.islice(images, batch_size)):
        prepared, info = zip(*(prepare(image.pixels) for image in batch), strict=True)
        # Positions instead of ids, which a file need not make unique.
        wanted = {
            position: [
                GivenBox(_SOURCE, index, box.category_id or 0, box.bbox)
                for index, box in enumerate(image.boxes)]
            for position, image in enumerate(batch)}
        predictions = predictor.predict(
            {"images": tf.stack(prepared), "image_info": tf.stack(info),
             "image_ids": tf.range(len(batch))},
            wanted, detect)
        yield from zip(batch, predictions, strict=True)


def _make_results(image: _LoadedImage, prediction: ImagePrediction) -> list[dict[str, Any]]:
    """Return COCO results, best first; given boxes have score 1, and their class if known."""
    common = {"image_id": image.image_id, "file_name": image.file.name}
    detected = [{**result, **common} for result in prediction.detections]
    given = [
        {**common, **({} if box.category_id is None else {"category_id": box.category_id}),
         "bbox": box.bbox, "score": 1.0,
         "segmentation": prediction.in_boxes[_SOURCE][index]}
        for index, box in enumerate(image.boxes)]
    return sorted(detected, key=lambda result: -result["score"]) + given


def _check_classes(boxes: BoxFile, trained: TrainedModel) -> list[str]:
    """Compare the classes of the boxes with those of the trial.

    Returns:
        A sentence for each class on which they do not agree, where the mask head knows no classes.

    Raises:
        UserError: If the mask head is class-specific, and a box has no class that it knows.
    """
    classes, source = trained.classes, "the file of boxes"
    used = {box.category_id for given in boxes.by_name.values() for box in given}
    named = {i: name for i, name in boxes.class_names.items() if i in used}
    conflicts = find_conflicts("the trial", classes.names, source, named)
    if trained.model.mask_head.class_agnostic:
        return [
            f"{conflict}: the names of {source} are used." for conflict in conflicts]
    if conflicts:
        raise UserError(
            f"The mask head of this trial is class-specific, and {conflicts[0]}.")
    labels = classes.labels or range(1, trained.model.num_classes)
    for name, given in boxes.by_name.items():
        for box in given:
            if box.category_id not in labels:
                raise UserError(
                    "The mask head of this trial is class-specific, so every box needs a "
                    f"category_id {_describe_ids(labels)}; the box {box.bbox} of {name} has "
                    f"{box.category_id}.")
    return []


def _describe_ids(ids: Collection[int]) -> str:
    if isinstance(ids, range):
        return f"from {ids[0]} to {ids[-1]}"
    return f"of {count_noun(len(ids), 'class', 'classes')} from {min(ids)} to {max(ids)}"


def _describe_best(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return "nothing was detected"
    best = max(results, key=lambda result: result["score"])
    return f"the best score is {best['score']:.2g}, in {best['file_name']}"


def _count_by_role(shown: Sequence[dict[str, Any]], classes: ModelClasses) -> str:
    roles = [classes.roles.get(result.get("category_id")) for result in shown]
    if not any(roles):
        return ""
    return f" ({roles.count('seen')} of seen classes, {roles.count('novel')} of novel ones)"


# Larger images are drawn smaller, so that labels stay readable when the whole image is shown, but
# not so small that `drawing` would enlarge them again, unless they are thin strips.
_MAX_SIDE = 1600
_MIN_SIDE = 320
_JPEG_QUALITY = 92


def draw_results(
    pixels: np.ndarray,
    results: Sequence[Mapping[str, Any]],
    classes: ModelClasses,
    show_scores: bool,
) -> Image.Image:
    """Draw results on an image, which is shrunk if a side has more than 1600 pixels.

    Args:
        pixels: [height, width, 3] uint8.
        results: COCO results with masks as run lengths.
        classes: Classes of the model.
        show_scores: True writes the scores.
    """
    image = Image.fromarray(pixels)
    scale = max(_MAX_SIDE / max(image.size), _MIN_SIDE / min(image.size))
    scale = min(1.0, scale, drawing.MAX_SIDE / max(image.size))
    size = tuple(max(1, round(side * scale)) for side in image.size)
    if scale < 1.0:
        image = image.resize(size, Image.Resampling.LANCZOS)
    boxes = np.array([_yxyx(result["bbox"]) for result in results]).reshape(-1, 4) * scale
    masks = np.zeros((len(results), *image.size[::-1]), np.uint8)
    for mask, result in zip(masks, results, strict=True):
        whole = Image.fromarray(rle.decode(result["segmentation"]))
        mask[:] = np.asarray(whole.resize(size, Image.Resampling.NEAREST))
    ids = [result.get("category_id") for result in results]
    return drawing.draw_instances(
        np.asarray(image), boxes, masks,
        ["" if class_id is None else classes.display_name(class_id) for class_id in ids],
        [classes.roles.get(class_id) for class_id in ids],
        [result["score"] for result in results] if show_scores else None)


def encode_jpeg(image: Image.Image) -> bytes:
    """Encode an image as JPEG without blurred colours at the edges of masks."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _yxyx(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [y, x, y + height, x + width]
