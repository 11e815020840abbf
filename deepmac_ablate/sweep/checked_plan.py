"""A plan that may be launched: resolved and built without data, with all problems found at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from deepmac_ablate.sweep import device_request
from deepmac_ablate.sweep import plan as plans
from deepmac_ablate.sweep.device_request import Rental
from deepmac_ablate.sweep.plan import Plan, SweepProblems
from deepmac_ablate.sweep.sweep import Sweep
from deepmac_ablate.sweep.validation.client import judging
from deepmac_ablate.sweep.validation.verdict import Candidate, Verdict


class CheckedPlan(NamedTuple):
    """A plan without problems.

    Attributes:
        plan: The plan.
        verdicts: What each arm costs, by its label.
    """

    plan: Plan
    verdicts: Mapping[str, Verdict]

    @property
    def data_out_of_reach(self) -> list[str]:
        """Prefixes of datasets that were not there to be looked at."""
        missing = [prefix for it in self.verdicts.values() for prefix in it.data_out_of_reach]
        return list(dict.fromkeys(missing))


def check(sweep: Sweep, rented: Rental | None = None) -> CheckedPlan:
    """Resolve a sweep and check all of it.

    Args:
        sweep: What to check.
        rented: The device that its trials are to run on in a cloud; None: on this machine.

    Raises:
        SweepProblems: If anything is wrong with any arm, or it cannot run there; it names
            everything.
    """
    candidates = [Candidate(arm.label, arm.gin_files, arm.bindings) for arm in sweep.arms]
    with judging(candidates) as found:
        plan, problems = plans.resolve(sweep)
    problems += [(verdict.label, text) for verdict in found for text in verdict.problems]
    if rented is not None:
        problems += device_request.problems(rented, plan, found)
    if problems:
        raise SweepProblems(sweep.name, problems)
    return CheckedPlan(plan, {verdict.label: verdict for verdict in found})
