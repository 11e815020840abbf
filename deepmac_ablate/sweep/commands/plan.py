"""`deepmac-ablate plan`: what a sweep would be."""

from __future__ import annotations

import argparse
import json

from deepmac_ablate.sweep import loading, plan_text
from deepmac_ablate.sweep.commands import sweep_options
from deepmac_ablate.sweep.device_plan import device_plan
from deepmac_ablate.sweep.observer import Observer
from deepmac_ablate.sweep.rental import add_device_options, rental


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the command line."""
    parser = commands.add_parser(
        "plan", help="resolve and check a sweep without running it",
        description="Resolves every trial of a sweep, checks it, and says what it costs, on a "
        "device too if one is named. Exit status 2 if anything is wrong.")
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's Python file")
    sweep_options.add_edits(parser)
    add_device_options(parser)
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    rented = rental(args)
    sweep = loading.load(args.sweep)
    workdir = sweep_options.workdir_of(sweep, args)
    checked = sweep_options.checked(sweep, args, rented)
    rows = Observer(workdir, checked.plan).with_code()
    on_device = None if rented is None else device_plan(rented, checked, rows, workdir)
    if args.json:
        content = plan_text.as_json(checked, rows, on_device)
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        print(plan_text.as_text(checked, rows, on_device))
    return 0
