"""`deepmac-ablate table | effects | compare | report`: parse, call, print; a module each."""

from __future__ import annotations

import argparse
from types import ModuleType

from deepmac_ablate.results.commands import compare, effects, report, table

_COMMANDS: tuple[ModuleType, ...] = (table, effects, compare, report)


def register(commands: argparse._SubParsersAction) -> None:
    """Adds the commands to the command line."""
    for command in _COMMANDS:
        command.register(commands)
