"""Which sweep is meant, and what is changed of it without touching its file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.checked_plan import CheckedPlan, check
from deepmac_ablate.sweep.rental import Rental
from deepmac_ablate.sweep.spec import Sweep
from deepmac_ablate.sweep.sweep_workdir import SweepWorkdir


def add_edits(parser: argparse.ArgumentParser) -> None:
    """Adds what changes a sweep."""
    parser.add_argument(
        "--workdir", metavar="W", help="the sweep's workdir; default: runs/<name of the sweep>")
    parser.add_argument(
        "--gin_bindings", action="append", default=[], metavar="BINDING",
        help="for all trials, over everything else; may be given several times")
    parser.add_argument(
        "--seeds", metavar="N", help="that many seeds, or seeds with commas: '3' or '0,1,7'")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=LEVEL[,LEVEL]",
        help="only arms with this level; may be given several times, for other axes")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of every trial")


def workdir_of(sweep: Sweep, args: argparse.Namespace) -> SweepWorkdir:
    """Returns the workdir that is asked for."""
    return SweepWorkdir(args.workdir or Path("runs") / sweep.name)


def checked(sweep: Sweep, args: argparse.Namespace, rented: Rental | None) -> CheckedPlan:
    """Returns the plan of a sweep with its edits.

    Raises:
        UserError: If anything is wrong with it, or it cannot run on what is rented.
    """
    seeds = _seeds(args.seeds) if args.seeds else None
    return check(sweep.edited(args.gin_bindings, seeds, args.only, args.steps), rented)


def _seeds(text: str) -> int | Sequence[int]:
    try:
        return [int(seed) for seed in text.split(",")] if "," in text else int(text)
    except ValueError as error:
        raise UserError(
            f"--seeds {text} is no number of seeds; write '3', or '0,1,7' for these.") from error
