"""Names and configuration of a trial in W&B, from the files in its folder alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from deepmac_ablate import bindings
from deepmac_ablate.bindings.values import Macro, Reference
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import from_json
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# The project of trials that were not launched by a sweep.
_PROJECT = "deepmac_ablate"
# W&B rejects longer tags.
_LONGEST_TAG = 64


class RunDescription(NamedTuple):
    """The properties of a W&B run that are set before its first number.

    Attributes:
        run_id: The trial's id, with the suffix "-eval" for a separate evaluator.
        project: The name of the sweep.
        group: The name of the arm.
        job_type: "train" or "eval".
        name: The name of the arm with the seed.
        tags: The levels of the sweep's axes, such as "mask_head=hourglass20", and "baseline".
        config: Every binding in effect by name, and other properties as "_ablate/...".
    """

    run_id: str
    project: str
    group: str
    job_type: str
    name: str
    tags: tuple[str, ...]
    config: dict[str, Any]


def describe_run(workdir: TrialWorkdir, job_type: str) -> RunDescription:
    """Describe a run by trial.json, config.gin and, for a trial of a sweep, sweep.json.

    Args:
        workdir: The folder of a trial that was started.
        job_type: "train" or "eval".

    Raises:
        UserError: If one of the files is missing or broken.
    """
    trial, trial_id = workdir.read_trial(), workdir.read_trial_id()
    if trial is None or trial_id is None:
        raise UserError(f"There is no trial in {workdir.path}: trial.json is missing.")
    path = workdir.path / "sweep.json"
    text = file_io.read(path)
    sweep = {} if text is None else from_json(text, str(path))
    arm = sweep.get("arm") or trial.arm
    levels = sweep.get("levels") or {}
    tags = [f"{axis}={level}"[:_LONGEST_TAG] for axis, level in levels.items()]
    return RunDescription(
        run_id=trial_run_id(trial_id, job_type),
        project=sweep.get("sweep") or _PROJECT,
        group=arm,
        job_type=job_type,
        name=f"{arm} seed {trial.seed}".strip(),
        tags=(*tags, *(["baseline"] if sweep.get("baseline") else [])),
        config={
            **_bindings_in_effect(workdir),
            "_ablate/id": trial_id,
            "_ablate/arm": arm,
            "_ablate/seed": trial.seed,
            "_ablate/levels": levels,
        },
    )


def trial_run_id(trial_id: str, job_type: str) -> str:
    """Return the id in W&B of a trial's trainer or evaluator."""
    return trial_id if job_type == "train" else f"{trial_id}-{job_type}"


def _bindings_in_effect(workdir: TrialWorkdir) -> dict[str, Any]:
    """Return the values of all reachable bindings by name, with macros resolved."""
    parsed = bindings.read([str(workdir.path / "config.gin")], []).bindings
    reached = {name: binding for root in bindings.ROOTS
               for name, binding in bindings.reachable_bindings(parsed, root).items()}
    return {name: _to_json_value(reached[name].value) for name in sorted(reached)}


def _to_json_value(value: Any) -> Any:  # noqa: ANN401
    """Return a value as JSON represents it; references and macros as written in gin."""
    if isinstance(value, Reference | Macro):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(_to_json_value(key)): _to_json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
