"""`deepmac-ablate report`: parses, calls, prints."""

from __future__ import annotations

import argparse

from deepmac_ablate.results.commands import splits


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the command line."""
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
    splits.add_option(parser)
    parser.add_argument(
        "--data", metavar="PREFIX",
        help="the evaluated data set, for its pictures; default: where the trials found it")
    parser.add_argument(
        "--figures", metavar="DIR", help="write the figures there, too, as PDF and SVG")
    parser.add_argument(
        "--images", type=int, default=6, metavar="N",
        help="objects in each of the three groups of pictures; 0: none; default: %(default)s")
    parser.add_argument(
        "--seed", type=int, default=0,
        help="of the objects that are drawn at random; default: %(default)s")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from deepmac_ablate.results.report import page as report

    options = report.Options(
        args.metric, args.split, args.data, args.figures, args.images, args.seed)
    print("\n".join(report.write(args.workdirs, args.output, options)))
    return 0
