"""The commands ``import checkpoint`` and ``import config``.

Parsing needs no TensorFlow; the commands import what they run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from deepmac_ablate.model_garden import PARTS


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import`` and its commands; each sets `run`, a function of the arguments."""
    parser = subparsers.add_parser(
        "import", help="read what Model Garden's deepmac_maskrcnn project wrote")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_checkpoint(commands)
    _add_config(commands)


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
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
        help=f"what is read, of {', '.join(PARTS)}; the rest stays random (default: all)")
    parser.set_defaults(run=_run_checkpoint)


def _add_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "config",
        help="make a gin file of a published YAML file",
        description="Make a gin file of a YAML file of Model Garden's deepmac_maskrcnn project. "
        "Every setting is translated, or named because nothing here corresponds to it.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="a configuration file")
    parser.add_argument(
        "--experiment", default="deep_mask_head_rcnn_resnetfpn_coco", metavar="NAME",
        help="what the file changes (default: %(default)s; for SpineNet "
        "deep_mask_head_rcnn_spinenet_coco)")
    parser.add_argument(
        "--params_override", default="", metavar="KEY=VALUE,...",
        help="settings on top of the file")
    parser.add_argument(
        "--output", metavar="FILE.gin", help="where the gin file goes (default: printed)")
    parser.set_defaults(run=_run_config)


def _run_config(args: argparse.Namespace) -> int:
    from deepmac_ablate.model_garden.recipe import convert_yaml, write_recipe

    text = convert_yaml(args.file, args.experiment, args.params_override)
    if args.output is None:
        print(text, end="")
        return 0
    write_recipe(args.output, text)
    print(args.output)
    return 0


def _run_checkpoint(args: argparse.Namespace) -> int:
    from deepmac_ablate.model_garden.importing import import_checkpoint
    from deepmac_ablate.trial.trial import Trial
    from deepmac_ablate.trial.trial_workdir import TrialWorkdir

    trial = Trial(tuple(args.gin_file), tuple(args.gin_bindings), 0, "")
    imported = import_checkpoint(
        args.checkpoint, trial, TrialWorkdir(args.workdir), tuple(args.parts))
    left_out = ", ".join(f"{kind} {n}" for kind, n in sorted(imported["left_out"].items()))
    step = "an unknown number of" if imported["step"] is None else f"{imported['step']:,}"
    print(f"{imported['tensors']} tensors after {step} steps; left out: {left_out or 'none'}")
    print(f"{args.workdir}/checkpoints, {args.workdir}/import.json")
    return 0
