"""A trained trial -> masks on pictures of one's own.

::

    OUTPUT/<picture>.jpg       each picture with its masks; folders as in the input
    OUTPUT/predictions.json    COCO results with file names, written last
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from etils import epath
from PIL import Image
from pycocotools import mask as rle

from deepmac_ablate import storage
from deepmac_ablate.data import drawing, model_input
from deepmac_ablate.errors import UserError
from deepmac_ablate.evaluation.given_boxes import GivenBox
from deepmac_ablate.evaluation.predictor import ImagePrediction, Predictor
from deepmac_ablate.modeling.mask_rcnn import MaskRCNN
from deepmac_ablate.progress import track
from deepmac_ablate.serving import box_file, image_folder, trained
from deepmac_ablate.serving.box_file import BoxFile, FileBox
from deepmac_ablate.serving.image_folder import Picture
from deepmac_ablate.serving.trained import Classes
from deepmac_ablate.storage.strict_json import to_json

# What the boxes of a file are called on their way through the model.
_SOURCE = "file"


class Report(NamedTuple):
    """What was predicted.

    Attributes:
        lines: what was written, for people.
        problems: a sentence for each picture or box that is left out.
    """

    lines: list[str]
    problems: list[str]


class _Item(NamedTuple):
    """A picture on its way through the model."""

    picture: Picture
    image_id: int
    pixels: np.ndarray
    boxes: list[FileBox]


def run(
    workdir: str,
    images: Sequence[Picture],
    boxes: BoxFile | None,
    output: epath.Path,
    least_score: float,
    batch_size: int,
) -> Report:
    """Predict with the last checkpoint of a trial.

    Args:
        workdir: of the trial.
        images: the pictures.
        boxes: where to segment, at least one box for each picture; None: detect objects.
        output: the folder that files go to; what has their names is replaced.
        least_score: detections that score less are not drawn; predictions.json has all of them.
        batch_size: pictures that go through the model at once.

    Raises:
        UserError: if there is no trial or checkpoint, or boxes lack a class that the model needs.
    """
    model = trained.load(workdir)
    problems = list(boxes.problems) if boxes else []
    classes = model.classes
    if boxes:
        _check_classes(boxes, model)
        classes = classes.renamed(boxes.names)
    predictor = Predictor(model.model, model.strategy, min(batch_size, len(images)))
    items = _read(track(images, len(images), "Predicting"), boxes, problems)
    names = dict(zip(images, image_folder.drawing_names(images), strict=True))
    results: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    drawn = 0
    for item, prediction in _predict(predictor, items, model.model, boxes is None, batch_size):
        own = _results(item, prediction)
        visible = [result for result in own if result["score"] >= least_score]
        path = output / names[item.picture]
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = draw(item.pixels, visible, classes, scored=boxes is None)
        storage.write(path, to_jpeg(picture))
        results += own
        shown += visible
        drawn += 1
    output.mkdir(parents=True, exist_ok=True)
    path = output / "predictions.json"
    storage.write(path, to_json(results) + "\n")
    return Report(
        [f"{output}: {drawn} of {len(images)} images, drawn with {len(shown)} masks"
         + ("" if boxes else f" that score at least {least_score:g}") + _by_role(shown, classes),
         f"{path}: {len(results)} masks"],
        problems)


def _read(
    images: Iterable[Picture], boxes: BoxFile | None, problems: list[str]
) -> Iterator[_Item]:
    """Read pictures one by one; notes the ones that cannot be read, and boxes of no use."""
    for number, picture in enumerate(images, 1):
        try:
            pixels = image_folder.read(picture.path)
        except UserError as error:
            problems.append(f"{str(error).rstrip('.')}; it is skipped.")
            continue
        image_id, given = number, []
        if boxes:
            image_id = boxes.image_ids.get(picture.name, number)
            given, useless = box_file.clip(
                boxes.by_name[picture.name], picture.name, *pixels.shape[:2])
            problems += useless
        yield _Item(picture, image_id, pixels, given)


def _predict(
    predictor: Predictor, items: Iterator[_Item], model: MaskRCNN, detect: bool, batch_size: int
) -> Iterator[tuple[_Item, ImagePrediction]]:
    """Run the model on batches of pictures."""
    prepare = tf.function(
        lambda pixels: model_input.prepare_image(pixels, model.image_size),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    while batch := list(itertools.islice(items, batch_size)):
        prepared, info = zip(*(prepare(item.pixels) for item in batch), strict=True)
        # Positions instead of ids: those of a file need not differ.
        wanted = {
            position: [
                GivenBox(_SOURCE, index, box.category_id or 0, box.bbox)
                for index, box in enumerate(item.boxes)]
            for position, item in enumerate(batch)}
        predictions = predictor.predict(
            {"images": tf.stack(prepared), "image_info": tf.stack(info),
             "image_ids": tf.range(len(batch))},
            wanted, detect)
        yield from zip(batch, predictions, strict=True)


def _results(item: _Item, prediction: ImagePrediction) -> list[dict[str, Any]]:
    """Return COCO results, best first; a given box has score 1, and a class if it was told."""
    own = {"image_id": item.image_id, "file_name": item.picture.name}
    detected = [{**result, **own} for result in prediction.detections]
    given = [
        {**own, **({} if box.category_id is None else {"category_id": box.category_id}),
         "bbox": box.bbox, "score": 1.0,
         "segmentation": prediction.in_boxes[_SOURCE][index]}
        for index, box in enumerate(item.boxes)]
    return sorted(detected, key=lambda result: -result["score"]) + given


def _check_classes(boxes: BoxFile, trial: trained.Trained) -> None:
    """Raise unless each box has a class where the mask head has a mask for each class."""
    if trial.model.mask_head.class_agnostic:
        return
    most, known = trial.model.num_classes - 1, trial.classes.names
    for name, given in boxes.by_name.items():
        for box in given:
            class_id = box.category_id
            if class_id is None or class_id > most:
                raise UserError(
                    f"The mask head of this trial predicts a mask for each class, but the box "
                    f"{box.bbox} of {name} has the category_id {class_id}; from 1 to {most} is "
                    "needed.")
            called = boxes.names.get(class_id)
            if called != known.get(class_id, called) and called is not None:
                raise UserError(
                    f"The mask head of this trial predicts a mask for each class, but class "
                    f"{class_id} is {known[class_id]!r} to it and {called!r} to the boxes.")


def _by_role(shown: Sequence[dict[str, Any]], classes: Classes) -> str:
    roles = [classes.roles.get(result.get("category_id")) for result in shown]
    if not any(roles):
        return ""
    return f" ({roles.count('seen')} of seen classes, {roles.count('novel')} of novel ones)"


# Larger pictures are drawn smaller, or labels could not be read where the whole is seen; but not
# so small that `drawing` would enlarge them again.
_MAX_SIDE = 1600
_MIN_SIDE = 320
_JPEG_QUALITY = 92


def draw(
    pixels: np.ndarray,
    results: Sequence[Mapping[str, Any]],
    classes: Classes,
    scored: bool,
) -> Image.Image:
    """Draw results on a picture, made smaller if a side has more than 1600 pixels.

    Args:
        pixels: [h, w, 3] uint8.
        results: COCO results with masks as run lengths.
        classes: of the model.
        scored: whether scores are written.
    """
    picture = Image.fromarray(pixels)
    scale = min(1.0, max(_MAX_SIDE / max(picture.size), _MIN_SIDE / min(picture.size)))
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    if scale < 1.0:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    # Large ones first, as they would hide the small ones.
    upwards = sorted(results, key=lambda result: -result["bbox"][2] * result["bbox"][3])
    boxes = np.array([_yxyx(result["bbox"]) for result in upwards]).reshape(-1, 4) * scale
    masks = np.zeros((len(upwards), *picture.size[::-1]), np.uint8)
    for mask, result in zip(masks, upwards, strict=True):
        whole = Image.fromarray(rle.decode(result["segmentation"]))
        mask[:] = np.asarray(whole.resize(size, Image.Resampling.NEAREST))
    ids = [result.get("category_id") for result in upwards]
    return drawing.draw_instances(
        np.asarray(picture), boxes, masks,
        ["" if class_id is None else classes.label(class_id) for class_id in ids],
        [classes.roles.get(class_id) for class_id in ids],
        [result["score"] for result in upwards] if scored else None)


def to_jpeg(picture: Image.Image) -> bytes:
    """Return a picture as a JPEG file, without blurred colours at the edges of masks."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _yxyx(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [y, x, y + height, x + width]
