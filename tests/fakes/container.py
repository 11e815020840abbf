"""Entry point of containers in tests: the real worker, with a trainer without a model.

::

    python -m tests.fakes.container worker OPTIONS...
"""

from __future__ import annotations

import argparse
import sys

from deepmac_ablate import errors
from deepmac_ablate.commands import worker as worker_command
from deepmac_ablate.errors import UserError
from deepmac_ablate.launch.cloud_jobs import worker
from deepmac_ablate.storage import file_io
from tests.helpers import launching


def command(folder, mode, tracking, runtime):
    if not file_io.is_remote(folder):
        return launching.fake_command(folder, mode, tracking, runtime)
    return (sys.executable, "-m", "tests.fakes.cloud_trainer", folder, mode)


def main() -> int:
    parser = argparse.ArgumentParser()
    worker_command.register(parser.add_subparsers())
    try:
        return worker.run(worker_command.read_config(parser.parse_args()), command)
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return errors.USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
