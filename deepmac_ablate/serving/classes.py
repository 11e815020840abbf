"""What a model's classes are called, and which of them brought masks, as far as that is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from deepmac_ablate import class_splits
from deepmac_ablate.data.dataset_info import Category
from deepmac_ablate.errors import UserError


class Classes(NamedTuple):
    """The classes of a trained model by id; an id that is missing is not known.

    Attributes:
        names: what they are called.
        roles: "seen" if they were trained with masks, otherwise "novel".
    """

    names: dict[int, str]
    roles: dict[int, class_splits.Role]

    def label(self, class_id: int) -> str:
        """Returns the name of a class, or its id where there is none."""
        return self.names.get(class_id, str(class_id))

    def renamed(self, names: Mapping[int, str]) -> Classes:
        """Returns the classes as somebody else calls them.

        Args:
            names: their names by id, or nothing. A role holds only where both mean the same class.
        """
        if not names:
            return self
        same = {i for i in names if self.names.get(i, names[i]) == names[i]}
        return Classes(dict(names), {i: role for i, role in self.roles.items() if i in same})


def classes_of(
    known: Iterable[Category] | None, seen: class_splits.Split, num_classes: int
) -> Classes:
    """Finds names and roles.

    Args:
        known: the classes of the trial's data set, or None where it is out of reach.
        seen: the classes that were trained with masks.
        num_classes: of the model, background included; 91 is taken for COCO's.
    """
    if known is None and num_classes == max(class_splits.COCO) + 1:
        known = [Category(*item) for item in class_splits.COCO.items()]
    if known is not None:
        known = list(known)
        return Classes({c.id: c.name for c in known}, class_splits.roles(seen, known))
    anonymous = [Category(class_id, str(class_id)) for class_id in range(1, num_classes)]
    try:
        return Classes({}, dict(class_splits.roles(seen, anonymous)))
    except UserError:
        # A split that goes by names says nothing about ids.
        return Classes({}, {})
