"""The commands ``rm`` and ``archive``, which delete and pack the trials of a sweep."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from deepmac_ablate.errors import UserError, count_noun, did_you_mean, inflect
from deepmac_ablate.launch import archive, removal
from deepmac_ablate.launch.supervision import locks
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.results.loading.find_source import find_source
from deepmac_ablate.results.loading.source import TrialRecord
from deepmac_ablate.results.loading.workdir_source import SweepWorkdirSource
from deepmac_ablate.safe_text import visible


def register(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the command line."""
    parser = commands.add_parser(
        "rm", help="delete the trials of an arm",
        description="Delete all files of trials, checkpoints included, after a question. Trials "
        "of the plan are missing then: a launch of the sweep runs them again.")
    parser.add_argument("workdir", metavar="WORKDIR", help="the sweep's workdir")
    parser.add_argument(
        "trials", metavar="ARM_OR_TRIAL", nargs="+",
        help="label of an arm, id of a trial, or the beginning of an id")
    parser.add_argument("--yes", action="store_true", help="delete without a question")
    parser.set_defaults(run=_remove)

    parser = commands.add_parser(
        "archive", help="pack a workdir without checkpoints into one file",
        description="Pack a sweep's workdir into a .tar.gz file. Without its checkpoints it is "
        "small; once it is unpacked, every command that shows results reads it.")
    parser.add_argument("workdir", metavar="WORKDIR", help="the sweep's workdir")
    parser.add_argument(
        "--output", metavar="FILE", help="file to write (default: <WORKDIR>.tar.gz)")
    parser.set_defaults(run=_archive)


def _remove(args: argparse.Namespace) -> int:
    workdir = SweepWorkdir(args.workdir.rstrip("/"))
    _read_records(args.workdir)
    # No launcher may start a trial, or take it for finished, while its files are deleted.
    with locks.acquire(workdir.lock, locks.describe_this_process("rm")):
        chosen = _choose(_read_records(args.workdir), args.trials, args.workdir)
        if busy := [each for each in chosen if each.status in ("running", "queued")]:
            are = inflect(len(busy), "is", "are")
            raise UserError(
                f"{_join(busy)} {are} {busy[0].status}; run 'deepmac-ablate stop {args.workdir}' "
                "first, or wait.")
        sizes = {
            each.trial: [size for _, size in removal.list_files(workdir.location(_folder(each)))]
            for each in chosen}
        there = [each for each in chosen if sizes[each.trial]]
        for each in there:
            print(visible(
                f"{each.trial}  {each.arm}, seed {each.seed}  {each.status}  "
                f"{size_text(sum(sizes[each.trial]))}"))
        what = (
            f"{count_noun(len(there), 'trial')} "
            f"({count_noun(sum(map(len, sizes.values())), 'file')}, "
            f"{size_text(sum(map(sum, sizes.values())))})")
        if there and not (args.yes or _is_confirmed(f"Delete {what}?")):
            print("Nothing was deleted.")
            return 0
        removal.remove_trials(workdir, [_folder(each) for each in chosen])
    if not there:
        print("Nothing to delete: these trials have no files.")
        return 0
    print(f"Deleted {what}. Launch the sweep to run those of its plan again.")
    return 0


def _read_records(workdir: str) -> list[TrialRecord]:
    source = find_source(workdir)
    if not isinstance(source, SweepWorkdirSource):
        raise UserError(f"{workdir} is not the workdir of a sweep; pass the folder of its plan.")
    return list(source.trials())


def _choose(
    records: Sequence[TrialRecord], wanted: Sequence[str], workdir: str
) -> list[TrialRecord]:
    chosen: dict[str, TrialRecord] = {}
    for name in wanted:
        found = [each for each in records if name in (each.arm, each.trial)]
        if not found and name:
            found = [each for each in records if each.trial.startswith(name)]
            if len(found) > 1:
                raise UserError(f"{name!r} is ambiguous; it begins the ids of {_join(found)}.")
        if not found:
            known = dict.fromkeys([each.arm for each in records])
            hint = did_you_mean(name, [*known, *(each.trial for each in records)])
            raise UserError(
                f"No trial in {workdir} has the id or arm {name!r}.{hint} Arms are "
                f"{', '.join(known)}.")
        chosen |= {each.trial: each for each in found}
    return list(chosen.values())


def _folder(record: TrialRecord) -> str:
    """Return the name of a trial's folder, which is its id unless the folder was copied."""
    return (record.folder or record.trial).rpartition("/")[2]


def _join(records: Sequence[TrialRecord]) -> str:
    more = f" and {len(records) - 3} more" if len(records) > 3 else ""
    return ", ".join(
        f"{each.trial} ({each.arm}, seed {each.seed})" for each in records[:3]) + more


def _is_confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError(f"{question} Pass --yes, as there is no terminal to answer on.")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _archive(args: argparse.Namespace) -> int:
    workdir = args.workdir.rstrip("/")
    statuses = Counter(each.status for each in _read_records(workdir))
    output = args.output or f"{workdir.rpartition('/')[2] if '://' in workdir else workdir}.tar.gz"
    written = archive.pack_workdir(workdir, output)
    left_out = f", without {size_text(written.checkpoints)} of checkpoints"
    print(
        f"{output}: {count_noun(written.files, 'file')}, {size_text(written.size)}"
        f"{left_out if written.checkpoints else ''}. To unpack: tar -xzf {output}")
    if running := statuses["running"]:
        print(
            f"{count_noun(running, 'trial is', 'trials are')} running; the archive holds them as "
            "they are now.", file=sys.stderr)
    return 0


def size_text(size: float) -> str:
    """Return a number of bytes as "512 bytes", "1.2 kB", "3.4 MB" or "5.6 GB"."""
    if size < 1000:
        return count_noun(int(size), "byte")
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000 or unit == "GB":
            return f"{size:.1f} {unit}"
    raise AssertionError
