"""The commands ``data coco``, ``data shapes`` and ``data check``.

Parsing needs no TensorFlow; the commands import what they run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from deepmac_ablate.data.dataset_info import DatasetInfo


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``data`` and its commands; each sets `run`, a function of the arguments.

    `run` returns the exit status: 0, or 1 where a check found problems.
    """
    data = subparsers.add_parser("data", help="convert, generate and check datasets")
    commands = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_coco(commands)
    _add_shapes(commands)
    _add_check(commands)


def _add_coco(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "coco",
        help="convert a dataset in COCO's format to records",
        description="Convert images and a COCO instances JSON (classes of your own, too) to "
        "records. The files of a previous conversion are replaced once the new one is complete.",
    )
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="folder of the image files"
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON", help="COCO instances file"
    )
    parser.add_argument(
        "--output", required=True, metavar="PREFIX", help="such as data/coco/train"
    )
    parser.add_argument(
        "--shards", type=int, metavar="N", help="record files (default: one per 1000 images)"
    )
    parser.set_defaults(run=_run_coco)


def _add_shapes(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "shapes",
        help="generate the built-in synthetic dataset",
        description="Generate the built-in synthetic dataset of textured shapes, 1200 images to "
        "train with (DIR/train) and 150 to evaluate with (DIR/val).",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="its folder")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides every picture (default: 0)"
    )
    parser.set_defaults(run=_run_shapes)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="read the records of a dataset back, verify and draw them",
        description="Read all records as training does, compare them with the dataset's info, "
        "count instances, and draw some images with their boxes and masks.",
    )
    parser.add_argument("prefix", metavar="PREFIX", help="of the dataset, such as data/coco/train")
    parser.add_argument(
        "--output", metavar="DIR", help="where the pictures go (default: PREFIX-check)"
    )
    parser.add_argument(
        "--images", type=int, default=16, metavar="N", help="images to draw (default: 16)"
    )
    parser.add_argument("--split", metavar="NAME", help="mark seen and novel classes, such as voc")
    parser.set_defaults(run=_run_check)


def _run_coco(args: argparse.Namespace) -> int:
    from deepmac_ablate.data import convert_coco

    summary = convert_coco.convert_dataset(args.images, args.annotations, args.output, args.shards)
    print("\n".join([*summary.lines(), _declaration(summary.info)]))
    return 0


def _run_shapes(args: argparse.Namespace) -> int:
    from deepmac_ablate.data.shapes import generate

    summary = generate.generate_dataset(args.output, args.seed)
    print("\n".join([*summary.lines(), _declaration(summary.train.info)]))
    return 0


def _run_check(args: argparse.Namespace) -> int:
    from deepmac_ablate import class_splits

    seen_ids = None
    if args.split is not None:
        categories = DatasetInfo.load(args.prefix).categories
        seen_ids = class_splits.resolve(args.split, categories)
    # After the split, whose mistakes should not wait for TensorFlow.
    from deepmac_ablate.data import check

    output = args.output or f"{args.prefix}-check"
    report = check.check_dataset(args.prefix, output, args.images, seen_ids=seen_ids)
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


def _declaration(info: DatasetInfo) -> str:
    """The line of a gin file that says which dataset is trained on, whatever its path."""
    return f"DATASET = {info.identity!r}"
