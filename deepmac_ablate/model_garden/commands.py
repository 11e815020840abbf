"""The commands ``import checkpoint`` and ``import config``.

Parsing needs no TensorFlow; the commands import what they run.
"""

from __future__ import annotations

import argparse

_PARTS = ("backbone", "decoder", "rpn_head", "detection_head", "mask_head")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds ``import`` and its commands; each sets `run`, a function of the arguments."""
    parser = subparsers.add_parser(
        "import", help="read what Model Garden's deepmac_maskrcnn project wrote")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_checkpoint(commands)


def _add_checkpoint(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "checkpoint",
        help="make a workdir of a published checkpoint",
        description="Make a workdir of a checkpoint that Model Garden's deepmac_maskrcnn project "
        "wrote, to be evaluated, exported, or trained from (Training.init_checkpoint = "
        "'WORKDIR/checkpoints'). Every tensor must have its place in the model.",
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT",
        help="path without an ending, a folder (its latest one), or a SavedModel's folder")
    parser.add_argument(
        "--gin_file", action="append", default=[], metavar="FILE",
        help="the configuration that it was trained with; may be given several times")
    parser.add_argument(
        "--gin_bindings", action="append", default=[], metavar="BINDING",
        help="a binding such as 'HourglassMaskHead.depth = 20'; may be given several times")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--parts", nargs="+", choices=_PARTS, default=list(_PARTS), metavar="PART",
        help=f"what is read, of {', '.join(_PARTS)}; the rest stays random (default: all)")
    parser.set_defaults(run=_run_checkpoint)


def _run_checkpoint(args: argparse.Namespace) -> int:
    from deepmac_ablate.model_garden import importing
    from deepmac_ablate.trial import Trial
    from deepmac_ablate.workdir import TrialWorkdir

    trial = Trial(tuple(args.gin_file), tuple(args.gin_bindings), 0, "")
    imported = importing.run(
        args.checkpoint, trial, TrialWorkdir(args.workdir), tuple(args.parts))
    left_out = ", ".join(f"{kind} {n}" for kind, n in sorted(imported["left_out"].items()))
    step = "an unknown number of" if imported["step"] is None else f"{imported['step']:,}"
    print(f"{imported['tensors']} tensors after {step} steps; left out: {left_out or 'none'}")
    print(f"{args.workdir}/checkpoints, {args.workdir}/import.json")
    return 0
