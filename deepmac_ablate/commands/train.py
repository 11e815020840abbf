"""The command ``train``."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from typing import TYPE_CHECKING

import psutil

from deepmac_ablate import bindings, errors
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.supervision.handover import next_command
from deepmac_ablate.training import tf_config, tpu_environment
from deepmac_ablate.trial.trial import Trial, trial_id
from deepmac_ablate.trial.trial_workdir import TrialWorkdir

if TYPE_CHECKING:
    from deepmac_ablate.training.session_cache import SessionCache
    from deepmac_ablate.training.trial_evaluation import AttemptStart


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train", help="train and evaluate one trial",
        description="Train and evaluate one trial, or resume it. Exits with 75 if interrupted (a "
        "checkpoint was saved) and 3 if the loss became NaN or infinite.")
    _add_options(parser)
    parser.set_defaults(run=_run)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gin-file", action="append", default=[], metavar="FILE",
        help="gin file; may be given several times, later files win (default: the trial that is "
        "already in DIR)")
    parser.add_argument(
        "--gin-bindings", action="append", default=[], metavar="BINDING",
        help="binding such as 'HourglassMaskHead.depth = 20'; may be given several times")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the trial")
    parser.add_argument(
        "--mode", choices=["train", "eval", "train_and_eval", "continuous_eval", "rehearse"],
        default="train_and_eval", metavar="MODE",
        help="train, eval, train_and_eval or continuous_eval (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="random seed (default: %(default)s)")
    parser.add_argument("--arm", default="", metavar="LABEL", help="label of the trial in tables")
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="BINDING",
        help="binding of Runtime for this machine, such as \"Runtime.strategy = 'tpu'\"; does not "
        "change the trial; may be given several times")
    parser.add_argument(
        "--tracking", choices=["off", "offline", "online"], default="off", metavar="MODE",
        help="mirror metrics to W&B: off, offline (writes files for `deepmac-ablate sync`) or "
        "online (default: %(default)s)")


def _run(args: argparse.Namespace) -> int:
    """Run the trial, and then those that a supervisor hands over."""
    # Before TensorFlow is imported, which takes seconds.
    _read_trial(args)
    tpu_environment.prepare_for_tpu(os.environ)
    from deepmac_ablate.training.session_cache import SessionCache
    from deepmac_ablate.training.trial_evaluation import AttemptStart

    parser, cache = argparse.ArgumentParser(), SessionCache()
    _add_options(parser)
    start = AttemptStart(psutil.Process().create_time())
    while (status := _train(args, cache, start)) == errors.FINISHED:
        command = next_command()
        if command is None:
            break
        start = AttemptStart(time.time(), start.trials_before + 1)
        args = parser.parse_args(command[command.index("train") + 1:])
    return status


def _train(args: argparse.Namespace, cache: SessionCache, start: AttemptStart) -> int:
    from deepmac_ablate.training import multi_worker, run
    from deepmac_ablate.trial.tracking.start_mirror import mirroring

    # Half a million imported objects stay; collecting garbage need not visit them time and again.
    gc.freeze()
    workdir = TrialWorkdir(args.workdir)
    trial = _read_trial(args)
    # One mirror per trial, however many processes train it.
    tracking = args.tracking if tf_config.read_task().is_chief else "off"
    job_type = "eval" if args.mode in ("eval", "continuous_eval") else "train"
    try:
        with mirroring(args.workdir, tracking, job_type, run.Interrupted):
            result = run.run_trial(trial, workdir, args.mode, args.runtime, cache, start)
    except run.Interrupted as stopped:
        print(f"deepmac-ablate: {stopped}", file=sys.stderr)
        return errors.INTERRUPTED
    except multi_worker.WorkerLost as lost:
        print(f"deepmac-ablate: {lost}", file=sys.stderr)
        return errors.WORKER_LOST
    except run.Diverged as diverged:
        print(f"deepmac-ablate: {diverged}", file=sys.stderr)
        return errors.DIVERGED
    if result is not None:
        from deepmac_ablate.evaluation.metrics.summary import table_text

        print(table_text(result))
        print(f"{args.workdir}/result.json, {args.workdir}/per_class.csv")
    return 0


def _read_trial(args: argparse.Namespace) -> Trial:
    """Return the trial of the command line.

    Raises:
        UserError: If its gin files or bindings cannot be read, or the workdir holds another trial.
    """
    workdir = TrialWorkdir(args.workdir)
    if not args.gin_file:
        return _trial_there(args, workdir)
    trial = Trial(tuple(args.gin_file), tuple(args.gin_bindings), args.seed, args.arm)
    reached = bindings.explicit_bindings(bindings.read(trial.gin_files, trial.bindings).bindings)
    workdir.check_trial(trial, trial_id(reached, trial.seed))
    return trial


def _trial_there(args: argparse.Namespace, workdir: TrialWorkdir) -> Trial:
    """Return the trial in a workdir, for a command without gin files.

    Raises:
        UserError: If there is none, or options would change it.
    """
    trial = workdir.read_trial()
    if trial is None:
        raise UserError(f"{args.workdir} has no trial to resume; pass --gin-file to start one.")
    if args.gin_bindings or args.seed or args.arm:
        raise UserError(
            "--gin-bindings, --seed and --arm need a --gin-file; without one, the trial in "
            f"{args.workdir} is resumed unchanged.")
    return trial
