"""A trial: one arm and one seed, which fully determine a run, and the id derived from them.

The id is a hash of the content. So launching again finds the finished trials, and a trial stays the
same under a new name of its arm or at a later time.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from deepmac_ablate.errors import UserError, did_you_mean

# 48 bits: the probability that two of 10,000 trials share an id is 2e-7.
_ID_LENGTH = 12

# Bindings of the dataset's path, and of its declared identity.
_DATA_PATH = re.compile(r"(.*[/.])?TrainingData\.prefix")
_DATASET = re.compile(r"(.*[/.])?TrainingData\.dataset")


@dataclasses.dataclass(frozen=True)
class Trial:
    """The full definition of one run.

    Attributes:
        gin_files: The names of gin files in the order of reading, as for `bindings.parse`.
        bindings: Lines of gin that are read after the files; later ones override earlier ones.
        seed: The seed, at least 0. Trials that differ in nothing else are replicates.
        arm: The label of the arm, as shown in tables.
    """

    gin_files: tuple[str, ...]
    bindings: tuple[str, ...]
    seed: int
    arm: str

    def __post_init__(self) -> None:
        # TensorFlow's stateless random functions take the seed as int32.
        if not 0 <= self.seed < 2**31:
            raise UserError(f"The seed must be from 0 to {2**31 - 1}, got {self.seed}.")

    def to_json(self) -> str:
        """Return a JSON object with sorted fields, ending in a line break."""
        fields = dataclasses.asdict(self)
        return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "The trial") -> Trial:
        """Return the trial stored by `to_json`.

        Args:
            text: A JSON object.
            where: The subject of error messages, such as the path of the file.

        Raises:
            UserError: If a field is missing, unknown or of the wrong type.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where} is not valid JSON: {error}.") from error
        if not isinstance(fields, dict):
            raise UserError(f"{where} must be a JSON object, got a {type(fields).__name__}.")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = did_you_mean(name, known)
                raise UserError(f"{where} has an unknown field {name!r}.{hint}")
        for name in known:
            if name not in fields:
                raise UserError(f"{where} has no field {name!r}.")
            _check_field(name, fields[name], where)
        lists = {name: tuple(fields[name]) for name in ("gin_files", "bindings")}
        return cls(**(fields | lists))


def trial_id(merged: Mapping[str, str], seed: int) -> str:
    """Return the id of a trial, a hash of its content.

    Time, order, defaults, the arm's label and everything that only `Runtime` or `Evaluation` use
    (devices, logs, tracking, evaluation settings) do not change it. Neither does the path of a
    declared dataset (`TrainingData.dataset`), so that a trial is the same on a laptop and in a
    cloud. Without a declaration, the path stands for the dataset.

    Args:
        merged: The trial's bindings from `bindings.explicit_bindings`, by name; they include the
            class split and the number of steps.
        seed: The trial's seed.

    Returns:
        12 hexadecimal digits.
    """
    bound, dataset = dict(merged), None
    declared = {value for name, value in merged.items() if _DATASET.fullmatch(name)}
    # A single string: not None, not a constant in code, and not different ones by scope.
    if len(declared) == 1 and (text := declared.pop())[0] in "'\"":
        dataset = ast.literal_eval(text)
        bound = {
            name: value for name, value in merged.items()
            if not (_DATASET.fullmatch(name) or _DATA_PATH.fullmatch(name))}
    content = {"bindings": bound, "seed": seed, "dataset": dataset}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def describe_differences(existing: Trial, new: Trial) -> str:
    """Return the fields, except the label, in which two trials differ, with their values."""
    different = []
    for field in ("gin_files", "bindings", "seed"):
        theirs, ours = getattr(existing, field), getattr(new, field)
        if isinstance(theirs, tuple):
            pairs = itertools.zip_longest(theirs, ours, fillvalue="nothing")
            theirs, ours = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
        if theirs != ours:
            different.append(f"its {field} has {theirs!r} where this one has {ours!r}")
    if not different:
        return "the gin files or the dataset have changed since it was started"
    return " and ".join(different)


def _check_field(name: str, value: Any, where: str) -> None:  # noqa: ANN401
    if name == "seed":
        right, expected = isinstance(value, int) and value >= 0, "a whole number of at least 0"
        right = right and not isinstance(value, bool)
    elif name == "arm":
        right, expected = isinstance(value, str), "a string"
    else:
        right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        expected = "a list of strings"
    if not right:
        raise UserError(f"{where}: {name} must be {expected}, got {value!r}.")
