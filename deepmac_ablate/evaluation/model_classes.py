"""Classes that a trial's model knows: their ids, names, roles and labels.

They stand in classes.json of the trial's folder, as its dataset may be elsewhere when the model is
used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category, DatasetInfo
from deepmac_ablate.data.trial_dataset import find_trial_dataset
from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


class ModelClasses(NamedTuple):
    """Classes of a model by id; missing ids are unknown.

    Attributes:
        names: Names of the classes.
        roles: "seen" for classes that are trained with masks, otherwise "novel".
        labels: Numbers of the classes in the model, where they differ from the ids.
    """

    names: dict[int, str]
    roles: dict[int, class_splits.Role]
    labels: dict[int, int] = {}  # noqa: RUF012 (never changed)

    def display_name(self, class_id: int) -> str:
        """Return the name of a class, or its id if the name is unknown."""
        return self.names.get(class_id, str(class_id))

    def label(self, class_id: int) -> int:
        """Return the number of a class in the model; 0, the background, if it has none."""
        return self.labels.get(class_id, 0) if self.labels else class_id

    def id_of(self, label: int) -> int | None:
        """Return the id of a number in the model; None if it stands for no class."""
        if not self.labels:
            return label
        return next((i for i, known in self.labels.items() if known == label), None)

    def with_names(self, names: Mapping[int, str]) -> ModelClasses:
        """Return the classes with the names of another dataset.

        Args:
            names: Names by id; empty leaves the classes as they are. A class keeps its role if its
                name there is the same, or was unknown here.
        """
        if not names:
            return self
        same = {i for i in names if self.names.get(i, names[i]) == names[i]}
        roles = {i: role for i, role in self.roles.items() if i in same}
        return self._replace(names=dict(names), roles=roles)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the classes as entries of classes.json."""
        return [
            {"id": i, "name": self.names.get(i), "role": self.roles.get(i), "label": self.label(i)}
            for i in sorted({*self.names, *self.roles})]

    @classmethod
    def from_json(cls, entries: Iterable[Mapping[str, Any]]) -> ModelClasses:
        """Return the classes that `to_json` has written."""
        entries = list(entries)
        same = all(entry["id"] == entry["label"] for entry in entries)
        return cls(
            {e["id"]: e["name"] for e in entries if e["name"] is not None},
            {e["id"]: e["role"] for e in entries if e["role"] is not None},
            {} if same else {e["id"]: e["label"] for e in entries})


# Classes of which nothing is known; their ids are the numbers in the model.
UNKNOWN = ModelClasses({}, {})


def dataset_classes(
    categories: Iterable[Category], seen: class_splits.Split
) -> ModelClasses:
    """Return the classes of a dataset.

    Args:
        categories: Classes of the dataset.
        seen: Classes that are trained with masks.

    Raises:
        UserError: See `class_splits.resolve`.
    """
    categories = list(categories)
    labels = {category.id: category.label for category in categories}
    same = all(class_id == label for class_id, label in labels.items())
    return ModelClasses(
        {c.id: c.name for c in categories}, class_splits.roles(seen, categories),
        {} if same else labels)


def read_classes(workdir: TrialWorkdir) -> ModelClasses | None:
    """Return the classes in a trial's folder; None if it has none, as old trials.

    Raises:
        UserError: If classes.json is broken.
    """
    content = workdir.read_classes()
    if content is None:
        return None
    try:
        return ModelClasses.from_json(content["classes"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{workdir.path / 'classes.json'} does not list classes with id, name, role and label "
            f"({type(error).__name__}: {error}).") from error


def trial_classes(
    workdir: TrialWorkdir, prefix: str, seen: class_splits.Split, num_classes: int
) -> ModelClasses:
    """Return the classes of a trial's model, as far as its folder or its dataset tells them.

    Args:
        workdir: The folder of the trial.
        prefix: Prefix of the training data, which need not be available.
        seen: Classes that were trained with masks.
        num_classes: Number of the model's classes with background; where nothing tells the classes,
            91 stands for COCO's.

    Raises:
        UserError: If classes.json is broken.
    """
    stored = read_classes(workdir)
    if stored is not None:
        return stored
    try:
        found = find_trial_dataset(prefix, workdir)
        return dataset_classes(DatasetInfo.load(found).categories, seen)
    except UserError:
        return _guess_classes(seen, num_classes)


def _guess_classes(seen: class_splits.Split, num_classes: int) -> ModelClasses:
    if num_classes == max(class_splits.COCO) + 1:
        return dataset_classes(
            (Category(*entry) for entry in class_splits.COCO.items()), seen)
    anonymous = [Category(class_id, str(class_id)) for class_id in range(1, num_classes)]
    try:
        return ModelClasses({}, dict(class_splits.roles(seen, anonymous)))
    except UserError:
        # A split by name does not determine the roles of ids.
        return UNKNOWN
