"""Launch script for XManager: ``xmanager launch`` of any sweep, with the options of our ``launch``.

::

    xmanager launch deepmac_ablate/commands/xmanager_script.py -- --sweep=sweeps/x.py

``python -m deepmac_ablate.commands.xmanager_script`` prints the path of the script.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from deepmac_ablate import errors
from deepmac_ablate.commands import launch, plan
from deepmac_ablate.errors import UserError

# Defines --xm_launch_script, which `xmanager launch` gives to every script.
from deepmac_ablate.launch.xmanager import local as _  # noqa: F401
from deepmac_ablate.sweep import sweep


def main(argv: Sequence[str]) -> None:
    """Launch a sweep; called by XManager once absl has parsed the flags."""
    del argv
    parser = _parser()
    args = parser.parse_args(_given(parser))
    try:
        sys.exit(launch.launch(sweep.load(args.sweep), args))
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        sys.exit(errors.USER_ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xmanager launch", add_help=False)
    parser.add_argument("--sweep", required=True, metavar="SWEEP", help="the sweep's Python file")
    plan.add_edits(parser)
    launch.add_launch_options(parser)
    return parser


def _define_flags(parser: argparse.ArgumentParser) -> None:
    """Make every option of a parser known to absl; all may be given several times."""
    for action in parser._actions:
        for name in _names(action):
            if name in flags.FLAGS:
                continue
            if action.nargs == 0:
                flags.DEFINE_boolean(name, None, action.help)
            else:
                flags.DEFINE_multi_string(name, None, action.help)


def _given(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a parser that absl was given, as words for the parser."""
    words: list[str] = []
    for action in parser._actions:
        for name in _names(action):
            value = flags.FLAGS[name].value
            if action.nargs == 0:
                words += [f"--{name}"] if value else []
            else:
                words += [f"--{name}={item}" for item in value or ()]
    return words


def _names(action: argparse.Action) -> list[str]:
    return [option.removeprefix("--") for option in action.option_strings]


if __name__ == "__main__":
    print(__file__)
elif __name__ == Path(__file__).stem:
    # XManager imports it by this name, and absl parses the command line before it calls `main`.
    _define_flags(_parser())
