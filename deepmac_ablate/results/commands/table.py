"""`deepmac-ablate table`: a row per arm, with intervals and differences to the baseline."""

from __future__ import annotations

import argparse

from deepmac_ablate.results.commands import output, splits


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the command line."""
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
    splits.add_option(parser)
    parser.add_argument(
        "--baseline", metavar="ARM", help="compare with this arm; default: each sweep's baseline")
    output.add_options(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # pandas takes half a second to import, which other commands need not wait for.
    from deepmac_ablate import results
    from deepmac_ablate.results.tables import cells as table_cells
    from deepmac_ablate.results.tables.arm_table import arm_table

    frame = results.load(*args.workdir)
    per_class = results.per_class(frame)
    frame, split = splits.applied(frame, per_class, args.split)
    table = arm_table(frame, args.metric, args.confidence, per_class, args.baseline, split)
    output.put(table_cells.document(table), args)
    return 0
