"""The commands ``bindings`` and ``diff``.

Only the list of all parameters needs TensorFlow, as it imports every class that can be bound.
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
        help="list what can be bound, and what gin files bind",
        description="List every parameter that can be bound, with its type, default and meaning, "
        "and what the given gin files bind it to, with file and line.",
    )
    parser.add_argument(
        "filter", nargs="?", metavar="FILTER",
        help="only parameters whose Selector.parameter contains this, or matches it where it has "
        "wildcards, such as 'HourglassMaskHead.*'",
    )
    parser.add_argument(
        "--gin_file", action="append", default=[], metavar="FILE",
        help="a gin file; may be given several times, later ones win",
    )
    parser.add_argument(
        "--gin_bindings", action="append", default=[], metavar="BINDING",
        help="a binding such as 'STEPS = 100'; may be given several times",
    )
    parser.add_argument(
        "--tree", action="store_true",
        help="show what the gin files compose instead: what refers to what, from Training down",
    )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.set_defaults(run=_run_bindings)


def _add_diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "diff",
        help="show in what two trials or gin files differ",
        description="Show in what two trials or gin files differ, with macros expanded and the "
        "lines that bind it. A and B are each a gin file, several joined by '+', or the folder of "
        "a trial; with --workdir also the id of one of its trials, the beginning of an id, or the "
        "label of an arm. Of trials that were trained, defaults that have changed with the code "
        "are shown too.",
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--workdir", metavar="DIR", help="of a sweep")
    for side in "ab":
        parser.add_argument(
            f"--{side}_bindings", action="append", default=[], metavar="BINDING",
            help=f"a binding on top of {side.upper()}; may be given several times",
        )
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.set_defaults(run=_run_diff)


def _run_bindings(args: argparse.Namespace) -> int:
    from deepmac_ablate.errors import UserError

    if not args.tree:
        return _run_list(args)
    if args.filter is not None:
        raise UserError(f"--tree shows everything; leave {args.filter!r} or --tree away.")
    if not args.gin_file:
        raise UserError("--tree shows what gin files compose; name one with --gin_file.")

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

    # Before TensorFlow, for which a mistake should not wait.
    bindings.read(args.gin_file, args.gin_bindings)

    # `session` registers every class that gin files select.
    from deepmac_ablate.bindings import parameters
    from deepmac_ablate.commands import config_text
    from deepmac_ablate.storage.strict_json import to_json
    from deepmac_ablate.training import session  # noqa: F401

    rows = parameters.list_parameters(bindings.read_partial(args.gin_file, args.gin_bindings))
    if args.filter is not None:
        rows = parameters.filter_parameters(rows, args.filter)
    if args.json:
        print(to_json(config_text.list_fields(rows), indent=2))
    else:
        config_text.show_lines(config_text.list_lines(rows))
    return 0


def _run_diff(args: argparse.Namespace) -> int:
    from deepmac_ablate.commands import config_text
    from deepmac_ablate.results import config_diff
    from deepmac_ablate.storage.strict_json import to_json

    a = config_diff.find(args.a, args.a_bindings, args.workdir)
    b = config_diff.find(args.b, args.b_bindings, args.workdir)
    comparison = config_diff.compare(a, b)
    if args.json:
        print(to_json(config_text.difference_fields(a, b, comparison), indent=2))
        return 0
    rows = config_text.difference_rows(comparison)
    if rows:
        config_text.show_table(["", a.label, b.label], rows)
    config_text.show_lines(config_text.difference_notes(a, b, comparison))
    return 0
