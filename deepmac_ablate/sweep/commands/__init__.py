"""`deepmac-ablate plan | launch | status | stop | logs | worker`: parse, call, print."""

from __future__ import annotations

import argparse
from types import ModuleType

from deepmac_ablate.sweep.commands import launch, plan, watch, worker

_COMMANDS: tuple[ModuleType, ...] = (plan, launch, watch, worker)


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands to the command line."""
    for command in _COMMANDS:
        command.register(commands)
