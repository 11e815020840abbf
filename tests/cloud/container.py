"""What the containers of a cloud in tests run: the real worker, with a trainer without a model.

::

    python -m tests.cloud.container worker OPTIONS...
"""

from __future__ import annotations

import argparse
import sys

from deepmac_ablate import exit_status
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep import worker
from deepmac_ablate.sweep.commands import worker as worker_command


def command(folder, mode, tracking, runtime):
    return (sys.executable, "-m", "tests.cloud.cloud_trainer", folder, mode)


def main() -> int:
    parser = argparse.ArgumentParser()
    worker_command.register(parser.add_subparsers())
    try:
        return worker.run(worker_command.order(parser.parse_args()), command)
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return exit_status.USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
