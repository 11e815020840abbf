"""The command ``train``."""

from __future__ import annotations

import argparse
import os
import sys

from deepmac_ablate import errors
from deepmac_ablate.errors import UserError
from deepmac_ablate.training import tf_config, tpu_environment
from deepmac_ablate.trial.trial import Trial
from deepmac_ablate.trial.trial_workdir import TrialWorkdir


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train", help="run one trial, or what is left of it",
        description="Runs one trial, or what is left of it. Exit status 75 says that it was asked "
        "to end and left a checkpoint; 3, that the loss is no number any more.")
    parser.add_argument(
        "--gin_file", action="append", default=[], metavar="FILE",
        help="a gin file; may be given several times, later ones win; default: the trial that is "
        "in the workdir already")
    parser.add_argument(
        "--gin_bindings", action="append", default=[], metavar="BINDING",
        help="a binding such as 'HourglassMaskHead.depth = 20'; may be given several times")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="where its files go")
    parser.add_argument(
        "--mode", choices=["train", "eval", "train_and_eval", "continuous_eval"],
        default="train_and_eval", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--arm", default="", help="the label of the trial in tables")
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="BINDING",
        help="a binding of Runtime for the devices that this start has, such as "
        "\"Runtime.strategy = 'tpu'\"; the trial stays the same; may be given several times")
    parser.add_argument(
        "--tracking", choices=["off", "offline", "online"], default="off",
        help="show it in W&B: offline writes files for `deepmac-ablate sync`, online sends them "
        "too; default: %(default)s")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    tpu_environment.set_tpu_variables(os.environ)

    from deepmac_ablate.training import multi_worker, run
    from deepmac_ablate.trial.tracking.start_mirror import mirroring

    workdir = TrialWorkdir(args.workdir)
    trial = Trial(tuple(args.gin_file), tuple(args.gin_bindings), args.seed, args.arm)
    if not args.gin_file:
        trial = _trial_there(args, workdir)
    # One mirror for a trial, however many processes train it.
    tracking = args.tracking if tf_config.read_task().is_chief else "off"
    job_type = "eval" if args.mode in ("eval", "continuous_eval") else "train"
    try:
        with mirroring(args.workdir, tracking, job_type, run.Interrupted):
            result = run.run_trial(trial, workdir, args.mode, args.runtime)
    except run.Interrupted as stopped:
        print(f"deepmac-ablate: {stopped}", file=sys.stderr)
        return errors.INTERRUPTED
    except multi_worker.WorkerLost as lost:
        print(f"deepmac-ablate: {lost}", file=sys.stderr)
        return errors.FAILED
    except run.Diverged as diverged:
        print(f"deepmac-ablate: {diverged}", file=sys.stderr)
        return errors.DIVERGED
    if result is not None:
        from deepmac_ablate.evaluation.metrics.summary import table_text

        print(table_text(result))
        print(f"{args.workdir}/result.json, {args.workdir}/per_class.csv")
    return 0


def _trial_there(args: argparse.Namespace, workdir: TrialWorkdir) -> Trial:
    """Return the trial that a workdir holds, for a command that names no gin file."""
    trial = workdir.read_trial()
    if trial is None:
        raise UserError(f"No --gin_file is given, and no trial is in {args.workdir} yet.")
    if args.gin_bindings or args.seed or args.arm:
        raise UserError(
            "Bindings, seed and arm belong to a --gin_file; without one, the trial in "
            f"{args.workdir} goes on as it is.")
    return trial
