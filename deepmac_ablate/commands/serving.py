"""The commands ``export`` and ``predict``.

Parsing needs no TensorFlow; the commands import what they run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from etils import epath

from deepmac_ablate.commands.option_types import at_least
from deepmac_ablate.errors import UserError
from deepmac_ablate.serving import INPUT_TYPES
from deepmac_ablate.serving.box_file import read_boxes, read_image_ids
from deepmac_ablate.serving.image_folder import check_output, find_images, find_stale_drawings


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the command line."""
    _add_export(subparsers)
    _add_predict(subparsers)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="export a trained trial as a SavedModel",
        description="Export a trial's last checkpoint as a SavedModel, OUTPUT/saved_model, with "
        "the names, inputs and outputs of Model Garden's exports.",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the trial")
    parser.add_argument(
        "--output", metavar="OUTPUT", help="new folder (default: DIR/export)"
    )
    parser.add_argument(
        "--input-type", action="append", choices=INPUT_TYPES, metavar="TYPE",
        help=f"input of a signature: {', '.join(INPUT_TYPES)}; may be given several times: the "
        "first becomes 'serving_default', and each gets a signature of its own name (default: "
        "image_tensor)",
    )
    parser.add_argument(
        "--batch-size", type=at_least(1), metavar="N",
        help="fixed number of images per call (default: any number)"
    )
    parser.add_argument(
        "--input-image-size", type=_size, metavar="H,W",
        help="height and width that images are resized to fit (default: as in training)",
    )
    parser.add_argument(
        "--normalized-coordinates", action="store_true",
        help="output boxes relative to the image size, from 0 to 1, instead of in pixels of the "
        "resized image",
    )
    parser.add_argument(
        "--gin-bindings", action="append", default=[], metavar="BINDING",
        help="binding that wins over the trial's, such as 'Detections.max_per_image = 300'; may be "
        "given several times",
    )
    parser.set_defaults(run=_run_export)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="predict masks on images with a trained trial",
        description="Predict and draw masks with a trial's last checkpoint, in detected or in "
        "given boxes. Exits with 1 if images or boxes were left out.",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the trial")
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="PATH",
        help="image files, and folders that are searched recursively",
    )
    parser.add_argument(
        "--boxes", type=Path, metavar="JSON",
        help="boxes to segment, [x, y, width, height] in pixels: COCO instances, a list of objects "
        "with file_name and bbox, or an object of lists by file name (default: detected boxes)",
    )
    parser.add_argument(
        "--image-ids", type=Path, metavar="JSON",
        help="COCO JSON whose image ids the results get; only its images are used (default: the "
        "ids in the file of boxes if it has any, otherwise 1, 2, 3, ...)",
    )
    parser.add_argument(
        "--output", metavar="OUTPUT", help="folder for the results, which replace those of an "
        "earlier run (default: DIR/predictions)"
    )
    parser.add_argument(
        "--min-score", type=float, default=0.3, metavar="SCORE",
        help="lowest score of a detection that is drawn; predictions.json has all detections "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--limit", type=at_least(1), metavar="N", help="use only the first N images"
    )
    parser.add_argument(
        "--batch-size", type=at_least(1), default=8, metavar="N",
        help="images per batch (default: %(default)s)",
    )
    parser.set_defaults(run=_run_predict)


def _run_export(args: argparse.Namespace) -> int:
    from deepmac_ablate.serving.export import export_model

    lines = export_model(
        args.workdir, args.output, args.input_type or ["image_tensor"], args.batch_size,
        args.input_image_size, args.normalized_coordinates, args.gin_bindings)
    print("\n".join(lines))
    return 0


def _run_predict(args: argparse.Namespace) -> int:
    if not 0.0 <= args.min_score <= 1.0:
        raise UserError(f"--min-score must be from 0 to 1, got {args.min_score:g}.")
    output = epath.Path(args.output or epath.Path(args.workdir) / "predictions")
    check_output(output, args.images)
    found = find_images(args.images)
    images, listed = found.images, {}
    problems, notes = [found.unsupported] if found.unsupported else [], []
    folder = args.images[0].resolve().name if len(args.images) == 1 else ""
    if args.image_ids is not None:
        ids = read_image_ids(args.image_ids, [picture.name for picture in images], folder)
        images = [picture for picture in images if picture.name in ids.listed]
        listed, problems, notes = ids.listed, problems + ids.problems, ids.notes
    boxes = None
    if args.boxes is not None:
        boxes = read_boxes(args.boxes, {picture.name for picture in images}, folder)
        images = [picture for picture in images if picture.name in boxes.by_name]
        problems, notes = problems + boxes.problems, notes + boxes.notes
        listed = listed or boxes.listed
    if args.limit is not None:
        images = images[: args.limit]
    find_stale_drawings(output, images)
    # Report mistakes before TensorFlow is imported, which takes seconds.
    from deepmac_ablate.serving.predict import predict_images

    report = predict_images(
        args.workdir, images, boxes, listed, output, args.min_score, args.batch_size)
    problems += report.problems
    for sentence in filter(None, [found.hidden, *problems]):
        print(f"deepmac-ablate: {sentence}", file=sys.stderr)
    print("\n".join([*notes, *report.lines]))
    return 1 if problems else 0


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be a height and a width such as 512,640, got {text!r}") from error
    return height, width
