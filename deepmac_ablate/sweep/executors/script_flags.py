"""The options of ``launch`` as absl flags, for a sweep that XManager's own command runs."""

from __future__ import annotations

import argparse

from absl import flags

# Defines --xm_launch_script, which `xmanager launch` gives to every script.
from xmanager.xm import utils as _  # noqa: F401


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
