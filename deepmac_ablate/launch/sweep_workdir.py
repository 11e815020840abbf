"""The folder of a sweep: its plan, its launches and a folder for each trial.

::

    plan.json                  the plan that was launched last
    costs.json                 the cost of every trial that was ever launched (see `cost`)
    launcher.lock              held by the launcher while it runs
    stop.json                  request to the launcher to start no more trials
    launches/<time>/           lease, provenance and changed sources of each launch
    trials/<id>/               see `trial_workdir`; sweep.json holds the trial's arm and levels
    xmanager/                  XManager's database; for a sweep on ``gs://``, or on a disk without
                               locks, it is in the user's cache folder
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import to_json
from deepmac_ablate.storage.user_cache import user_cache_path
from deepmac_ablate.sweep.plan import Plan, PlannedTrial, parse_plan
from deepmac_ablate.sweep.validation.cost import Cost, parse_costs
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

# File in the workdir that asks a launcher, and jobs that were interrupted, not to go on.
STOP_REQUEST = "stop.json"


class SweepWorkdir:
    """Paths and files of one sweep; creating an instance reads and writes nothing.

    Attributes:
        path: The folder.
        lock: The file that a launcher locks.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = epath.Path(path)
        self._name = os.fspath(self.path)
        self.lock = self.path / "launcher.lock"

    @property
    def xmanager(self) -> Path:
        """The folder of XManager's database, on a disk that can lock it."""
        if file_io.is_remote(self.path) or locks.find_lease_reason(self.lock):
            name = hashlib.sha256(self._name.encode()).hexdigest()[:16]
            return user_cache_path("xmanager", name)
        return Path(self.path, "xmanager")

    def create(self) -> None:
        """Create the folder unless it is there.

        Raises:
            UserError: If it cannot be created.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error.strerror}.") from error

    def trial(self, trial_id: str) -> TrialWorkdir:
        """Return a trial's workdir, which may not exist."""
        return TrialWorkdir(self.path / "trials" / trial_id)

    def location(self, trial_id: str) -> str:
        """Return a trial's folder as a string, which is much faster than a path."""
        return f"{self._name}/trials/{trial_id}"

    def folder(self, trial_id: str) -> Path:
        """Return a trial's folder as a path on a local disk."""
        return Path(self.path, "trials", trial_id)

    def write_plan(self, plan: Plan) -> None:
        """Write plan.json; the folder is created if it is missing.

        Raises:
            UserError: If the file cannot be written.
        """
        self.create()
        try:
            content = json.dumps(plan.to_json(), ensure_ascii=False)
            file_io.write(self.path / "plan.json", content + "\n")
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error}.") from error

    def has_plan(self) -> bool:
        """Return whether a sweep was launched here."""
        return file_io.read(self.path / "plan.json") is not None

    def read_plan(self) -> Plan:
        """Return the plan that was launched last.

        Raises:
            UserError: If there is no plan, or its file is broken.
        """
        path = self.path / "plan.json"
        content = file_io.read(path)
        if content is None:
            raise UserError(
                f"There is no sweep in {self.path}: plan.json is missing. Launch one with "
                f"'deepmac-ablate launch SWEEP --workdir {self.path}'.")
        return parse_plan(content, str(path))

    def write_costs(self, plan: Plan, costs: Mapping[str, Cost]) -> None:
        """Add the costs of a plan's trials to costs.json, which keeps those of earlier launches.

        Args:
            plan: The plan that is launched.
            costs: Costs by the labels of the arms.

        Raises:
            UserError: If the file cannot be written.
        """
        path = self.path / "costs.json"
        by_trial = {trial: cost.to_json() for trial, cost in self.read_costs().items()}
        by_trial |= {
            planned.id: costs[planned.trial.arm].to_json()
            for planned in plan.trials if planned.trial.arm in costs}
        try:
            file_io.write(path, to_json(by_trial) + "\n")
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error}.") from error

    def read_costs(self) -> dict[str, Cost]:
        """Return the costs of all trials that were ever launched, by their ids.

        Broken ones are left out, as they are only estimates.
        """
        path = self.path / "costs.json"
        with contextlib.suppress(UserError):
            costs, _ = parse_costs(file_io.read(path) or b"{}", str(path))
            return costs
        return {}

    def new_launch(self) -> epath.Path:
        """Create the folder of a launch; the caller holds the lock."""
        name = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime())
        launches = self.path / "launches"
        try:
            same_second = len(list(launches.glob(f"{name}*")))
            folder = launches / f"{name}-{same_second + 1}"
            folder.mkdir(parents=True)
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"Cannot write the workdir {self.path}: {error}.") from error
        return folder

    def prepare_trial(self, plan: Plan, planned: PlannedTrial) -> None:
        """Create the folder of a trial that is about to be launched.

        Raises:
            UserError: If the folder belongs to another trial.
            OSError: If the folder cannot be written.
        """
        files = self.trial(planned.id)
        files.write_trial(planned.trial, planned.id)
        place = {
            "sweep": plan.name,
            "arm": planned.trial.arm,
            "levels": planned.levels,
            "baseline": planned.trial.arm == plan.baseline,
        }
        file_io.write(files.path / "sweep.json", to_json(place, indent=2) + "\n")
