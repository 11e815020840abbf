"""Checked plan: a plan whose arms have all been validated, without reading data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deepmac_ablate.sweep.device_request import DeviceRequest, device_problems
from deepmac_ablate.sweep.plan import Plan, SweepProblems, resolve_sweep
from deepmac_ablate.sweep.sweep import Sweep
from deepmac_ablate.sweep.validation.validation_process import validating
from deepmac_ablate.sweep.validation.validation_result import ArmConfig, ValidationResult


class CheckedPlan(NamedTuple):
    """A plan without problems.

    Attributes:
        plan: The plan.
        results: The validation result of each arm, with its cost, by the arm's label.
    """

    plan: Plan
    results: Mapping[str, ValidationResult]

    @property
    def data_out_of_reach(self) -> list[str]:
        """Prefixes of datasets that could not be checked."""
        missing = [
            prefix for result in self.results.values() for prefix in result.data_out_of_reach]
        return list(dict.fromkeys(missing))

    @property
    def data_notes(self) -> list[str]:
        """Sentences about the datasets that are no problems."""
        notes = [note for result in self.results.values() for note in result.data_notes]
        return list(dict.fromkeys(notes))


def check_sweep(sweep: Sweep, request: DeviceRequest | None = None) -> CheckedPlan:
    """Return the plan of a sweep after checking all of its arms.

    Args:
        sweep: The sweep.
        request: The device of its trials in a cloud; None if they run on this machine.

    Raises:
        SweepProblems: If an arm has a problem, or cannot run on the device; names all problems.
    """
    configs = [ArmConfig(arm.label, arm.gin_files, arm.bindings) for arm in sweep.arms]
    with validating(configs) as results:
        plan, problems = resolve_sweep(sweep)
    problems += [(result.label, problem) for result in results for problem in result.problems]
    if request is not None:
        problems += device_problems(request, plan, results)
    if problems:
        raise SweepProblems(sweep.name, problems)
    return CheckedPlan(plan, {result.label: result for result in results})
