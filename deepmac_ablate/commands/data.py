"""The commands of ``data``: ``split``, ``coco``, ``shapes``, ``check`` and ``pseudo-masks``.

Parsing needs no TensorFlow; the commands import what they run.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from deepmac_ablate.commands.option_types import at_least
from deepmac_ablate.data.dataset_info import DatasetInfo

# Names of datasets that are not trained on.
_EVALUATED = re.compile(r"(mini)?(val|valid|validation|test|eval|dev)[-_\d]*", re.IGNORECASE)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``data`` and its commands; each sets `run`, a function of the arguments.

    `run` returns the exit status: 0, or 1 where a check found problems.
    """
    data = subparsers.add_parser("data", help="convert, generate and check datasets",
        description="Convert, generate and check datasets.")
    commands = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_split(commands)
    _add_coco(commands)
    _add_shapes(commands)
    _add_check(commands)
    _add_pseudo_masks(commands)


def _add_split(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "split",
        help="split a COCO instances JSON at random into training and validation images",
        description="Split the images of a COCO instances JSON at random into two files, "
        "train.json and val.json, with their annotations.",
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON", help="COCO instances JSON")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder to write train.json and val.json to")
    parser.add_argument(
        "--share", type=float, default=0.2, metavar="SHARE",
        help="share of the images in val.json, between 0 and 1 (default: %(default)s)")
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N",
        help="random seed of the draw (default: %(default)s)")
    parser.set_defaults(run=_run_split)


def _add_coco(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "coco",
        help="convert a dataset in COCO format to records",
        description="Convert images and a COCO instances JSON, with any classes, to records. Files "
        "of a previous conversion are replaced once the new conversion is complete.",
    )
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="folder with the image files"
    )
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON", help="COCO instances JSON"
    )
    parser.add_argument(
        "--output", required=True, metavar="PREFIX",
        help="prefix of the record files, such as data/coco/train"
    )
    parser.add_argument(
        "--shards", type=at_least(1), metavar="N",
        help="number of record files (default: one per 1000 images)"
    )
    parser.add_argument(
        "--boxes-only", action="store_true",
        help="accept a file without any mask, for training by weak losses")
    parser.set_defaults(run=_run_coco)


def _add_shapes(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "shapes",
        help="generate the built-in synthetic dataset",
        description="Generate the built-in synthetic dataset of textured shapes: 1200 training "
        "images (DIR/train) and 150 evaluation images (DIR/val).",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the dataset"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, metavar="N",
        help="random seed of all images (default: %(default)s)"
    )
    parser.set_defaults(run=_run_shapes)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "check",
        help="verify the records of a dataset and draw some of them",
        description="Read all records as training does, compare them with the dataset's info file, "
        "count instances, and draw some images with their boxes and masks. Exits with 1 if "
        "problems were found.",
    )
    parser.add_argument(
        "prefix", metavar="PREFIX", help="prefix of the record files, such as data/coco/train")
    parser.add_argument(
        "--output", metavar="DIR", help="folder for the drawn images (default: PREFIX-check)"
    )
    parser.add_argument(
        "--images", type=at_least(0), default=16, metavar="N",
        help="number of images to draw (default: %(default)s)"
    )
    parser.add_argument(
        "--split", metavar="SPLIT",
        help="class split whose seen and novel classes are marked, such as voc"
    )
    parser.set_defaults(run=_run_check)


def _add_pseudo_masks(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "pseudo-masks",
        help="write annotations with masks that a trained trial predicts",
        description="Predict masks in annotated boxes with a trial's last checkpoint, and write "
        "them as a COCO instances file, on which a student can be trained.",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the trial")
    parser.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="folder with the image files")
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="JSON",
        help="COCO instances JSON with the boxes")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="JSON", help="COCO instances JSON to write")
    parser.add_argument(
        "--objects", choices=["unseen", "without-mask", "all"], default="unseen",
        help="objects that get a predicted mask: those whose mask the trial has not seen (novel "
        "classes, or no mask at all), those without a mask, or all (default: %(default)s)")
    parser.add_argument(
        "--min-stability", type=float, default=0.0, metavar="SHARE",
        help="least stability of a mask, from 0 to 1: the share of its cells that stay if the "
        "threshold rises; others keep only their box (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=at_least(1), default=8, metavar="N",
        help="images per batch (default: %(default)s)")
    parser.set_defaults(run=_run_pseudo_masks)


def _run_pseudo_masks(args: argparse.Namespace) -> int:
    from deepmac_ablate.serving.pseudo_masks import write_pseudo_masks

    print("\n".join(write_pseudo_masks(
        args.workdir, args.images, args.annotations, args.output, args.objects,
        args.min_stability, args.batch_size)))
    return 0


def _run_split(args: argparse.Namespace) -> int:
    from deepmac_ablate.data.split_coco import split_annotations

    print("\n".join(split_annotations(args.annotations, args.output, args.share, args.seed)))
    return 0


def _run_coco(args: argparse.Namespace) -> int:
    from deepmac_ablate.data import convert_coco

    summary = convert_coco.convert_dataset(
        args.images, args.annotations, args.output, args.shards, boxes_only=args.boxes_only)
    print("\n".join([*summary.lines(), *_coco_declaration(summary.info, args.output)]))
    return 0


def _run_shapes(args: argparse.Namespace) -> int:
    from deepmac_ablate.data.shapes import generate

    summary = generate.generate_dataset(args.output, args.seed)
    print("\n".join([*summary.lines(), _declaration(summary.train.info)]))
    return 0


def _run_check(args: argparse.Namespace) -> int:
    from deepmac_ablate import class_splits

    # Report a missing dataset or a wrong split before TensorFlow is imported, which takes seconds.
    info = DatasetInfo.load(args.prefix)
    seen_ids = None
    if args.split is not None:
        seen_ids = class_splits.resolve(args.split, info.categories)
    from deepmac_ablate.data import check

    output = args.output or f"{args.prefix}-check"
    report = check.check_dataset(args.prefix, output, args.images, seen_ids=seen_ids)
    print("\n".join(report.lines()))
    return 1 if report.problems else 0


def _coco_declaration(info: DatasetInfo, prefix: str) -> list[str]:
    """Return the lines that a gin file needs to train or to evaluate on a converted dataset."""
    if _EVALUATED.fullmatch(info.name):
        return [
            "To evaluate on these data, put this into a gin file; DATASET declares training data "
            "only:", f"VAL = {os.fspath(prefix)!r}"]
    return [
        "To train on these data, put this into a gin file (to evaluate on them: VAL = "
        f"{os.fspath(prefix)!r}, without DATASET):",
        f"TRAIN = {os.fspath(prefix)!r}", _declaration(info)]


def _declaration(info: DatasetInfo) -> str:
    """Return the gin binding that declares the training data, whatever their path."""
    return f"DATASET = {info.identity!r}"
