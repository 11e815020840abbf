"""The commands ``table``, ``effects``, ``compare`` and ``report``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.results.class_split import apply_split
from deepmac_ablate.results.formats import FORMATS, WITHOUT_CAPTION, Document

if TYPE_CHECKING:
    pass


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the command line."""
    _register_table(commands)
    _register_effects(commands)
    _register_compare(commands)
    _register_report(commands)


def _register_table(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "table", help="compare the arms of a sweep",
        description="Compares the arms of sweeps: means over seeds with their intervals, "
        "differences to the baseline by seed, what novel classes lack, what it cost.")
    parser.add_argument(
        "workdir", metavar="W", nargs="+", help="a sweep's workdir, or the folder of a trial")
    parser.add_argument(
        "--metric", action="append", default=[], metavar="METRIC",
        help="<reading>/<metric>, such as groundtruth/mask_ap; may be given several times; "
        "default: groundtruth/iou and detections/mask_ap")
    _add_split_option(parser)
    parser.add_argument(
        "--baseline", metavar="ARM", help="compare with this arm; default: each sweep's baseline")
    _add_output_options(parser)
    parser.set_defaults(run=_run_table)


def _run_table(args: argparse.Namespace) -> int:
    # pandas takes half a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results.tables import rendering as table_cells
    from deepmac_ablate.results.tables.arm_table import arm_table

    frame = results.load(*args.workdir)
    per_class = results.per_class(frame)
    frame, split = apply_split(frame, per_class, args.split)
    table = arm_table(frame, args.metric, args.confidence, per_class, args.baseline, split)
    _write(table_cells.document(table), args)
    return 0


def _register_effects(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "effects", help="what each axis of a sweep does",
        description="Says for each level of each axis how much it changes a metric on novel and "
        "on seen classes, which interactions there are, and how many seeds could tell.")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.add_argument(
        "--metric", metavar="METRIC",
        help="<reading>/<metric>; default: groundtruth/iou, or detections/mask_ap without it")
    _add_split_option(parser)
    _add_output_options(parser)
    parser.set_defaults(run=_run_effects)


def _run_effects(args: argparse.Namespace) -> int:
    # pandas takes half a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results.effects import rendering as effect_cells
    from deepmac_ablate.results.effects.axis_effects import axis_effects
    from deepmac_ablate.results.tables import arm_table as tables

    frame = results.load(args.workdir)
    per_class = results.per_class(frame)
    frame, split = apply_split(frame, per_class, args.split)
    # Where nothing has finished, there is none yet.
    metric = args.metric or [*tables.default_metrics(frame), tables.DEFAULT_METRICS[0]][0]
    effects = axis_effects(frame, metric, args.confidence, per_class, split)
    _write(effect_cells.document(effects), args)
    return 0


def _register_compare(commands: argparse._SubParsersAction) -> None:
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
    _add_output_options(parser)
    parser.set_defaults(run=_run_compare)


def _run_compare(args: argparse.Namespace) -> int:
    # pandas takes half a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results.comparison import rendering as comparison_cells
    from deepmac_ablate.results.comparison import scored_images
    from deepmac_ablate.results.comparison.two_arms import compare

    # What needs no files first.
    scored_images.check_metric(args.metric)
    check_at_least(0, images=args.images)
    compared = compare(
        results.load(args.workdir), args.arm_a, args.arm_b, args.metric, args.resamples, args.seed,
        args.confidence)
    _write(comparison_cells.document(compared, args.images), args)
    return 0


def _register_report(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "report", help="write a page about a sweep, with tables, figures and pictures",
        description="Writes one HTML file that needs no other and no network: the table of arms, "
        "figures, the same objects as every arm segments them, in what arms differ, what failed, "
        "and where the numbers come from.")
    parser.add_argument(
        "workdirs", nargs="+", metavar="W", help="the workdir of a sweep, or a trial's folder")
    parser.add_argument(
        "--output", metavar="FILE", help="the page; default: report.html in the first W")
    parser.add_argument(
        "--metric", metavar="READING/METRIC",
        help="what is compared on novel and seen classes; default: groundtruth/iou")
    _add_split_option(parser)
    parser.add_argument(
        "--data", metavar="PREFIX",
        help="the evaluated dataset, for its pictures; default: where the trials found it")
    parser.add_argument(
        "--figures", metavar="DIR", help="write the figures there, too, as PDF and SVG")
    parser.add_argument(
        "--images", type=int, default=6, metavar="N",
        help="objects in each of the three groups of pictures; 0: none; default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=0,
        help="of the objects that are drawn at random; default: %(default)s")
    parser.set_defaults(run=_run_report)


def _run_report(args: argparse.Namespace) -> int:
    from deepmac_ablate.results.report.page import ReportOptions, write_report

    options = ReportOptions(
        args.metric, args.split, args.data, args.figures, args.images, args.seed)
    print("\n".join(write_report(args.workdirs, args.output, options)))
    return 0


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add in which format, with which confidence, and where to."""
    parser.add_argument(
        "--format", choices=list(FORMATS), default="markdown", help="default: %(default)s")
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="SHARE",
        help="of the intervals over seeds; default: %(default)s")
    parser.add_argument("--output", metavar="FILE", help="where to write it, instead of stdout")


def _write(document: Document, args: argparse.Namespace) -> None:
    """Write or print a document as `_add_output_options` says.

    Raises:
        UserError: If the file cannot be written.
    """
    text = FORMATS[args.format](document)
    if args.format in WITHOUT_CAPTION:
        # What has to be said is not lost where a program reads the rest.
        print("\n".join(document.caption), file=sys.stderr)
    if args.output is None:
        print(text)
        return
    try:
        storage.write(epath.Path(args.output), f"{text}\n")
    except OSError as error:
        raise UserError(f"Cannot write {args.output}: {error}.") from error
    print(args.output)


def _add_split_option(parser: argparse.ArgumentParser) -> None:
    """Add which classes count as seen."""
    parser.add_argument(
        "--split", metavar="SPLIT",
        help="count these classes as seen instead of those of training: the name of a class split, "
        "or class ids and names with commas")
