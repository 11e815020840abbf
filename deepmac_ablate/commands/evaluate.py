"""The command ``evaluate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from etils import epath

from deepmac_ablate import errors
from deepmac_ablate.commands.option_types import at_least, number_or_all
from deepmac_ablate.errors import UserError, count_noun
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.progress import track
from deepmac_ablate.results.formats import join_names
from deepmac_ablate.storage import file_io

if TYPE_CHECKING:
    from deepmac_ablate.results.arms import ArmTrials
    from deepmac_ablate.training.reevaluate import EvaluationRequest


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "evaluate", help="evaluate trained trials again with other settings",
        description="Evaluate the last checkpoint of a trial, or of each finished trial of a "
        "sweep; their result.json is not changed. Trials of a sweep that have this evaluation are "
        "left out, so the command resumes after a stop.")
    parser.add_argument(
        "--workdir", required=True, metavar="DIR", help="folder of a trial, or workdir of a sweep")
    parser.add_argument(
        "--box-source", action="append", metavar="NAME",
        help="source of the boxes in which masks are predicted: detections, groundtruth, or "
        "ground-truth boxes with noise, such as jittered0.1 or jittered0.1-expand; may be given "
        "several times (default: those of the trial)")
    parser.add_argument(
        "--box-noise", type=float, nargs="+", default=[], metavar="RATIO",
        help="also score masks in ground-truth boxes jittered by each ratio, and plot mask IoU "
        "against the ratio")
    parser.add_argument(
        "--jitter-mode", metavar="MODE",
        help="way in which --box-noise moves boxes: default, expand, shrink, expand_symmetric, "
        "shrink_symmetric, expand_symmetric_xy or shrink_symmetric_xy (default: default)")
    parser.add_argument(
        "--split", metavar="SPLIT",
        help="class split to score by (default: the split that the trial was trained with)")
    parser.add_argument(
        "--data", metavar="PREFIX", help="dataset to evaluate on (default: the trial's)")
    parser.add_argument(
        "--metrics", action="append", default=[], metavar="FILE",
        help="gin file that binds Evaluation.metrics, to compute metrics of your own; may be given "
        "several times (default: those of the trial)")
    parser.add_argument(
        "--images", type=number_or_all, metavar="N",
        help="number of images to evaluate on, drawn at random, but the same for every trial, or "
        "'all' (default: as many as the trial; all with --data)")
    parser.add_argument(
        "--draw", type=at_least(0), default=0, metavar="N",
        help="number of images to draw predictions on (default: %(default)s)")
    parser.add_argument(
        "--output", metavar="DIR",
        help="folder for the results of one trial (default: a folder in DIR/evaluations)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from deepmac_ablate.evaluation.metrics import summary

    # Report mistakes before TensorFlow is imported, which takes seconds.
    box_sources = summary.requested_box_sources(
        args.box_source or [], args.box_noise, args.jitter_mode)

    from deepmac_ablate.training.reevaluate import EvaluationRequest, Reevaluator

    request = EvaluationRequest(
        box_sources, args.split, args.data, args.draw, tuple(args.metrics), args.images)
    request.check_metrics()
    sweep = SweepWorkdir(args.workdir)
    if (sweep.path / "plan.json").exists():
        if args.output:
            raise UserError(
                "--output is for one trial; those of a sweep have their results in their folders.")
        return _evaluate_sweep(sweep, request)
    from deepmac_ablate.results.arms import ArmTrials

    result, files = Reevaluator(request).evaluate(args.workdir, args.output)
    trial = {**result, "status": "finished", "seed": 0}
    arm = ArmTrials("this trial", "", "", False, {}, [trial])
    files += _draw_noise([arm], epath.Path(files[0]).parent / "box_noise.png")
    print(summary.table_text(result))
    print("\n".join(files))
    return 0


def _evaluate_sweep(sweep: SweepWorkdir, request: EvaluationRequest) -> int:
    """Evaluate the finished trials of a sweep, and print a table of the arms.

    Raises:
        UserError: If no trial could be evaluated.
    """
    from deepmac_ablate.training.reevaluate import Reevaluator

    plan = sweep.read_plan()
    # The seeds of an arm follow each other, and share a model.
    finished = [each.id for each in plan.trials if sweep.trial(each.id).is_finished()]
    if not finished:
        raise UserError(f"No trial in {sweep.path} has finished, so there is none to evaluate.")
    waiting = [trial for trial in finished if not request.is_done(sweep.trial(trial))]
    print(
        f"{count_noun(len(plan.trials), 'trial')}: {len(finished)} finished, of which "
        f"{len(finished) - len(waiting)} have this evaluation.", file=sys.stderr)
    reevaluator, problems = Reevaluator(request), {}
    for trial in track(waiting, len(waiting), "Evaluating trials"):
        try:
            reevaluator.evaluate(sweep.location(trial))
        except UserError as error:
            problems.setdefault(str(error), []).append(trial)
    for problem, trials in problems.items():
        print(f"deepmac-ablate: {join_names(trials)}: {problem}", file=sys.stderr)
    names = sorted({request.name(request.find_dataset(sweep.trial(each))) for each in finished})
    for name in names:
        _show(sweep, name)
    return errors.FAILED if problems else 0


def _show(sweep: SweepWorkdir, name: str) -> None:
    """Print a table of an evaluation of a sweep, and draw box noise if boxes were jittered."""
    from deepmac_ablate import results
    from deepmac_ablate.results.arms import group_by_arm
    from deepmac_ablate.results.columns import evaluated_metrics
    from deepmac_ablate.results.formats import markdown_text
    from deepmac_ablate.results.tables.arm_table import arm_table
    from deepmac_ablate.results.tables.table_rendering import render_table

    frame = results.load(str(sweep.path), evaluation=name)
    lines = [f"Again: deepmac-ablate table {sweep.path} --evaluation {name}"]
    lines += _draw_noise(group_by_arm(frame).arms, sweep.path / "evaluations" / f"{name}.png")
    table = arm_table(frame, evaluated_metrics(frame), per_class=results.per_class(frame))
    print("\n".join([markdown_text(render_table(table)), "", *lines]))


def _draw_noise(arms: Sequence[ArmTrials], path: epath.Path) -> list[str]:
    """Plot mask IoU over box noise, and return the path; nothing if no boxes were jittered."""
    from deepmac_ablate.results.report.figures import figure_files
    from deepmac_ablate.results.report.figures.noise_plot import draw_noise

    figure = draw_noise(arms)
    if figure is None:
        return []
    path.parent.mkdir(exist_ok=True)
    file_io.write(path, figure_files.to_png(figure))
    return [str(path)]
