"""The command ``sync``; parsing needs neither W&B nor TensorFlow."""

from __future__ import annotations

import argparse
import sys


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``sync``, which sets `run`, a function of the arguments.

    `run` returns the exit status: 0, or 1 where something was not uploaded.
    """
    parser = subparsers.add_parser(
        "sync", help="upload to W&B what trials have written offline",
        description="Uploads what trials have written with --tracking offline, and remembers it. "
        "Exit status 1 says that something is left; the same command tries it again.")
    parser.add_argument("folder", metavar="DIR", help="of a sweep or of a trial")
    parser.add_argument(
        "--dry_run", "--dry-run", action="store_true", help="only say what would be uploaded")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from deepmac_ablate.trial.tracking import sync

    if not args.dry_run:
        sync.complete_files(args.folder)
    files = sync.pending_files(args.folder)
    if not files:
        print(f"Nothing to upload: {args.folder} has no offline run that was not uploaded before.")
        return 0
    if args.dry_run:
        print("\n".join([*map(str, files), f"{len(files)} files would be uploaded."]))
        return 0
    failed = sync.upload_files(files)
    print(f"{len(files) - len(failed)} of {len(files)} files were uploaded.")
    if failed:
        lines = [f"{file}: {reason}" for file, reason in failed.items()]
        print("\n".join(["Not uploaded:", *lines]), file=sys.stderr)
    return 1 if failed else 0
