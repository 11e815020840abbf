"""Launch script for XManager: launches any sweep, with the options of ``deepmac-ablate launch``.

::

    xmanager launch deepmac_ablate/commands/xmanager_script.py -- --sweep=sweeps/x.py

``python -m deepmac_ablate.commands.xmanager_script`` prints the path of the script.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from deepmac_ablate import errors
from deepmac_ablate.commands.launch import add_launch_options, launch_sweep
from deepmac_ablate.commands.plan import add_sweep_options
from deepmac_ablate.errors import UserError

# Defines --xm_launch_script, which `xmanager launch` passes to every script.
from deepmac_ablate.launch.xmanager import local as _  # noqa: F401
from deepmac_ablate.sweep.sweep_file import load_sweep

# XManager's flags that work as it documents them; it passes the first to every script.
_HONOURED = ("xm_launch_script", "xm_db_yaml_config_path", "xm_upgrade_db")


def main(argv: Sequence[str]) -> None:
    """Launch a sweep; called by XManager once absl has parsed the flags."""
    del argv
    # Gin files may import the user's own modules, as with `deepmac-ablate`.
    sys.path.append(os.getcwd())  # noqa: PTH109
    parser = _parser()
    args = parser.parse_args(_given_words(parser))
    try:
        _check_xmanager_flags()
        sys.exit(launch_sweep(load_sweep(args.sweep), args))
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        sys.exit(errors.USER_ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xmanager launch", add_help=False)
    parser.add_argument("--sweep", required=True, metavar="SWEEP", help="the sweep's Python file")
    add_sweep_options(parser)
    add_launch_options(parser)
    return parser


def _define_flags(parser: argparse.ArgumentParser) -> None:
    """Define every option of a parser as a flag of absl, with dashes and with underscores."""
    for action in parser._actions:
        for name in _flag_names(action):
            if name in flags.FLAGS:
                continue
            if action.nargs == 0:
                flags.DEFINE_boolean(name, None, action.help)
            else:
                flags.DEFINE_multi_string(name, None, action.help)


def _given_words(parser: argparse.ArgumentParser) -> list[str]:
    """Return the flags that absl has parsed as words for the parser."""
    words: list[str] = []
    for action in parser._actions:
        [option] = action.option_strings
        for name in _flag_names(action):
            value = flags.FLAGS[name].value
            if action.nargs == 0:
                words += [option] if value else []
            else:
                words += [f"{option}={item}" for item in value or ()]
    return words


def _check_xmanager_flags() -> None:
    """Raise a `UserError` if one of XManager's own flags would have no effect."""
    for name in flags.FLAGS:
        if name.startswith("xm_") and flags.FLAGS[name].present and name not in _HONOURED:
            instead = "use --service-account" if name.endswith("service_account_name") else (
                f"of XManager's flags only {' and '.join(_HONOURED[1:])} have one")
            raise UserError(f"--{name} has no effect on a launch of deepmac_ablate; {instead}.")


def _flag_names(action: argparse.Action) -> list[str]:
    [option] = action.option_strings
    name = option.removeprefix("--")
    return list(dict.fromkeys((name, name.replace("-", "_"))))


if __name__ == "__main__":
    print(__file__)
elif __name__ == Path(__file__).stem:
    # XManager imports this file under its own name; absl parses the flags before it calls `main`.
    _define_flags(_parser())
