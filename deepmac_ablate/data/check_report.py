"""Report of a verified dataset, as text for ``deepmac-ablate data check``."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from etils import epath

from deepmac_ablate.data.dataset_info import DatasetInfo
from deepmac_ablate.data.label_text import shorten_label
from deepmac_ablate.errors import count_noun

# Letters of a class name in the report.
_MAX_NAME = 60


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """Findings in the records of a dataset.

    Attributes:
        info: The content of the info file.
        seen_ids: Ids of the classes trained with masks; None if no split was given.
        num_instances: Number of instances in the records by category id, crowds not counted.
        num_boxes_only: Number of these that have a box but no mask, by category id.
        most_objects: Largest number of instances in an image.
        most_objects_image: Id of an image with that number, or "".
        notes: One sentence for each peculiarity that is no problem.
        problems: One sentence for each problem; empty if there is none.
        contact_sheet: Path of one picture with all drawn images, or None if none was drawn.
    """

    info: DatasetInfo
    seen_ids: frozenset[int] | None
    num_instances: dict[int, int]
    num_boxes_only: dict[int, int]
    most_objects: int
    most_objects_image: str
    notes: list[str]
    problems: list[str]
    contact_sheet: epath.Path | None

    def role(self, category_id: int) -> str:
        """Return "seen" or "novel", or an empty string if no split was given."""
        if self.seen_ids is None:
            return ""
        return "seen" if category_id in self.seen_ids else "novel"

    def lines(self) -> list[str]:
        """Return the report as text: the table of classes, notes and problems."""
        lines = [f"{self.info.identity}: {count_noun(self.info.num_images, 'image')}"]
        lines += filter(None, [self.info.describe_pseudo_masks()])
        lines += self._table()
        if self.most_objects:
            lines.append(
                f"Most objects in an image: {self.most_objects} (image {self.most_objects_image})")
        if self.contact_sheet is not None:
            lines.append(f"Contact sheet: {self.contact_sheet}")
        if self.notes:
            lines += ["Notes:", *(f"  {note}" for note in self.notes)]
        if not self.problems:
            return [*lines, "No problems."]
        return [*lines, "Problems:", *(f"  {problem}" for problem in self.problems)]

    def _table(self) -> list[str]:
        """Return a row per class and a row per role, under a heading."""
        by_role: dict[str, list[int]] = {}
        for category in self.info.categories:
            by_role.setdefault(self.role(category.id), []).append(category.id)
        rows = [("class", "objects", "with mask", "role" if self.seen_ids is not None else "")]
        rows += [
            (shorten_label(c.name, _MAX_NAME), *self._counts([c.id]), self.role(c.id))
            for c in self.info.categories]
        rows += [
            (f"all {role} classes".replace("  ", " "), *self._counts(ids), "")
            for role, ids in sorted(by_role.items(), reverse=True)]
        width = max(len(row[0]) for row in rows)
        return [
            f"  {name:<{width}} {objects:>8} {masks:>10}  {role}".rstrip()
            for name, objects, masks, role in rows]

    def _counts(self, ids: Collection[int]) -> tuple[int, int]:
        """Return the number of instances of some classes, and the number with a mask."""
        number = sum(self.num_instances.get(i, 0) for i in ids)
        return number, number - sum(self.num_boxes_only.get(i, 0) for i in ids)
