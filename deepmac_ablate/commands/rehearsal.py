"""The rehearsal of a sweep that ``launch --rehearse`` prints."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from deepmac_ablate import errors
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch.executor import JobOptions
from deepmac_ablate.launch.rehearsed_arms import HOW_MEASURED, rehearse_arms
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.launch.time_forecast import Measured, forecast_time, remember_rehearsal
from deepmac_ablate.launch.trial_status import StatusReader
from deepmac_ablate.progress import PlainConsole
from deepmac_ablate.sweep.plan import Plan
from deepmac_ablate.sweep.validation.cost import Cost
from deepmac_ablate.trial.tracking.wandb_run import find_user


def rehearse(
    plan: Plan, workdir: SweepWorkdir, options: JobOptions, max_parallel: int,
    gpus: tuple[Sequence[str], int], console: PlainConsole, costs: Mapping[str, Cost],
) -> int:
    """Rehearse all arms, print the outcomes and the time of the sweep, return the exit status."""
    print(
        f"Rehearsing {count_noun(len(plan.arms), 'arm')} of {plan.name}, one seed each, in a "
        "scratch workdir.", file=sys.stderr)
    status, rows = errors.FINISHED, StatusReader(workdir, plan).read_rows()
    outcomes = rehearse_arms(plan, options, max_parallel, *gpus, console)
    width = max(len(outcome.arm) for outcome in outcomes)
    print("\n".join(outcome.line(width) for outcome in outcomes))
    if options.tracking == "online":
        try:
            print(f"W&B: logged in as {find_user()}; the rehearsal was not uploaded.")
        except UserError as error:
            status = errors.FAILED
            print(error)
    paces = {outcome.arm: outcome.pace for outcome in outcomes if outcome.pace is not None}
    remember_rehearsal(paces, costs, max_parallel)
    measured = {arm: Measured(pace, (), max_parallel) for arm, pace in paces.items()}
    if measured:
        print(HOW_MEASURED)
        print(forecast_time(plan, rows, measured, parallel=max_parallel).line())
    if any(outcome.cause is None for outcome in outcomes):
        return errors.INTERRUPTED
    return errors.FAILED if len(paces) < len(outcomes) else status
