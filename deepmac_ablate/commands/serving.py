"""The commands ``export`` and ``predict``.

Parsing needs no TensorFlow; the commands import what they run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from etils import epath

from deepmac_ablate.errors import UserError, check_at_least
from deepmac_ablate.serving import INPUT_TYPES
from deepmac_ablate.serving.box_file import read_boxes
from deepmac_ablate.serving.image_folder import check_output, find_images


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets `run`, a function of the arguments.

    `run` returns the exit status: 0, or 1 where some pictures or boxes were left out.
    """
    _add_export(subparsers)
    _add_predict(subparsers)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="write a SavedModel of a trained trial",
        description="Write a SavedModel of a trial's last checkpoint to DIR/saved_model, with the "
        "names, inputs and outputs of Model Garden's exports.",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the trial")
    parser.add_argument(
        "--output", metavar="DIR", help="a new folder (default: WORKDIR/export)"
    )
    parser.add_argument(
        "--input_type", action="append", choices=INPUT_TYPES,
        help="what goes in (default: image_tensor); may be given several times: the first is "
        "'serving_default', and then each is also found under its own name",
    )
    parser.add_argument(
        "--batch_size", type=int, metavar="N", help="images that go in (default: any number)"
    )
    parser.add_argument(
        "--input_image_size", type=_size, metavar="H,W",
        help="what pictures are resized to fit (default: as in training)",
    )
    parser.add_argument(
        "--normalized_coordinates", action="store_true",
        help="detected boxes in units of the picture's size, 0 to 1, instead of pixels of the "
        "resized image",
    )
    parser.add_argument(
        "--gin_bindings", action="append", default=[], metavar="BINDING",
        help="wins over the trial's, such as 'Detections.max_per_image = 300'; may be given "
        "several times",
    )
    parser.set_defaults(run=_run_export)


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="draw a trained trial's masks on pictures",
        description="Draw the masks that a trial's last checkpoint predicts, in detected or in "
        "given boxes. Exit status 1 says that pictures or boxes were left out.",
    )
    parser.add_argument("--workdir", required=True, metavar="DIR", help="of the trial")
    parser.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="PATH",
        help="folders, with all that is below, and image files",
    )
    parser.add_argument(
        "--boxes", type=Path, metavar="JSON",
        help="segment what lies in these boxes, [x, y, width, height] in pixels: COCO instances, a "
        "list of objects with file_name and bbox, or an object of lists by file name",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="where files go (default: WORKDIR/predictions)"
    )
    parser.add_argument(
        "--min_score", type=float, default=0.3, metavar="S",
        help="detections that score less are not drawn (default: %(default)s); predictions.json "
        "has all of them",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--batch_size", type=int, default=8, metavar="N",
        help="images that go through the model at once (default: %(default)s)",
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
    check_at_least(1, batch_size=args.batch_size)
    if not 0.0 <= args.min_score <= 1.0:
        raise UserError(f"min_score = {args.min_score} makes no sense; scores are from 0 to 1.")
    output = epath.Path(args.output or epath.Path(args.workdir) / "predictions")
    check_output(output, args.images)
    images = find_images(args.images)
    boxes = None
    if args.boxes is not None:
        boxes = read_boxes(args.boxes, {picture.name for picture in images})
        images = [picture for picture in images if picture.name in boxes.by_name]
    if args.limit is not None:
        check_at_least(1, limit=args.limit)
        images = images[: args.limit]
    # After what is given, whose mistakes should not wait for TensorFlow.
    from deepmac_ablate.serving.predict import predict_images

    report = predict_images(
        args.workdir, images, boxes, output, args.min_score, args.batch_size)
    for problem in report.problems:
        print(f"deepmac-ablate: {problem}", file=sys.stderr)
    print("\n".join(report.lines))
    return 1 if report.problems else 0


def _size(text: str) -> tuple[int, int]:
    try:
        height, width = (int(side) for side in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no height and width such as 512,640") from error
    return height, width
