"""`deepmac-ablate`: parses the command line, calls, prints."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from deepmac_ablate import errors
from deepmac_ablate.commands import (
    bindings,
    data,
    evaluate,
    import_model_garden,
    launch,
    monitor,
    plan,
    results,
    serving,
    sync,
    tpu_server,
    train,
    worker,
)
from deepmac_ablate.errors import UserError

# In the order in which --help lists them; `worker` and `tpu_server` are run by jobs and not listed.
_COMMANDS: tuple[ModuleType, ...] = (
    data, train, evaluate, plan, launch, monitor, results, serving, import_model_garden, sync,
    bindings, worker, tpu_server)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the process's exit status."""
    # TensorFlow speaks of missing GPUs and deprecated calls of its own; what goes wrong is raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Gin files may import modules of the user's; last, so that they shadow nothing.
    sys.path.append(os.getcwd())  # noqa: PTH109
    args = _parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return errors.USER_ERROR
    except BrokenPipeError:
        # The reader of our output has seen enough.
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepmac-ablate",
        description="Ablations of Mask R-CNN with deep mask heads, for classes whose masks were "
        "never seen.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.register(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
