"""`deepmac-ablate effects`: what each axis does, and whether axes depend on each other."""

from __future__ import annotations

import argparse

from deepmac_ablate.results.commands import output, splits


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "effects", help="what each axis of a sweep does",
        description="Says for each level of each axis how much it changes a metric on novel and "
        "on seen classes, which interactions there are, and how many seeds could tell.")
    parser.add_argument("workdir", metavar="W", help="the sweep's workdir")
    parser.add_argument(
        "--metric", metavar="METRIC",
        help="<reading>/<metric>; default: groundtruth/iou, or detections/mask_ap without it")
    splits.add_option(parser)
    output.add_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # pandas takes half a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results.effects import cells as effect_cells
    from deepmac_ablate.results.effects.axis_effects import axis_effects
    from deepmac_ablate.results.tables import arm_table as tables

    frame = results.load(args.workdir)
    per_class = results.per_class(frame)
    frame, split = splits.applied(frame, per_class, args.split)
    # Where nothing has finished, there is none yet.
    metric = args.metric or [*tables.default_metrics(frame), tables.DEFAULT_METRICS[0]][0]
    effects = axis_effects(frame, metric, args.confidence, per_class, split)
    output.put(effect_cells.document(effects), args)
    return 0
