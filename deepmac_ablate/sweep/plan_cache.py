"""Checked plans that were made before: launching ten thousand finished trials again takes seconds.

One file for each sweep, in the user's cache folder. It only saves time: where it cannot be read or
written, or anything has changed that a plan depends on, the plan is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepmac_ablate import bindings
from deepmac_ablate.storage import disk
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.storage.user_cache import user_cache
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.sweep import Sweep
from deepmac_ablate.sweep.validation import cache
from deepmac_ablate.sweep.validation.verdict import Verdict

_HERE = Path(__file__).parent


def load(sweep: Sweep) -> tuple[Plan, list[Verdict]] | None:
    """Returns the plan of a sweep and the verdicts on its arms, without their data.

    Returns:
        None where there is none, or where the sweep, a gin file, a module that one imports, or this
        package has changed.
    """
    # What cannot be read is no plan of this version.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        fields = json.loads(_path(sweep).read_bytes())
        stamps = fields["stamps"]
        if fields["inputs"] == _inputs(sweep, fields["modules"]) and stamps == _now(stamps):
            return Plan.from_json(fields["plan"]), [
                Verdict.from_json(verdict) for verdict in fields["verdicts"]]
    return None


def save(sweep: Sweep, plan: Plan, verdicts: Sequence[Verdict]) -> None:
    """Keeps a plan without problems.

    Args:
        sweep: What it was made of.
        plan: The plan.
        verdicts: On its arms.
    """
    files = list(dict.fromkeys(name for arm in sweep.arms for name in arm.gin_files))
    stamps = bindings.stamps(files) | {
        str(path): bindings.stamp(path) for path in sorted(_HERE.glob("*.py"))}
    modules = bindings.modules(files)
    content = {
        "inputs": _inputs(sweep, modules), "stamps": stamps, "modules": modules,
        "plan": plan.to_json(), "verdicts": [it.to_json() for it in verdicts]}
    path = _path(sweep)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write(path, to_json(content).encode())


def _path(sweep: Sweep) -> Path:
    """Where the plan of a sweep is kept: the last one that was made in this folder."""
    name = hashlib.sha256(f"{Path.cwd()} {sweep.name}".encode()).hexdigest()[:16]
    return user_cache("plans", f"{name}.json")


def _inputs(sweep: Sweep, modules: list[str]) -> str:
    """Returns a hash of the sweep and of the code."""
    said = (sweep.name, sweep.question, sweep.baseline, sweep.axes, sweep.arms, Path.cwd())
    return hashlib.sha256(f"{cache.judging_code(modules)} {said!r}".encode()).hexdigest()


def _now(stamps: dict[str, Any]) -> dict[str, Any]:
    """Returns the stamps of files as JSON has them."""
    now = {path: bindings.stamp(path) for path in stamps}
    return {path: None if stamp is None else list(stamp) for path, stamp in now.items()}
