"""Description of a converted dataset: the info file beside its records.

A dataset with the prefix ``P`` (a path without extension) consists of

* ``P-00000-of-00008.tfrecord`` and so on: the records that training reads,
* ``P-annotations.json``: the COCO annotations of exactly these images, used by evaluation,
* ``P-info.json``: counts, categories and the fingerprint. It is written last, so if it exists, the
  dataset is complete.

Plans and tables read it, so nothing here imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Mapping
from typing import Any

from etils import epath

from deepmac_ablate.errors import UserError, count_noun, did_you_mean, inflect
from deepmac_ablate.storage import file_io

_NAMED_AT_MOST = 5
# A model for 3 of the 1,203 classes of LVIS may keep their ids.
_MOST_UNUSED_LABELS = 1200


@dataclasses.dataclass(frozen=True)
class Category:
    """A class of the annotations.

    Attributes:
        id: Id in the annotations, any integer of 64 bits. Users see only this one.
        name: Name in the annotations.
        label: Number in the records and in the model, at least 1, as 0 is the background. None
            stands for the id.
    """

    id: int
    name: str
    label: int | None = None

    def __post_init__(self) -> None:
        if self.label is None:
            object.__setattr__(self, "label", self.id)


def number_classes(names: Mapping[int, str]) -> tuple[Category, ...]:
    """Return classes by ascending id, with labels for the model.

    The ids are the labels where a model can use them: those of COCO, for instance, with 10 unused
    ones. Ids that begin at 0, or leave so large gaps that a model would consist of unused classes,
    are numbered from 1.

    Args:
        names: Names of the classes by id.
    """
    ids = sorted(names)
    usable = ids[0] >= 1 and ids[-1] <= len(ids) + _MOST_UNUSED_LABELS
    return tuple(
        Category(class_id, names[class_id], class_id if usable else label)
        for label, class_id in enumerate(ids, 1))


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """Summary of a converted dataset.

    Attributes:
        name: The last part of the prefix.
        fingerprint: Hash of the images and the converted annotations, 12 hexadecimal digits. It
            does not depend on the number of shards, on paths or on the order in the source.
        num_images: Number of images in the records, including those without instances.
        num_instances: Number of instances in the records, crowds not counted.
        num_crowds: Number of crowd regions in the records.
        num_shards: Number of record files.
        categories: All classes of the source, by ascending id.
        num_boxes_only: Number of instances that have a box but no mask.
        num_masks_by_class: Number of instances with a mask by category id, crowds not counted; None
            if the dataset was converted by an earlier version.
        images_by_num_instances: Number of images by their number of instances, crowds not counted;
            None if the dataset was converted by an earlier version.
        pseudo_masks: The trial whose predictions some masks are, and how they were chosen, as
            `data pseudo-masks` wrote it; None if all are annotated.
    """

    name: str
    fingerprint: str
    num_images: int
    num_instances: int
    num_crowds: int
    num_shards: int
    categories: tuple[Category, ...]
    num_boxes_only: int = 0
    num_masks_by_class: dict[int, int] | None = None
    images_by_num_instances: dict[int, int] | None = None
    pseudo_masks: dict[str, Any] | None = None

    @property
    def identity(self) -> str:
        """The name under which gin files declare the dataset: ``name@fingerprint``."""
        return f"{self.name}@{self.fingerprint}"

    @classmethod
    def load(cls, prefix: str | os.PathLike[str]) -> DatasetInfo:
        """Read the info file of `prefix` and check that all files of the dataset exist.

        Raises:
            UserError: If there is no such dataset, or a part of it is missing.
        """
        path = info_path(prefix)
        try:
            content = path.read_text()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(_why_missing(epath.Path(prefix))) from error
        try:
            info = cls._from_json(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is not the info file of a dataset ({type(error).__name__}: {error}); "
                f"convert the dataset again."
            ) from error
        if missing := _missing_files(info, epath.Path(prefix)):
            raise UserError(f"The dataset {prefix} is incomplete: {missing}; convert it again.")
        return info

    @classmethod
    def _from_json(cls, fields: Mapping[str, Any]) -> DatasetInfo:
        categories = tuple(
            Category(int(c["id"]), str(c["name"]), int(c.get("label", c["id"])))
            for c in fields["categories"])
        counts: dict[str, dict[int, int]] = {}
        for name in ("num_masks_by_class", "images_by_num_instances"):
            if fields.get(name) is not None:
                # The keys of JSON are text.
                counts[name] = {int(key): int(count) for key, count in fields[name].items()}
        return cls(**{**fields, **counts, "categories": categories})

    def save(self, prefix: str | os.PathLike[str]) -> None:
        """Write the info file of `prefix` atomically."""
        file_io.write(info_path(prefix), json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @property
    def names(self) -> dict[int, str]:
        """The name of each class by its id."""
        return {category.id: category.name for category in self.categories}

    @property
    def labels(self) -> dict[int, int]:
        """The label of each class by its id; see `Category`."""
        return {category.id: category.label for category in self.categories}

    def check_num_classes(self, num_classes: int) -> None:
        """Check that a model has enough classes for the dataset.

        Args:
            num_classes: Number of classes of the model, background included.

        Raises:
            UserError: If it has too few.
        """
        largest = max(self.labels.values())
        if num_classes <= largest:
            raise UserError(
                f"MaskRCNN.num_classes = {num_classes} is too small for the dataset "
                f"{self.name}, whose classes are numbered up to {largest}: use {largest + 1}."
            )

    def check_masks(self, seen_ids: Collection[int], split: object) -> None:
        """Check that a class split selects at least one mask to train with, or no class.

        Args:
            seen_ids: Ids of the classes that are trained with masks.
            split: The class split as it is bound, for the message.

        Raises:
            UserError: If the seen classes have no mask in the dataset.
        """
        if self.num_masks_by_class is None or not seen_ids:
            return
        if not any(self.num_masks_by_class.get(category_id) for category_id in seen_ids):
            masked = [c.name for c in self.categories if self.num_masks_by_class.get(c.id)]
            raise UserError(
                f"Training.seen_classes = {split!r} selects no mask in the dataset {self.name}, so "
                f"the mask head would learn nothing: select some of {', '.join(masked[:5])}"
                f"{', ...' if len(masked) > 5 else ''}, or 'none', or train by boxes with a weak "
                "loss, see gin/weak_losses/.")

    def describe_pseudo_masks(self) -> str:
        """Return a sentence about predicted masks among the annotations, or ""."""
        if not (teacher := self.pseudo_masks):
            return ""
        return (
            f"{teacher.get('masks')} masks are predictions of trial {teacher.get('trial')} at step "
            f"{teacher.get('step')} (objects: {teacher.get('objects')}, least stability "
            f"{teacher.get('min_stability')}).")

    def describe_dropped(self, max_instances: int) -> str:
        """Return a sentence about the instances that a limit per image drops, or "".

        Args:
            max_instances: `TrainingData.max_instances`.
        """
        beyond = {
            number - max_instances: count
            for number, count in (self.images_by_num_instances or {}).items()
            if number > max_instances}
        if not beyond:
            return ""
        images, largest = sum(beyond.values()), max(beyond) + max_instances
        dropped = sum(number * count for number, count in beyond.items())
        return (
            f"{images} of {count_noun(self.num_images, 'image')} of the dataset {self.name} "
            f"{inflect(images, 'has', 'have')} more objects than TrainingData.max_instances = "
            f"{max_instances}, up to {largest}: in each epoch {dropped} of "
            f"{count_noun(self.num_instances, 'object')} ({dropped / self.num_instances:.1%}), "
            "drawn anew, train neither the box head nor the mask head, and their boxes count as "
            "background. A larger limit takes more memory.")

    def record_files(self, prefix: str | os.PathLike[str]) -> list[epath.Path]:
        """Return the record files of `prefix` in the order of their shard numbers."""
        return [shard_path(prefix, i, self.num_shards) for i in range(self.num_shards)]


def info_path(prefix: str | os.PathLike[str]) -> epath.Path:
    """Return the path of the info file of `prefix`."""
    return _beside(prefix, "-info.json")


def annotations_path(prefix: str | os.PathLike[str]) -> epath.Path:
    """Return the path of the COCO annotations of `prefix`."""
    return _beside(prefix, "-annotations.json")


def shard_path(prefix: str | os.PathLike[str], shard: int, num_shards: int) -> epath.Path:
    """Return the path of one of the record files of `prefix`."""
    return _beside(prefix, f"-{shard:05d}-of-{num_shards:05d}.tfrecord")


def _beside(prefix: str | os.PathLike[str], ending: str) -> epath.Path:
    path = epath.Path(prefix)
    return path.parent / f"{path.name}{ending}"


def _missing_files(info: DatasetInfo, prefix: epath.Path) -> str:
    expected = [*info.record_files(prefix), annotations_path(prefix)]
    # One listing instead of a request per shard, which would be slow on a bucket.
    present = {path.name for path in prefix.parent.iterdir()}
    missing = [path.name for path in expected if path.name not in present]
    if not missing:
        return ""
    more = len(missing) - _NAMED_AT_MOST
    named = ", ".join(missing[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
    return f"{named} {'is' if len(missing) == 1 else 'are'} missing"


def _why_missing(prefix: epath.Path) -> str:
    if prefix.is_dir():
        known = _datasets_in(prefix)
        found = f"holds {', '.join(known)}" if known else "holds no dataset"
        return f"{prefix} is a folder that {found}; name a dataset, such as {prefix}/train."
    if not prefix.parent.is_dir():
        return f"There is no dataset {prefix}: the folder {prefix.parent} does not exist."
    if any(prefix.parent.glob(f"{prefix.name}-*-of-*.tfrecord")):
        return (
            f"The dataset {prefix} is incomplete: {info_path(prefix).name} is missing, so its "
            f"conversion was interrupted; convert it again."
        )
    known = _datasets_in(prefix.parent)
    listed = f" The folder holds: {', '.join(known)}." if known else ""
    return (
        f"There is no dataset {prefix}: {info_path(prefix).name} is missing."
        f"{did_you_mean(prefix.name, known)}{listed}"
    )


def _datasets_in(folder: epath.Path) -> list[str]:
    return sorted(path.name.removesuffix("-info.json") for path in folder.glob("*-info.json"))
