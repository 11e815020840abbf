"""What makes a sweep's file a launch script of XManager as well.

``xmanager launch sweeps/x.py -- --executor=local`` imports the file and calls its ``main(argv)``,
once absl has parsed the flags: they have to be known to absl by then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from absl import flags
from xmanager.xm import utils as _  # noqa: F401

from deepmac_ablate import errors
from deepmac_ablate.commands import launch, plan
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import sweep as loading
from deepmac_ablate.sweep.sweep import Sweep


def script_main(sweep: Sweep, question: str | None) -> Callable[[Sequence[str]], None]:
    """Makes the ``main`` of a sweep's file.

    Args:
        sweep: The sweep of the file.
        question: The file's ``__doc__``.

    Returns:
        A function that launches the sweep with the options of ``deepmac-ablate launch``.
    """
    # Only where XManager runs the file: nothing else should wait for it.
    if "xmanager.xm_flags" in sys.modules:
        pass

        define(_parser())

    def main(argv: Sequence[str]) -> None:
        pass

        args = _parser().parse_args(given(_parser()))
        try:
            sys.exit(launch.launch(loading.named(sweep, argv[0], question), args))
        except UserError as error:
            print(f"deepmac-ablate: {error}", file=sys.stderr)
            sys.exit(errors.USER_ERROR)

    return main


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xmanager launch", add_help=False)
    plan.add_edits(parser)
    launch.add_launch_options(parser)
    return parser


# Defines --xm_launch_script, which `xmanager launch` gives to every script.


def define(parser: argparse.ArgumentParser) -> None:
    """Makes every option of a parser known to absl; all may be given several times."""
    for action in parser._actions:
        for name in _names(action):
            if name in flags.FLAGS:
                continue
            if action.nargs == 0:
                flags.DEFINE_boolean(name, None, action.help)
            else:
                flags.DEFINE_multi_string(name, None, action.help)


def given(parser: argparse.ArgumentParser) -> list[str]:
    """Returns what absl was given of these options, as words for the parser."""
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
