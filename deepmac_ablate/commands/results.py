"""The commands ``table``, ``rows``, ``effects``, ``compare`` and ``report``."""

from __future__ import annotations

import argparse

from deepmac_ablate.commands.option_types import at_least
from deepmac_ablate.commands.output_options import (
    add_file_options,
    add_output_options,
    check_raw_cells,
    write_document,
    write_text,
)
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.class_split import apply_split
from deepmac_ablate.results.formats import frame_text


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the command line."""
    _register_table(commands)
    _register_rows(commands)
    _register_effects(commands)
    _register_compare(commands)
    _register_report(commands)


def _register_table(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "table", help="compare the arms of sweeps",
        description="Compare the arms of sweeps: means over seeds with confidence intervals, "
        "paired differences to the baseline, the gap between seen and novel classes, and costs.")
    parser.add_argument(
        "workdir", metavar="WORKDIR", nargs="+",
        help="workdir of a sweep, folder of a trial, or .csv file from 'deepmac-ablate rows'")
    parser.add_argument(
        "--metric", action="append", default=[], metavar="METRIC",
        help="BOX_SOURCE/METRIC, such as groundtruth/mask_ap; may be given several times "
        "(default: groundtruth/iou and detections/mask_ap)")
    _add_evaluation_option(parser)
    _add_split_option(parser)
    _add_pool_option(parser)
    parser.add_argument(
        "--baseline", metavar="ARM", help="arm to compare with (default: each sweep's baseline)")
    parser.add_argument(
        "--best-of", metavar="AXIS",
        help="show for each combination of the other axes only the best level of this one, such as "
        "a learning rate: the one with the highest mean on seen classes")
    parser.add_argument(
        "--best-by", metavar="METRIC",
        help="BOX_SOURCE/METRIC that --best-of goes by, on seen classes (default: the first one "
        "shown)")
    parser.add_argument(
        "--sort", metavar="COLUMN",
        help="order of the arms: novel, seen, delta-novel, delta-seen, p-novel, p-seen, gap or "
        "retention (of the first metric, or of another as detections/mask_ap/novel), an axis, "
        "arm, sweep, trials, parameters, training or time (default: that of the sweep)")
    parser.add_argument("--reverse", action="store_true", help="reverse the order of --sort")
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN",
        help="show only these arms and the baseline: arms such as 'hourglass*', or levels such as "
        "'mask_head=hourglass52'; may be given several times")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN",
        help="leave out these arms or levels, which may be the baseline; may be given several "
        "times")
    parser.add_argument(
        "--top", type=at_least(1), metavar="N",
        help="show only the first N arms and the baseline, sorted by novel unless --sort is given")
    add_output_options(parser)
    parser.set_defaults(run=_run_table)


def _run_table(args: argparse.Namespace) -> int:
    # Imported here because pandas takes half a second, and other commands do not need it.
    from deepmac_ablate import results
    from deepmac_ablate.results.arms import pool_as_asked
    from deepmac_ablate.results.columns import evaluated_metrics
    from deepmac_ablate.results.tables.arm_table import DEFAULT_METRICS, arm_table, default_metrics
    from deepmac_ablate.results.tables.row_selection import select_rows, sort_rows
    from deepmac_ablate.results.tables.table_notes import with_data_notes
    from deepmac_ablate.results.tables.table_rendering import render_table

    if args.reverse and not (args.sort or args.top):
        raise UserError("--reverse has no effect without --sort.")
    if args.best_by and not args.best_of:
        raise UserError("--best-by has no effect without --best-of.")
    frame = results.load(*args.workdir, evaluation=args.evaluation)
    per_class = results.per_class(frame)
    metrics = args.metric or (
        evaluated_metrics(frame) if args.evaluation else default_metrics(frame))
    # Before another split: classes that it calls seen may have been trained without masks.
    best = args.best_of and results.best_levels(
        frame, args.best_of, args.best_by or [*metrics, DEFAULT_METRICS[0]][0], per_class)
    frame, split = apply_split(frame, per_class, args.split)
    frame = pool_as_asked(frame, args.pool)
    table = arm_table(frame, metrics, args.confidence, per_class, args.baseline, split, best)
    if args.sort or args.top:
        table = sort_rows(table, args.sort or "novel", args.reverse)
    document = render_table(select_rows(table, args.only, args.exclude, args.top))
    write_document(with_data_notes(document, args.pool, frame, per_class), args)
    return 0


def _register_rows(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "rows", help="write the raw numbers of trials for other programs",
        description="Write the raw numbers of trials as one tidy table: a row per trial (arm and "
        "seed) with every metric, or per class, image or annotated object of each trial.")
    parser.add_argument(
        "workdir", metavar="WORKDIR", nargs="+",
        help="workdir of a sweep, folder of a trial, or .csv file of rows per trial")
    parser.add_argument(
        "--per", choices=["trial", "class", "image", "object"], default="trial", metavar="UNIT",
        help="trial, class, image or object; images and objects have the mask IoU in ground-truth "
        "boxes (default: %(default)s)")
    _add_evaluation_option(parser)
    _add_split_option(parser)
    parser.add_argument(
        "--format", choices=["csv", "json"], default="csv", metavar="FORMAT",
        help="csv or json (default: %(default)s)")
    add_file_options(parser)
    parser.set_defaults(run=_run_rows)


def _run_rows(args: argparse.Namespace) -> int:
    # Imported here because pandas takes half a second, and other commands do not need it.
    from deepmac_ablate import results
    from deepmac_ablate.results.loading.per_object import per_class_rows

    frame = results.load(*args.workdir, evaluation=args.evaluation)
    per_class = results.per_class(frame)
    frame, split = apply_split(frame, per_class, args.split)
    if args.per == "class":
        frame = per_class_rows(frame, per_class, split)
    elif args.per == "image":
        frame = results.per_image(frame, split)
    elif args.per == "object":
        frame = results.per_object(frame, split)
    check_raw_cells(args)
    write_text(frame_text(frame, args.format, protect=not args.raw_cells), args)
    return 0


def _register_effects(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "effects", help="estimate the effect of each axis of a sweep",
        description="Estimate the effect of each level of each axis on a metric for novel and seen "
        "classes, the interactions of axes, and the number of seeds needed to detect them.")
    parser.add_argument(
        "workdir", metavar="WORKDIR", help="the sweep's workdir, or its file of 'rows' (.csv)")
    parser.add_argument(
        "--metric", metavar="METRIC",
        help="BOX_SOURCE/METRIC (default: groundtruth/iou, or detections/mask_ap if no trial has "
        "it)")
    _add_evaluation_option(parser)
    _add_split_option(parser)
    _add_pool_option(parser)
    add_output_options(parser)
    parser.set_defaults(run=_run_effects)


def _run_effects(args: argparse.Namespace) -> int:
    from deepmac_ablate import results
    from deepmac_ablate.results import columns
    from deepmac_ablate.results.arms import pool_as_asked
    from deepmac_ablate.results.effects.axis_effects import axis_effects
    from deepmac_ablate.results.effects.effects_rendering import render_effects
    from deepmac_ablate.results.tables import arm_table as tables
    from deepmac_ablate.results.tables.table_notes import with_data_notes

    frame = results.load(args.workdir, evaluation=args.evaluation)
    per_class = results.per_class(frame)
    frame, split = apply_split(frame, per_class, args.split)
    frame = pool_as_asked(frame, args.pool)
    usual = (
        columns.evaluated_metrics(frame)[-1:] if args.evaluation else tables.default_metrics(frame))
    # Without a finished trial there are no metrics yet.
    metric = args.metric or [*usual, tables.DEFAULT_METRICS[0]][0]
    effects = axis_effects(frame, metric, args.confidence, per_class, split)
    document = render_effects(effects)
    write_document(with_data_notes(document, args.pool, frame, per_class), args)
    return 0


def _register_compare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "compare", help="compare two arms class by class and image by image",
        description="Show the differences of one arm to another: means over seen, novel and all "
        "classes, every class, and the images that changed most, with bootstrap intervals over "
        "images and seeds.")
    parser.add_argument("workdir", metavar="WORKDIR", help="the sweep's workdir")
    parser.add_argument(
        "arm_a", metavar="ARM_A", help="label of the arm, or id of the trial, to compare with")
    parser.add_argument(
        "arm_b", metavar="ARM_B", help="label of the arm, or id of the trial, to compare")
    parser.add_argument(
        "--with", dest="workdir_b", metavar="WORKDIR",
        help="another workdir that has ARM_B; trials are paired by seed only if both were trained "
        "on the same dataset")
    parser.add_argument(
        "--metric", default="groundtruth/iou", metavar="METRIC",
        help="groundtruth/iou, groundtruth/boundary_iou, groundtruth/mask_ap, detections/mask_ap, "
        "detections/box_ap, or groundtruth/NAME of a metric of objects of your own (default: "
        "%(default)s)")
    parser.add_argument(
        "--resamples", type=at_least(100), default=1000, metavar="N",
        help="number of bootstrap resamples (default: %(default)s)")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N",
        help="random seed of the resamples (default: %(default)s)")
    parser.add_argument(
        "--images", type=at_least(0), default=10, metavar="N",
        help="number of images to show that improved most, and that worsened most (default: "
        "%(default)s)")
    add_output_options(parser)
    parser.set_defaults(run=_run_compare)


def _run_compare(args: argparse.Namespace) -> int:
    # Imported here because pandas takes half a second, and other commands do not need it.
    from deepmac_ablate import results
    from deepmac_ablate.results.comparison import scored_images
    from deepmac_ablate.results.comparison.comparison_rendering import render_comparison
    from deepmac_ablate.results.comparison.two_arms import compare

    # Report wrong options before the results are loaded.
    scored_images.check_metric(args.metric)
    frame_b = None if args.workdir_b is None else results.load(args.workdir_b)
    compared = compare(
        results.load(args.workdir), args.arm_a, args.arm_b, args.metric, args.resamples, args.seed,
        args.confidence, frame_b)
    write_document(render_comparison(compared, args.images), args)
    return 0


def _register_report(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "report", help="write an HTML report of a sweep, with tables, figures and images",
        description="Write a self-contained HTML file: the table of arms, figures, the masks of "
        "every arm for the same objects, the configuration differences, failures, and the origin "
        "of the numbers.")
    parser.add_argument(
        "workdirs", nargs="+", metavar="WORKDIR", help="workdir of a sweep, or folder of a trial")
    parser.add_argument(
        "--output", metavar="FILE", help="HTML file (default: report.html in the first WORKDIR)")
    parser.add_argument(
        "--metric", metavar="METRIC",
        help="BOX_SOURCE/METRIC to compare on novel and seen classes (default: groundtruth/iou)")
    _add_split_option(parser)
    parser.add_argument(
        "--data", metavar="PREFIX",
        help="dataset that the images are read from (default: the path in the trials)")
    parser.add_argument(
        "--figures", metavar="DIR", help="folder to write the figures to as well, as PDF and SVG")
    parser.add_argument(
        "--images", type=at_least(0), default=6, metavar="N",
        help="number of objects in each of the three groups of images, 0 for none (default: "
        "%(default)s)")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N",
        help="random seed of the objects shown (default: %(default)s)")
    parser.set_defaults(run=_run_report)


def _run_report(args: argparse.Namespace) -> int:
    from deepmac_ablate.results.report.page import ReportOptions, write_report

    options = ReportOptions(
        args.metric, args.split, args.data, args.figures, args.images, args.seed)
    print("\n".join(write_report(args.workdirs, args.output, options)))
    return 0


def _add_evaluation_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that selects another evaluation of the trials."""
    parser.add_argument(
        "--evaluation", metavar="NAME",
        help="show the numbers of another evaluation of the trials, named as 'deepmac-ablate "
        "evaluate' says (default: that at the end of training)")


def _add_pool_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that takes the mean over an axis."""
    parser.add_argument(
        "--pool", metavar="AXIS[=LEVEL,...]",
        help="take arms that differ only in this axis (these levels of it) for one, such as halves "
        "of the classes or random parts of the images")


def _add_split_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that selects the seen classes."""
    parser.add_argument(
        "--split", metavar="SPLIT",
        help="seen classes to score by: the name of a class split, or class ids and names "
        "separated by commas (default: those of training)")
