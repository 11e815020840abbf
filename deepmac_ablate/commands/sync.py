"""The command ``sync``; parsing needs neither W&B nor TensorFlow."""

from __future__ import annotations

import argparse
import sys

from deepmac_ablate.errors import count_noun, inflect


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "sync", help="upload offline W&B runs of trials",
        description="Upload the W&B runs that trials have written with --tracking offline; each "
        "run is uploaded once. Exits with 1 if some were not uploaded; run the same command again "
        "to retry.")
    parser.add_argument(
        "folder", metavar="DIR", help="workdir of a sweep, or folder of a trial")
    parser.add_argument(
        "--dry-run", action="store_true", help="list the files that would be uploaded")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from deepmac_ablate.trial.tracking import sync

    if not args.dry_run:
        sync.complete_files(args.folder)
    files = sync.pending_files(args.folder)
    if not files:
        print(sync.describe_nothing_pending(args.folder))
        return 0
    if args.dry_run:
        print("\n".join([*map(str, files), f"{count_noun(len(files), 'file')} would be uploaded."]))
        return 0
    failed = sync.upload_files(files)
    uploaded = len(files) - len(failed)
    was = inflect(uploaded, "was", "were")
    print(f"{uploaded} of {count_noun(len(files), 'file')} {was} uploaded.")
    if failed:
        lines = [f"{file}: {reason}" for file, reason in failed.items()]
        print("\n".join(["Not uploaded:", *lines]), file=sys.stderr)
    return 1 if failed else 0
