"""Where a command's text goes: to a file that is whole, or to stdout."""

from __future__ import annotations

import argparse
import sys

from etils import epath

from deepmac_ablate import storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.formats import FORMATS, WITHOUT_CAPTION, Document


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds in which format, with which confidence, and where to."""
    parser.add_argument(
        "--format", choices=list(FORMATS), default="markdown", help="default: %(default)s")
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="SHARE",
        help="of the intervals over seeds; default: %(default)s")
    parser.add_argument("--output", metavar="FILE", help="where to write it, instead of stdout")


def put(document: Document, args: argparse.Namespace) -> None:
    """Writes or prints a document as `add_options` says.

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
