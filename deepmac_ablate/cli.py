"""`deepmac-ablate`: parses the command line, calls, prints."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from deepmac_ablate import exit_status, tf_config, tpu_environment
from deepmac_ablate.data import commands as data_commands
from deepmac_ablate.errors import UserError
from deepmac_ablate.listing import commands as listing_commands
from deepmac_ablate.model_garden import commands as import_commands
from deepmac_ablate.results import commands as results_commands
from deepmac_ablate.serving import commands as serving_commands
from deepmac_ablate.sweep import commands as sweep_commands
from deepmac_ablate.tracking import commands as tracking_commands
from deepmac_ablate.trial import Trial
from deepmac_ablate.workdir import TrialWorkdir


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the process's exit status."""
    # TensorFlow speaks of missing GPUs and deprecated calls of its own; what goes wrong is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Gin files may import modules of the user's; last, so that they shadow nothing.
    sys.path.append(os.getcwd())  # noqa: PTH109
    args = _parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return exit_status.USER_ERROR
    except BrokenPipeError:
        # The reader of our output has seen enough.
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepmac-ablate",
        description="Ablations of Mask R-CNN with deep mask heads, for classes whose masks were "
        "never seen.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    data_commands.register(commands)
    _register_train(commands)
    _register_evaluate(commands)
    _register_tpu_server(commands)
    sweep_commands.register(commands)
    results_commands.register(commands)
    serving_commands.register(commands)
    import_commands.register(commands)
    tracking_commands.register(commands)
    listing_commands.register(commands)
    return parser


def _register_train(commands: argparse._SubParsersAction) -> None:
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
    parser.set_defaults(run=_train)


def _register_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "evaluate", help="evaluate a finished trial again, in another way",
        description="Evaluates the last checkpoint of a trial; its result.json stays as it is.")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the trial")
    parser.add_argument(
        "--box_source", action="append", metavar="NAME",
        help="where the boxes come from that masks are predicted in: detections, groundtruth, or "
        "annotated boxes with noise, such as jittered0.1 or jittered0.1-expand; may be given "
        "several times; default: as the trial, by default the first two")
    parser.add_argument(
        "--box_noise", type=float, nargs="+", default=[], metavar="RATIO",
        help="masks in annotated boxes and in those jittered by each ratio, and a picture of mask "
        "IoU over the ratio")
    parser.add_argument(
        "--jitter_mode", metavar="MODE",
        help="how --box_noise moves boxes: default, expand, shrink, expand_symmetric, "
        "shrink_symmetric, expand_symmetric_xy or shrink_symmetric_xy")
    parser.add_argument(
        "--split", metavar="NAME", help="count these classes as seen instead of those of the trial")
    parser.add_argument(
        "--data", metavar="PREFIX", help="evaluate on this data set instead of the trial's")
    parser.add_argument(
        "--draw", type=int, default=0, metavar="N", help="draw the predictions on N images")
    parser.add_argument(
        "--output", metavar="DIR", help="where files go; default: WORKDIR/evaluations/...")
    parser.set_defaults(run=_evaluate)


def _register_tpu_server(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "tpu-server", help="serve the TPUs of this host to a trainer on another machine",
        description="Runs on each host of a TPU slice of several hosts, until it is asked to end: "
        "then its exit status is 75.")
    parser.add_argument("--port", type=int, default=8470, help="default: %(default)s")
    parser.set_defaults(run=_tpu_server)


def _train(args: argparse.Namespace) -> int:
    tpu_environment.complete(os.environ)

    from deepmac_ablate import training, workers
    from deepmac_ablate.tracking.mirroring import mirroring

    workdir = TrialWorkdir(args.workdir)
    trial = Trial(tuple(args.gin_file), tuple(args.gin_bindings), args.seed, args.arm)
    if not args.gin_file:
        trial = _trial_there(args, workdir)
    # One mirror for a trial, however many processes train it.
    tracking = args.tracking if tf_config.task().chief else "off"
    job_type = "eval" if args.mode in ("eval", "continuous_eval") else "train"
    try:
        with mirroring(args.workdir, tracking, job_type, training.Interrupted):
            result = training.run(trial, workdir, args.mode, args.runtime)
    except training.Interrupted as stopped:
        print(f"deepmac-ablate: {stopped}", file=sys.stderr)
        return exit_status.INTERRUPTED
    except workers.WorkerLost as lost:
        print(f"deepmac-ablate: {lost}", file=sys.stderr)
        return exit_status.FAILED
    except training.Diverged as diverged:
        print(f"deepmac-ablate: {diverged}", file=sys.stderr)
        return exit_status.DIVERGED
    if result is not None:
        print(_table(result))
        print(f"{args.workdir}/result.json, {args.workdir}/per_class.csv")
    return 0


def _tpu_server(args: argparse.Namespace) -> NoReturn:
    tpu_environment.complete(os.environ)
    # It would make this server a part of a cluster that it knows nothing of.
    os.environ.pop("TF_CONFIG", None)

    from deepmac_ablate import tpu_server

    tpu_server.serve(args.port)


def _trial_there(args: argparse.Namespace, workdir: TrialWorkdir) -> Trial:
    """Returns the trial that a workdir holds, for a command that names no gin file."""
    trial = workdir.read_trial()
    if trial is None:
        raise UserError(f"No --gin_file is given, and no trial is in {args.workdir} yet.")
    if args.gin_bindings or args.seed or args.arm:
        raise UserError(
            "Bindings, seed and arm belong to a --gin_file; without one, the trial in "
            f"{args.workdir} goes on as it is.")
    return trial


def _evaluate(args: argparse.Namespace) -> int:
    from deepmac_ablate.metrics import readings

    # Before TensorFlow, for which a mistake should not wait.
    box_sources = readings.requested(args.box_source or [], args.box_noise, args.jitter_mode)

    from deepmac_ablate import reevaluation

    result, files = reevaluation.run(
        args.workdir, box_sources or None, args.split, args.data, args.draw, args.output)
    print(_table(result))
    print("\n".join(files))
    return 0


def _table(result: dict[str, float | None]) -> str:
    from deepmac_ablate.metrics.readings import table_text

    return table_text(result)


if __name__ == "__main__":
    sys.exit(main())
