"""Entry point of `deepmac-ablate`: parses the command line and runs one command."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from deepmac_ablate import errors
from deepmac_ablate.bindings.gin_files import code_folder
from deepmac_ablate.commands import (
    bindings,
    data,
    doctor,
    evaluate,
    free_space,
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
from deepmac_ablate.errors import BrokenFileWarning, UserError, did_you_mean
from deepmac_ablate.progress import plain_output
from deepmac_ablate.training import tpu_environment

# In the order of --help, which does not list `worker` and `tpu-server`: only jobs run these.
_COMMANDS: tuple[ModuleType, ...] = (
    doctor, data, train, evaluate, plan, launch, monitor, results, free_space, serving,
    import_model_garden, sync, bindings, worker, tpu_server)

_LONG_OPTION = re.compile(r"(--[A-Za-z][\w-]*)(=.*)?", re.DOTALL)


class CommandParser(argparse.ArgumentParser):
    """Parser whose options have dashes; `--gin_file` is accepted for `--gin-file`, but not listed.

    The parsers of its commands are of the same class. Mistakes are reported in one line, which says
    how to list the options or commands.
    """

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[Any, list[str]]:
        """Parse arguments; see `argparse.ArgumentParser`. A command refuses unknown arguments."""
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        words[:end] = map(_with_dashes, words[:end])
        if self._subparsers is not None:
            return super().parse_known_args(words, namespace)
        # Checked first: a misspelt option is the reason why argparse misses a required one.
        for option in filter(None, map(_LONG_OPTION.fullmatch, words[:end])):
            self._check_option(option[1])
        found, unknown = super().parse_known_args(words, namespace)
        if unknown:
            self.error(f"unexpected arguments: {' '.join(unknown)}")
        return found, []

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Return the argument on one line of an @FILE."""
        return [_with_dashes(arg_line)]

    def error(self, message: str) -> NoReturn:
        """Print a message and how to list what is allowed, and exit."""
        message = re.sub(r"^argument (\S+): (?=must|expected)", r"\1 ", message)
        stop = "" if message.endswith((".", "?")) else "."
        listed = "options" if self._subparsers is None else "commands"
        self.exit(
            errors.USER_ERROR,
            f"{self.prog}: error: {message}{stop} '{self.prog} --help' lists the {listed}.\n")

    def _check_option(self, name: str) -> None:
        # Beginnings of names are accepted, too.
        if not any(known.startswith(name) for known in self._option_string_actions):
            self.error(f"unknown option {name}.{did_you_mean(name, self._option_string_actions)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401
        """Refuse a value that is not one of an action's choices; called by argparse."""
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            # Without the internal commands.
            listed = [command.dest for command in action._choices_actions]
            raise argparse.ArgumentError(
                None, f"unknown command {value!r}.{did_you_mean(value, listed)}")
        raise argparse.ArgumentError(
            action, f"must be one of {', '.join(action.choices)}, got {value!r}."
            f"{did_you_mean(value, action.choices)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status of the process."""
    # TensorFlow logs missing GPUs and its own deprecated calls; real errors are raised.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tpu_environment.set_platform_variables(os.environ)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        # Gin files may import the user's own modules; appended last, so that these shadow nothing.
        sys.path.append(os.getcwd())  # noqa: PTH109
        if (code := code_folder()) is not None:
            # `python -m` has put the working directory first.
            sys.path.insert(0, code)
    except FileNotFoundError:
        print("deepmac-ablate: The current folder was deleted; go to another.", file=sys.stderr)
        return errors.USER_ERROR
    with plain_output(), warnings.catch_warnings():
        warnings.simplefilter("always", BrokenFileWarning)
        warnings.showwarning = _warning_printer()
        return _run(make_parser().parse_args(argv))


def _run(args: argparse.Namespace) -> int:
    try:
        return args.run(args) or 0
    except UserError as error:
        print(f"deepmac-ablate: {error}", file=sys.stderr)
        return errors.USER_ERROR
    except BrokenPipeError:
        # The program that reads our output (head, less) has ended.
        sys.stderr.close()
        return 0
    except OSError as error:
        # Too long a path, a file in place of a folder, no space left, and the like.
        if not isinstance(error.filename, str | bytes):
            raise
        print(f"deepmac-ablate: {os.fsdecode(error.filename)}: {error.strerror}.", file=sys.stderr)
        return errors.USER_ERROR


def _warning_printer() -> Callable[..., None]:
    """Return a replacement of `warnings.showwarning` that prints each sentence to users once."""
    default, shown = warnings.showwarning, set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:  # noqa: ANN401
        if not issubclass(category, BrokenFileWarning):
            default(message, category, *place, **more)
        elif str(message) not in shown:
            shown.add(str(message))
            print(f"deepmac-ablate: {message}", file=sys.stderr)

    return show


def make_parser() -> CommandParser:
    """Return the parser of the whole command line."""
    parser = CommandParser(
        prog="deepmac-ablate",
        description="Run and compare ablations of Mask R-CNN with deep mask heads, which segment "
        "classes that had no masks in training.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.register(commands)
    return parser


def _with_dashes(word: str) -> str:
    """Return a word of the command line; if it is a long option, its name has dashes only."""
    option = _LONG_OPTION.fullmatch(word)
    if option is None:
        return word
    return option[1].replace("_", "-") + (option[2] or "")


if __name__ == "__main__":
    sys.exit(main())
