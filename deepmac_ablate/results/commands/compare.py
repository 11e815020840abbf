"""`deepmac-ablate compare`: where two arms differ, by class and by image."""

from __future__ import annotations

import argparse

from etils import epath

from deepmac_ablate import results, storage
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.results import comparison, comparison_formats, scored_images


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
        help=f"one of {', '.join(scored_images.METRICS)}; default: %(default)s")
    parser.add_argument(
        "--resamples", type=int, default=1000, metavar="N",
        help="how often images and seeds are drawn for the intervals; default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the draws; default: %(default)s")
    parser.add_argument(
        "--format", choices=list(comparison_formats.FORMATS), default="markdown",
        help="csv has no images; default: %(default)s")
    parser.add_argument(
        "--images", type=int, default=10, metavar="N",
        help="how many images are shown that gain most, and that lose most; default: %(default)s")
    parser.add_argument("--output", metavar="F", help="write to this file")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    scored_images.check_metric(args.metric)
    check_at_least(0, images=args.images)
    compared = comparison.compare(
        results.load(args.workdir), args.arm_a, args.arm_b, args.metric, args.resamples, args.seed)
    text = comparison_formats.FORMATS[args.format](compared, args.images)
    if args.output is None:
        print(text, end="")
        return 0
    try:
        storage.write(epath.Path(args.output), text)
    except OSError as error:
        raise UserError(f"Cannot write {args.output}: {error}.") from error
    print(args.output)
    return 0
