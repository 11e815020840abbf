"""Names and roles of the classes in a comparison."""

from __future__ import annotations

import io

import pandas as pd

from deepmac_ablate.errors import UserError
from deepmac_ablate.results import scored_images
from deepmac_ablate.results.sides import Sides

# Two arms need not have been trained with the masks of the same classes.
ORDER: tuple[str, ...] = ("seen", "novel", "novel in a, seen in b", "seen in a, novel in b")

_COLUMNS = ["category_id", "name", "role"]


def of(sides: Sides) -> pd.DataFrame:
    """Returns `name` and `role`, one of `ORDER`, of each class by `category_id`.

    Raises:
        UserError: If a trial's per_class.csv is missing or broken, or trials of one side do not
            agree on the roles.
    """
    a, b = (_side(name, list(trials.values())) for name, trials in (
        (sides.a, sides.trials_a), (sides.b, sides.trials_b)))
    other = b["role"].reindex(a.index)
    differ = a["role"] + " in a, " + other + " in b"
    return a.assign(role=a["role"].where(a["role"] == other, differ))


def _side(name: str, trials: list) -> pd.DataFrame:
    contents = scored_images.read_files(trials, "per_class.csv")
    tables = []
    for row in trials:
        if row["trial"] not in contents:
            raise UserError(f"{row['folder']} lacks per_class.csv, which says which class is seen.")
        tables.append(_read(*contents[row["trial"]]))
    if any(not tables[0].equals(table) for table in tables):
        raise UserError(
            f"The trials of {name!r} do not agree on which classes are seen; compare single trials "
            "by their ids.")
    return tables[0]


def _read(content: bytes, where: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(io.BytesIO(content), usecols=_COLUMNS)
    except ValueError as error:
        raise UserError(
            f"{where} is broken ({error}); delete it and evaluate the trial again.") from error
    # A row for each reading.
    return table[_COLUMNS].drop_duplicates("category_id").set_index("category_id").sort_index()
