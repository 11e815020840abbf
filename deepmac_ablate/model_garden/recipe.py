"""A published YAML file becomes a gin file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etils import epath

from deepmac_ablate import bindings, storage
from deepmac_ablate.bindings import gin_files
from deepmac_ablate.errors import UserError
from deepmac_ablate.model_garden import experiments, overrides
from deepmac_ablate.model_garden.keys import SPELT_OUT
from deepmac_ablate.model_garden.translation import Bound, translate


def convert(path: Path, experiment: str, params_override: str = "") -> str:
    """Return the gin file that says what an experiment says with a YAML file on top of it.

    Args:
        path: of the YAML file.
        experiment: the published code's name of what the file changes.
        params_override: further settings such as "trainer.train_steps=100", on top of the file.

    Raises:
        UserError: if the file is missing or no YAML, the experiment is unknown, or a setting has no
            counterpart here.
    """
    values = experiments.defaults(experiment)
    given = overrides.read_yaml(path)
    overrides.apply(given, values, str(path))
    further = overrides.read_settings(params_override)
    overrides.apply(further, values, "--params-override")
    translation = translate(values, given.keys() | further.keys())
    for file in translation.files:
        if not (gin_files.ROOT / file).is_file():
            raise UserError(f"{path} needs {file}, which there is not.")
    lines = [f"# {path.name} on top of Model Garden's {experiment}."]
    if further:
        lines += ["#", "# With further settings on top of it:"]
        lines += [f"#   {key} = {value!r}" for key, value in further.items()]
    if translation.left_out:
        lines += ["#", "# Left out, as nothing depends on it:"]
        lines += [f"#   {key}: {why}" for key, why in translation.left_out.items()]
    lines += [f"include '{file}'" for file in translation.files]
    lines += ["", *_needed(translation.files, translation.bindings)]
    return "\n".join(lines) + "\n"


def write(path: str, text: str) -> None:
    """Write a gin file.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        storage.write(epath.Path(path), text)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error


def _needed(files: Sequence[str], wanted: Sequence[Bound]) -> list[str]:
    """Return the bindings that the files do not make already, nor leave at the wanted default."""
    there = {binding.name: repr(binding.value) for binding in bindings.read(files, []).bindings}
    spelt_out = {name for name, _, _ in wanted if name in SPELT_OUT and name not in there}
    return [
        f"{name} = {value!r}" for name, value, usual in wanted
        if name in spelt_out or repr(value) != there.get(name, repr(usual))]
