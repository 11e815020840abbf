"""The folder of one sweep: its plan, its launches and a folder for each trial.

::

    plan.json                  what was launched last
    costs.json                 what each trial costs that was ever launched, see `cost`
    launcher.lock              held by the launcher while it runs
    launches/<time>/           lease, provenance and changed sources of each launch
    trials/<id>/               see `workdir`; sweep.json says what the sweep calls the trial
    xmanager/                  XManager's own database; of a sweep on ``gs://`` it is in the user's
                               cache folder
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.storage.strict_json import from_json, to_json
from deepmac_ablate.storage.user_cache import user_cache_path
from deepmac_ablate.sweep.plan import Plan, PlannedTrial
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


class SweepWorkdir:
    """The files of one sweep.

    Making one touches nothing.

    Attributes:
        path: The folder.
        lock: The file that a launcher holds.
        xmanager: The folder of XManager's database, on a disk.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = epath.Path(path)
        self._name = os.fspath(self.path)
        self.lock = self.path / "launcher.lock"
        self.xmanager = self.path / "xmanager"
        if storage.is_remote(self.path):
            name = hashlib.sha256(self._name.encode()).hexdigest()[:16]
            self.xmanager = user_cache_path("xmanager", name)

    def trial(self, trial_id: str) -> TrialWorkdir:
        """Return the folder of a trial, whether or not it exists."""
        return TrialWorkdir(self.path / "trials" / trial_id)

    def location(self, trial_id: str) -> str:
        """Return the name of a trial's folder, which is had faster than a path."""
        return f"{self._name}/trials/{trial_id}"

    def folder(self, trial_id: str) -> Path:
        """Return where a trial's folder is, in a sweep on this machine."""
        return Path(self.path, "trials", trial_id)

    def write_plan(self, plan: Plan) -> None:
        """Write plan.json, into a folder that is made where there is none.

        Raises:
            UserError: If it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            content = json.dumps(plan.to_json(), ensure_ascii=False)
            storage.write(self.path / "plan.json", content + "\n")
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error}.") from error

    def read_plan(self) -> Plan:
        """Return the plan that was launched last.

        Raises:
            UserError: If there is none, or it is broken.
        """
        path = self.path / "plan.json"
        content = storage.read(path)
        if content is None:
            raise UserError(
                f"There is no sweep in {self.path}: plan.json is missing; launch one with "
                f"'deepmac-ablate launch SWEEP --workdir {self.path}'.")
        fields = from_json(content, str(path))
        try:
            return Plan.from_json(fields)
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is broken, as it is no plan ({error!r}); launch the sweep again."
            ) from error

    def write_costs(self, plan: Plan, costs: Mapping[str, Cost]) -> None:
        """Write costs.json, in which trials of earlier launches keep theirs.

        Args:
            plan: Of the trials that are launched.
            costs: By the labels of their arms.

        Raises:
            UserError: If it cannot be written, or what is there is broken.
        """
        path = self.path / "costs.json"
        there = storage.read(path)
        by_trial = {} if there is None else from_json(there, str(path))
        by_trial |= {
            planned.id: costs[planned.trial.arm].to_json()
            for planned in plan.trials if planned.trial.arm in costs}
        try:
            storage.write(path, to_json(by_trial) + "\n")
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error}.") from error

    def new_launch(self) -> epath.Path:
        """Make the folder of a launch; the caller holds the lock."""
        name = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        launches = self.path / "launches"
        same_second = len(list(launches.glob(f"{name}*")))
        folder = launches / f"{name}-{same_second + 1}"
        folder.mkdir(parents=True)
        return folder

    def prepare_trial(self, plan: Plan, planned: PlannedTrial) -> None:
        """Make the folder of a trial that is about to be launched.

        Raises:
            UserError: If another trial is there.
            OSError: If it cannot be written.
        """
        files = self.trial(planned.id)
        files.describe(planned.trial, planned.id)
        place = {
            "sweep": plan.name,
            "arm": planned.trial.arm,
            "levels": planned.levels,
            "baseline": planned.trial.arm == plan.baseline,
        }
        storage.write(files.path / "sweep.json", to_json(place, indent=2) + "\n")
