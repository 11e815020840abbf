"""Conversion of a published YAML file to a gin file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etils import epath

from deepmac_ablate import bindings
from deepmac_ablate.bindings import gin_files
from deepmac_ablate.errors import UserError
from deepmac_ablate.model_garden.experiments import experiment_defaults
from deepmac_ablate.model_garden.keys import SPELT_OUT
from deepmac_ablate.model_garden.overrides import apply_settings, parse_settings, read_yaml
from deepmac_ablate.model_garden.translation import GinValue, translate_settings
from deepmac_ablate.storage import file_io


def convert_yaml(path: Path, experiment: str, params_override: str = "") -> str:
    """Convert a YAML file that overrides an experiment to the text of a gin file.

    Args:
        path: Path of the YAML file.
        experiment: Name of the published experiment that the file overrides.
        params_override: Settings that override the file, such as "trainer.train_steps=100".

    Raises:
        UserError: If the file does not exist or is not valid YAML, the experiment is unknown, or a
            setting has no counterpart here.
    """
    values = experiment_defaults(experiment)
    given = read_yaml(path)
    apply_settings(given, values, str(path))
    extra = parse_settings(params_override)
    apply_settings(extra, values, "--params-override")
    translation = translate_settings(values, given.keys() | extra.keys())
    for file in translation.files:
        if not (gin_files.ROOT / file).is_file():
            raise UserError(f"{path} needs {file}, which does not exist.")
    lines = [f"# {path.name} on top of Model Garden's {experiment}."]
    if extra:
        lines += ["#", "# With these settings on top of it:"]
        lines += [f"#   {key} = {value!r}" for key, value in extra.items()]
    if translation.left_out:
        lines += ["#", "# Settings without effect here:"]
        lines += [f"#   {key}: {why}" for key, why in translation.left_out.items()]
    lines += [f"include '{file}'" for file in translation.files]
    lines += ["", *_needed_bindings(translation.files, translation.bindings)]
    return "\n".join(lines) + "\n"


def write_recipe(path: str, text: str) -> None:
    """Write a gin file.

    Raises:
        UserError: If the file cannot be written.
    """
    try:
        file_io.write(epath.Path(path), text)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error


def _needed_bindings(files: Sequence[str], wanted: Sequence[GinValue]) -> list[str]:
    """Return the bindings whose values neither the files nor the defaults give."""
    there = {binding.name: repr(binding.value) for binding in bindings.read(files, []).bindings}
    spelt_out = {name for name, _, _ in wanted if name in SPELT_OUT and name not in there}
    return [
        f"{name} = {value!r}" for name, value, default in wanted
        if name in spelt_out or repr(value) != there.get(name, repr(default))]
