"""The commands ``import checkpoint`` and ``import config``.

Parsing needs no TensorFlow; the commands import what they run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from deepmac_ablate.errors import count_noun, inflect
from deepmac_ablate.model_garden import PARTS


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import`` and its commands; each sets `run`, a function of the arguments."""
    parser = subparsers.add_parser(
        "import", help="import checkpoints and configurations of Model Garden's deepmac_maskrcnn",
        description="Import checkpoints and configurations of Model Garden's deepmac_maskrcnn "
        "project.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_checkpoint(commands)
    _add_config(commands)


def _add_checkpoint(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "checkpoint",
        help="create a trial folder from a checkpoint",
        description="Create a trial folder from a checkpoint of Model Garden's deepmac_maskrcnn "
        "project, to evaluate, to export, or to start training from (Training.init_checkpoint = "
        "'DIR/checkpoints'). Every tensor must have a counterpart in the model.",
    )
    parser.add_argument(
        "checkpoint", metavar="CKPT",
        help="checkpoint path without a suffix, a folder (its latest checkpoint is read), or the "
        "folder of a SavedModel")
    parser.add_argument(
        "--gin-file", action="append", default=[], metavar="FILE",
        help="gin file of the model that was trained; may be given several times, later files win")
    parser.add_argument(
        "--gin-bindings", action="append", default=[], metavar="BINDING",
        help="binding such as 'HourglassMaskHead.depth = 20'; may be given several times")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="new folder of the trial")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
        help=f"parts to read, of {', '.join(PARTS)}; the others keep random weights (default: all)")
    parser.set_defaults(run=_run_checkpoint)


def _add_config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "config",
        help="convert a YAML configuration to a gin file",
        description="Convert a YAML configuration of Model Garden's deepmac_maskrcnn project to a "
        "gin file. A setting without a counterpart is an error that names the setting.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.yaml", help="configuration file")
    parser.add_argument(
        "--experiment", default="deep_mask_head_rcnn_resnetfpn_coco", metavar="NAME",
        help="experiment whose defaults the file changes; for SpineNet "
        "deep_mask_head_rcnn_spinenet_coco (default: %(default)s)")
    parser.add_argument(
        "--params-override", default="", metavar="KEY=VALUE,...",
        help="settings that win over the file")
    parser.add_argument(
        "--output", metavar="FILE.gin", help="path of the gin file (default: print it)")
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
    step = imported["step"]
    steps = "an unknown number of steps" if step is None else f"{step:,} {inflect(step, 'step')}"
    tensors = count_noun(imported["tensors"], "tensor")
    print(f"{tensors} after {steps}; left out: {left_out or 'none'}")
    print(f"{args.workdir}/checkpoints, {args.workdir}/import.json")
    return 0
