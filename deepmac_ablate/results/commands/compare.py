"""`deepmac-ablate compare`: where two arms differ, by class and by image."""

from __future__ import annotations

import argparse

from deepmac_ablate.errors import check_at_least
from deepmac_ablate.results.commands import output


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "compare", help="two arms class by class, with intervals over images and seeds",
        description="Says where the second arm differs from the first: means over seen, novel and "
        "all classes, every class, and the images that changed most, with intervals from resamples "
        "of images and seeds.")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.add_argument("arm_a", metavar="ARM_A", help="label of an arm, or id of a trial")
    parser.add_argument("arm_b", metavar="ARM_B", help="what is compared with it")
    parser.add_argument(
        "--metric", default="groundtruth/iou", metavar="METRIC",
        help="groundtruth/iou, groundtruth/boundary_iou, groundtruth/mask_ap, detections/mask_ap "
        "or detections/box_ap; default: %(default)s")
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N",
        help="how often images and seeds are drawn for the intervals; default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the draws; default: %(default)s")
    parser.add_argument(
        "--images", type=int, default=10, metavar="N",
        help="how many images are shown that gain most, and that lose most; default: %(default)s")
    output.add_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # pandas takes half a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results.comparison import cells as comparison_cells
    from deepmac_ablate.results.comparison import scored_images
    from deepmac_ablate.results.comparison.two_arms import compare

    # What needs no files first.
    scored_images.check_metric(args.metric)
    check_at_least(0, images=args.images)
    compared = compare(
        results.load(args.workdir), args.arm_a, args.arm_b, args.metric, args.resamples, args.seed,
        args.confidence)
    output.put(comparison_cells.document(compared, args.images), args)
    return 0
