"""The commands ``bindings`` and ``diff``.

Only the list of all parameters needs TensorFlow, as it imports every configurable class.
"""

from __future__ import annotations

import argparse


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands; each sets `run`, a function of the arguments."""
    _add_bindings(subparsers)
    _add_diff(subparsers)


def _add_bindings(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bindings",
        help="list configurable parameters and their gin bindings",
        description="List every configurable parameter with its type, default and description, "
        "and the values that the given gin files bind, with file and line.",
    )
    parser.add_argument(
        "filter", nargs="?", metavar="FILTER",
        help="list only parameters whose Selector.parameter contains this text, or matches it if "
        "it has wildcards, such as 'HourglassMaskHead.*'",
    )
    parser.add_argument(
        "--gin-file", action="append", default=[], metavar="FILE",
        help="gin file; may be given several times, later files win",
    )
    parser.add_argument(
        "--gin-bindings", action="append", default=[], metavar="BINDING",
        help="binding such as 'STEPS = 100'; may be given several times",
    )
    parser.add_argument(
        "--tree", action="store_true",
        help="show the composed configuration as a tree of references instead, from Training down",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run_bindings)


def _add_diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "diff",
        help="show the differences between two trials or gin files",
        description="Show the differences between two trials or gin files, with macros expanded "
        "and the places of the bindings. A and B are each a gin file, several gin files joined by "
        "'+', or a trial's folder; with --workdir also a trial's id, the beginning of an id, or "
        "the label of an arm. For trials that were trained, also show defaults that have changed "
        "with the code, and those of classes that only one of them uses.",
    )
    parser.add_argument("a", metavar="A", help="trial or gin files to compare with")
    parser.add_argument("b", metavar="B", help="trial or gin files to compare")
    parser.add_argument(
        "--workdir", metavar="WORKDIR", help="sweep whose trials and arms A and B may name")
    for side in "ab":
        parser.add_argument(
            f"--{side}-bindings", action="append", default=[], metavar="BINDING",
            help=f"binding added to {side.upper()}; may be given several times",
        )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run_diff)


def _run_bindings(args: argparse.Namespace) -> int:
    from deepmac_ablate.errors import UserError

    if not args.tree:
        return _run_list(args)
    if args.filter is not None:
        raise UserError(
            f"--tree cannot be combined with a filter, got {args.filter!r}; remove one of them.")
    if not args.gin_file:
        raise UserError("--tree needs at least one --gin-file.")

    from deepmac_ablate import bindings
    from deepmac_ablate.bindings import tree
    from deepmac_ablate.commands import config_text
    from deepmac_ablate.storage.strict_json import to_json

    nodes = tree.compose_tree(bindings.read(args.gin_file, args.gin_bindings).bindings)
    if args.json:
        print(to_json(config_text.tree_fields(nodes), indent=2))
    else:
        config_text.show_lines(config_text.tree_lines(nodes))
    return 0


def _run_list(args: argparse.Namespace) -> int:
    from deepmac_ablate import bindings

    # Report mistakes before TensorFlow is imported, which takes seconds.
    bindings.read(args.gin_file, args.gin_bindings)

    # `session` registers every class that gin files select.
    from deepmac_ablate.bindings import parameters
    from deepmac_ablate.commands import config_text
    from deepmac_ablate.storage.strict_json import to_json
    from deepmac_ablate.training import session  # noqa: F401

    rows = parameters.list_parameters(bindings.read_partial(args.gin_file, args.gin_bindings))
    if args.filter is not None:
        rows = parameters.filter_parameters(rows, args.filter, bool(args.gin_file))
    if args.json:
        print(to_json(config_text.list_fields(rows), indent=2))
    else:
        config_text.show_lines(config_text.list_lines(rows))
    return 0


def _run_diff(args: argparse.Namespace) -> int:
    from deepmac_ablate.commands import config_text
    from deepmac_ablate.results import config_diff
    from deepmac_ablate.storage.strict_json import to_json

    a = config_diff.read_side(args.a, args.a_bindings, args.workdir)
    b = config_diff.read_side(args.b, args.b_bindings, args.workdir)
    comparison = config_diff.compare_sides(a, b)
    if args.json:
        print(to_json(config_text.difference_fields(a, b, comparison), indent=2))
        return 0
    rows = config_text.difference_rows(comparison)
    if rows:
        config_text.show_table(["", a.label, b.label], rows)
    config_text.show_lines(config_text.difference_notes(a, b, comparison))
    return 0
