"""Class splits: seen classes are trained with masks; all other classes are novel.

A split is bound in gin, so it is a plain value: the name of a known split, or a list of class ids
and names. The masks of a novel class are withheld in training and scored in evaluation; a class on
the wrong side would silently spoil the result, so nothing is guessed here::

    resolve("voc", categories)                # the 20 classes of PASCAL VOC
    resolve("random-20-seed-3", categories)   # 20 classes, always the same
    resolve([1, "zebra"], categories)         # two classes
    resolve(None, categories)                 # all: the fully supervised oracle
    resolve([], categories)                   # none
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from deepmac_ablate.errors import UserError, count_noun, did_you_mean

Role = Literal["seen", "novel"]
Split = str | Sequence[int | str] | None

# The 80 classes of COCO 2017: ids 1..90, of which 10 are unused (instances_val2017.json).
COCO: dict[int, str] = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train",
    8: "truck", 9: "boat", 10: "traffic light", 11: "fire hydrant", 13: "stop sign",
    14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog", 19: "horse", 20: "sheep",
    21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack",
    28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove",
    41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass",
    47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple",
    54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza",
    60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink",
    82: "refrigerator", 84: "book", 85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear",
    89: "hair drier", 90: "toothbrush",
}  # fmt: skip

# The 20 classes that COCO shares with PASCAL VOC, the split of the paper (arXiv:2104.00613); ids
# as `allowed_mask_class_ids` of tensorflow/models, official/projects/deepmac_maskrcnn.
VOC: frozenset[int] = frozenset(
    [1, 2, 3, 4, 5, 6, 7, 9, 16, 17, 18, 19, 20, 21, 44, 62, 63, 64, 67, 72]
)
# The other 60: the paper's second direction, "non-VOC -> VOC".
NON_VOC: frozenset[int] = frozenset(COCO) - VOC
# VOC and 20 more: the 40-class split of OPMask (Biertimpel et al., ICCV 2021), whose code numbers
# classes from 0 without gaps.
COCO40: frozenset[int] = VOC | {
    10, 11, 15, 25, 27, 28, 31, 41, 48, 53, 54, 55, 58, 60, 70, 73, 80, 85, 87, 90}

# The two halves of the built-in synthetic dataset of shapes.
SHAPES_A: tuple[str, ...] = ("disc", "crescent", "triangle", "hexagon", "star", "arrow")
SHAPES_B: tuple[str, ...] = ("ellipse", "ring", "square", "l_shape", "cross", "gear")

NAMES: tuple[str, ...] = ("voc", "nonvoc", "coco40", "all", "none", "shapes_a", "shapes_b")

COCO_SPLITS: dict[str, frozenset[int]] = {"voc": VOC, "nonvoc": NON_VOC, "coco40": COCO40}
# Each draw has one spelling, so that equal trials have the same id.
_RANDOM = re.compile(r"random-([1-9]\d*)-seed-(0|[1-9]\d*)")


class Category(Protocol):
    """One class of a dataset."""

    @property
    def id(self) -> int:
        """Id in the annotations, at least 1."""

    @property
    def name(self) -> str:
        """Name in the annotations."""


def resolve(split: Split, categories: Iterable[Category]) -> frozenset[int]:
    """Return the ids of the seen classes of a dataset.

    Args:
        split: One of `NAMES`; "random-<k>-seed-<s>" for k classes drawn with seed s; a list of
            class ids and names; or None for all classes.
        categories: All classes of the dataset.

    Raises:
        UserError: If the split is unknown, lists a class twice or one that the dataset lacks, draws
            more classes than there are, or is a split of COCO but the classes are not COCO's.
    """
    names = {category.id: category.name for category in categories}
    if split is None or split == "all":
        return frozenset(names)
    if split == "none":
        return frozenset()
    if isinstance(split, str) and split in COCO_SPLITS:
        return _coco(split, names)
    if split == "shapes_a":
        return _listed(SHAPES_A, names)
    if split == "shapes_b":
        return _listed(SHAPES_B, names)
    if isinstance(split, str) and split.startswith("random"):
        return _random(split, names)
    if isinstance(split, str):
        if split in names.values():
            raise UserError(
                f"Class split {split!r} is the name of a class; to select this class, write "
                f"[{split!r}].")
        check_name(split)
    if not isinstance(split, Sequence):
        raise UserError(
            f"A class split must be one of {', '.join(NAMES)} or a list of class ids and names, "
            f"got {split!r}."
        )
    return _listed(split, names)


def check_name(split: Split) -> None:
    """Check the name of a split without knowing the classes; a list of classes is not checked.

    Raises:
        UserError: If there is no split of this name.
    """
    if not isinstance(split, str) or split in NAMES:
        return
    if split.startswith("random"):
        _number_and_seed(split)
        return
    raise UserError(
        f"Unknown class split {split!r}.{did_you_mean(split, NAMES)} Known are "
        f"{', '.join(NAMES)}, random-<k>-seed-<s> and lists of class ids and names."
    )


def roles(split: Split, categories: Iterable[Category]) -> dict[int, Role]:
    """Return the role of each class of a dataset, by id, in the order of the dataset.

    Raises:
        UserError: See `resolve`.
    """
    categories = list(categories)
    seen = resolve(split, categories)
    return {category.id: "seen" if category.id in seen else "novel" for category in categories}


def _coco(split: str, names: dict[int, str]) -> frozenset[int]:
    """Return the classes of a COCO split that the dataset has."""
    for class_id, name in names.items():
        if COCO.get(class_id) != name:
            coco = repr(COCO[class_id]) if class_id in COCO else "no class"
            raise UserError(
                f"Class split {split!r} needs COCO's classes, but class {class_id} of the dataset "
                f"is {name!r} where COCO has {coco}; list the seen classes by id or name instead."
            )
    seen = COCO_SPLITS[split] & frozenset(names)
    if not seen:
        raise UserError(
            f"Class split {split!r} has no class in common with the dataset; "
            "write 'none' to train no class with masks."
        )
    return seen


def _random(split: str, names: dict[int, str]) -> frozenset[int]:
    """Return k classes of a dataset, drawn with a seed.

    Classes are ranked by a hash of seed and id, not by a random generator, whose numbers may change
    between versions. So the k + 1 classes of a seed are its k classes and one more.
    """
    number, seed = _number_and_seed(split)
    if number > len(names):
        raise UserError(
            f"Class split {split!r} draws {count_noun(number, 'class', 'classes')}, but the "
                f"dataset has {len(names)}.")
    ranked = sorted(names, key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest())
    return frozenset(ranked[:number])


def _number_and_seed(split: str) -> tuple[int, int]:
    drawn = _RANDOM.fullmatch(split)
    if not drawn:
        raise UserError(
            f"Class split {split!r} is not of the form random-<k>-seed-<s>, such as "
            "random-20-seed-3.")
    return int(drawn[1]), int(drawn[2])


def _listed(entries: Sequence[int | str], names: dict[int, str]) -> frozenset[int]:
    """Return the ids of classes listed by id or name."""
    seen: set[int] = set()
    for entry in entries:
        class_id = _class_id(entry, names)
        if class_id in seen:
            raise UserError(
                f"The class split lists class {class_id} ({names[class_id]!r}) twice, "
                f"the second time as {entry!r}."
            )
        seen.add(class_id)
    return frozenset(seen)


def _class_id(entry: int | str, names: dict[int, str]) -> int:
    if isinstance(entry, str):
        ids = [class_id for class_id, name in names.items() if name == entry]
        if len(ids) > 1:
            raise UserError(
                f"The dataset has {len(ids)} classes {entry!r}; list them by id: {ids}.")
        if not ids:
            raise UserError(
                f"The class split names class {entry!r}, which the dataset lacks."
                f"{did_you_mean(entry, names.values())}"
            )
        return ids[0]
    # A bool is an int in Python, but True is never meant as the class with id 1.
    if not isinstance(entry, int) or isinstance(entry, bool):
        raise UserError(f"The class split lists {entry!r}, which is not a class id or name.")
    if entry not in names:
        known = "no classes"
        if names:
            known = f"{count_noun(len(names), 'id')} in {min(names)}..{max(names)}"
        raise UserError(
            f"The class split names class id {entry}, which the dataset lacks: it has {known}."
        )
    return entry
