"""A trial: one arm and one seed, which fully determine one run, and the id that says which.

The id is a hash of content. Launching again finds what is finished, and neither a new name for an
arm nor a later run makes another trial of it.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from deepmac_ablate.errors import UserError, did_you_mean

# 48 bits: among 10,000 trials two share an id with a chance of 2e-7.
_ID_LENGTH = 12

# Where the data lies, and what it is declared to be.
_DATA_PATH = re.compile(r"(.*[/.])?TrainingData\.prefix")
_DATA_SET = re.compile(r"(.*[/.])?TrainingData\.dataset")


@dataclasses.dataclass(frozen=True)
class Trial:
    """What fully determines one run.

    Attributes:
        gin_files: Read in this order, as `bindings.parse` takes them.
        bindings: Read after the files; the later one wins.
        seed: At least 0; trials that differ in it alone are replicates.
        arm: The label of the ablation table's row.
    """

    gin_files: tuple[str, ...]
    bindings: tuple[str, ...]
    seed: int
    arm: str

    def __post_init__(self) -> None:
        # TensorFlow's stateless draws take the seed as int32.
        if not 0 <= self.seed < 2**31:
            raise UserError(f"The seed {self.seed} must be from 0 to {2**31 - 1}.")

    def to_json(self) -> str:
        """Return a JSON object with sorted fields, ending in a line break."""
        fields = dataclasses.asdict(self)
        return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "The trial") -> Trial:
        """Read what `to_json` wrote.

        Args:
            text: A JSON object.
            where: What to call it in a message, such as the file's name.

        Raises:
            UserError: If a field is missing, unknown or of the wrong type.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UserError(f"{where} is no JSON: {error}.") from error
        if not isinstance(fields, dict):
            raise UserError(f"{where} is no JSON object but a {type(fields).__name__}.")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = did_you_mean(name, known)
                raise UserError(f"{where} has a field {name!r}, which no trial has.{hint}")
        for name in known:
            if name not in fields:
                raise UserError(f"{where} has no field {name!r}.")
            _check_field(name, fields[name], where)
        lists = {name: tuple(fields[name]) for name in ("gin_files", "bindings")}
        return cls(**(fields | lists))


def trial_id(merged: Mapping[str, str], seed: int) -> str:
    """Return the content hash that tells trials apart.

    Left out are, on purpose: time, order, defaults, the arm's label, and whatever only `Runtime` or
    `Evaluation` are bound to, such as devices, logs, tracking and evaluation settings. So is the
    path of a dataset that is declared (`TrainingData.dataset`): a trial that is launched on a
    laptop and in a cloud is the same. Where none is declared the path stands for the dataset, as
    nobody can know.

    Args:
        merged: What `bindings.explicit_bindings` returned for the trial's `Training`; the class
            split and the number of steps are among it.
        seed: The trial's seed.

    Returns:
        12 hexadecimal digits.
    """
    bound, dataset = dict(merged), None
    declared = {value for name, value in merged.items() if _DATA_SET.fullmatch(name)}
    # One string: neither None nor a constant of the code's, nor another in another scope.
    if len(declared) == 1 and (text := declared.pop())[0] in "'\"":
        dataset = ast.literal_eval(text)
        for name in filter(lambda it: _DATA_SET.fullmatch(it) or _DATA_PATH.fullmatch(it), merged):
            del bound[name]
    content = {"bindings": bound, "seed": seed, "dataset": dataset}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


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
        raise UserError(f"{where}: {name} must be {expected}, not {value!r}.")
