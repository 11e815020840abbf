"""The command ``evaluate``."""

from __future__ import annotations

import argparse

from deepmac_ablate.commands.option_types import at_least


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "evaluate", help="evaluate a trained trial again with other settings",
        description="Evaluate the last checkpoint of a trial; its result.json is not changed.")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the trial")
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
        "--draw", type=at_least(0), default=0, metavar="N",
        help="number of images to draw predictions on (default: %(default)s)")
    parser.add_argument(
        "--output", metavar="DIR",
        help="folder for the results (default: a folder in DIR/evaluations)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from deepmac_ablate.evaluation.metrics import summary

    # Report mistakes before TensorFlow is imported, which takes seconds.
    box_sources = summary.requested_box_sources(
        args.box_source or [], args.box_noise, args.jitter_mode)

    from deepmac_ablate.training.reevaluate import reevaluate

    result, files = reevaluate(
        args.workdir, box_sources or None, args.split, args.data, args.draw, args.output)
    print(summary.table_text(result))
    print("\n".join(files))
    return 0
