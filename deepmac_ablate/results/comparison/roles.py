"""Names and roles of the classes in a comparison."""

from __future__ import annotations

import pandas as pd

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.comparison.sides import Sides, Trials
from deepmac_ablate.results.records.per_class_numbers import per_class

# Two arms need not have been trained with the masks of the same classes.
ORDER: tuple[str, ...] = ("seen", "novel", "novel in A, seen in B", "seen in A, novel in B")


def of(frame: pd.DataFrame, sides: Sides) -> pd.DataFrame:
    """Returns `name` and `role`, one of `ORDER`, of each class by `category_id`.

    Args:
        frame: The results, see `columns`.
        sides: Two arms of it.

    Raises:
        UserError: If a trial's per_class.csv is missing or broken, or trials of one side do not
            agree on the roles.
    """
    trials = [row["trial"] for row in sides.trials]
    rows = per_class(frame[frame["trial"].isin(trials)])
    # A row for each reading, which agree on the roles.
    rows = rows.drop_duplicates(["trial", "category_id"]).sort_values("category_id")
    tables = {
        trial: table.set_index("category_id")[["name", "role"]]
        for trial, table in rows.groupby("trial")}
    a, b = _side(sides.a, sides.trials_a, tables), _side(sides.b, sides.trials_b, tables)
    other = b["role"].reindex(a.index)
    differ = a["role"] + " in A, " + other + " in B"
    return a.assign(role=a["role"].where(a["role"] == other, differ))


def _side(name: str, trials: Trials, tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    for row in trials.values():
        if row["trial"] not in tables:
            raise UserError(f"{row['folder']} lacks per_class.csv, which says which class is seen.")
    of_trials = [tables[row["trial"]] for row in trials.values()]
    if any(not of_trials[0].equals(table) for table in of_trials):
        raise UserError(
            f"The trials of {name!r} do not agree on which classes are seen; compare single trials "
            "by their ids.")
    return of_trials[0]
