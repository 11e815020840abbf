"""What makes a sweep's file a launch script of XManager as well.

``xmanager launch sweeps/x.py -- --executor=local`` imports the file and calls its ``main(argv)``,
once absl has parsed the flags: they have to be known to absl by then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from deepmac_ablate import exit_status
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import loading
from deepmac_ablate.sweep.commands import launch, sweep_options
from deepmac_ablate.sweep.spec import Sweep


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
        from deepmac_ablate.sweep.executors import script_flags

        script_flags.define(_parser())

    def main(argv: Sequence[str]) -> None:
        from deepmac_ablate.sweep.executors import script_flags

        args = _parser().parse_args(script_flags.given(_parser()))
        try:
            sys.exit(launch.launch(loading.named(sweep, argv[0], question), args))
        except UserError as error:
            print(f"deepmac-ablate: {error}", file=sys.stderr)
            sys.exit(exit_status.USER_ERROR)

    return main


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xmanager launch", add_help=False)
    sweep_options.add_edits(parser)
    launch.add_launch_options(parser)
    return parser
