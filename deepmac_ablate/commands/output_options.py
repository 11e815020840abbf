"""Options of commands that print tables or write them to files, and the output itself."""

from __future__ import annotations

import argparse
import sys

from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.formats import FORMATS, WITHOUT_CAPTION, Document, csv_text
from deepmac_ablate.storage import file_io


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the output: format, confidence level and file."""
    parser.add_argument(
        "--format", choices=list(FORMATS), default="markdown", metavar="FORMAT",
        help=f"{', '.join(FORMATS)} (default: %(default)s)")
    parser.add_argument(
        "--confidence", type=float, default=0.95, metavar="LEVEL",
        help="confidence level of the intervals, between 0 and 1 (default: %(default)s)")
    add_file_options(parser)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the output's cells and file."""
    parser.add_argument(
        "--raw-cells", action="store_true",
        help="write texts that begin with =, +, - or @ to CSV as they are, without the apostrophe "
        "that keeps spreadsheets from running them as formulas")
    parser.add_argument("--output", metavar="FILE", help="file to write (default: print)")


def write_document(document: Document, args: argparse.Namespace) -> None:
    """Write or print a document as `add_output_options` says."""
    check_raw_cells(args)
    text = csv_text(document, protect=False) if args.raw_cells else FORMATS[args.format](document)
    if args.format in WITHOUT_CAPTION:
        # Programs read these formats, so the caption goes to stderr.
        print("\n".join(document.caption), file=sys.stderr)
    write_text(text, args)


def check_raw_cells(args: argparse.Namespace) -> None:
    """Check that --raw-cells is given for CSV only.

    Raises:
        UserError: If it is not.
    """
    if args.raw_cells and args.format != "csv":
        raise UserError(f"--raw-cells is for --format csv, got --format {args.format}.")


def write_text(text: str, args: argparse.Namespace) -> None:
    """Write a text to the file of --output, or print it.

    Raises:
        UserError: If the file cannot be written.
    """
    if args.output is None:
        print(text)
        return
    try:
        file_io.write(epath.Path(args.output), f"{text}\n")
    except OSError as error:
        raise UserError(f"Cannot write {args.output}: {error}.") from error
    print(args.output)
