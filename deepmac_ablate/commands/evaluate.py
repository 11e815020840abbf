"""The command ``evaluate``."""

from __future__ import annotations

import argparse


def register(commands: argparse._SubParsersAction) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "evaluate", help="evaluate a finished trial again, in another way",
        description="Evaluates the last checkpoint of a trial; its result.json stays as it is.")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the trial")
    parser.add_argument(
        "--box_source", action="append", metavar="NAME",
        help="where the boxes come from that masks are predicted in: detections, groundtruth, or "
        "ground-truth boxes with noise, such as jittered0.1 or jittered0.1-expand; may be given "
        "several times; default: as the trial, by default the first two")
    parser.add_argument(
        "--box_noise", type=float, nargs="+", default=[], metavar="RATIO",
        help="also score masks in ground-truth boxes jittered by each ratio, and plot mask IoU "
        "over the ratio")
    parser.add_argument(
        "--jitter_mode", metavar="MODE",
        help="how --box_noise moves boxes: default, expand, shrink, expand_symmetric, "
        "shrink_symmetric, expand_symmetric_xy or shrink_symmetric_xy")
    parser.add_argument(
        "--split", metavar="NAME", help="count these classes as seen instead of those of the trial")
    parser.add_argument(
        "--data", metavar="PREFIX", help="evaluate on this dataset instead of the trial's")
    parser.add_argument(
        "--draw", type=int, default=0, metavar="N", help="draw the predictions on N images")
    parser.add_argument(
        "--output", metavar="DIR", help="where files go; default: WORKDIR/evaluations/...")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from deepmac_ablate.evaluation.metrics import summary

    # Before TensorFlow, for which a mistake should not wait.
    box_sources = summary.requested_box_sources(
        args.box_source or [], args.box_noise, args.jitter_mode)

    from deepmac_ablate.training.reevaluate import reevaluate

    result, files = reevaluate(
        args.workdir, box_sources or None, args.split, args.data, args.draw, args.output)
    print(summary.table_text(result))
    print("\n".join(files))
    return 0
