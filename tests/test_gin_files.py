"""The gin files: that all of them parse, say what they are, and do something."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate import bindings
from deepmac_ablate.bindings import registry
from deepmac_ablate.training import run as training

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "gin").rglob("*.gin"))
RECIPES = [file for file in FILES if file.parent.name == "experiments"]
AXES = ("backbones", "mask_heads", "mask_inputs", "mask_norms", "mask_upsampling", "box_sources",
        "class_splits")
# Levels for every mask head there is: only what is bound of the selected one is in effect.
FOR_ALL_HEADS = ("mask_norms", "mask_upsampling")
LEVELS = [file for file in FILES if file.parent.name in AXES]


@pytest.fixture(autouse=True)
def _no_bindings():
    with bindings.isolated():
        yield


def identity(*files):
    """What gin files bind of a trial's training, parsed and checked, by name."""
    return bindings.explicit_bindings(bindings.parse([str(file) for file in files], []))


def test_there_are_recipes_and_levels_of_every_axis():
    """The lists that the other tests go through are not empty."""
    assert len(RECIPES) >= 2
    assert set(AXES) == {file.parent.name for file in LEVELS}


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_is_complete(recipe):
    """Alone it parses, passes all checks, and selects a level of every axis."""
    bound = identity(recipe)
    selected = ("MaskRCNN.backbone", "MaskRCNN.mask_head", "MaskRCNN.mask_boxes",
                "Training.seen_classes")
    assert set(selected) <= bound.keys()


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("file", [f for f in FILES if f not in RECIPES], ids=str)
def test_a_file_parses_after_a_recipe(recipe, file):
    """Nothing in it is misspelt or of a wrong type."""
    if file == Path("gin/base.gin"):
        # Its macros are required, so it comes first.
        assert identity(recipe) == identity(file, recipe)
    else:
        assert identity(recipe, file)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_a_level_takes_effect_in_a_recipe(recipe, level):
    """Each of its bindings wins and is part of the trial's identity."""
    bound = identity(recipe, level)
    own = {b.name: str(b).partition(" = ")[2] for b in bindings.read([str(level)], []).bindings}
    assert own
    if level.parent.name in FOR_ALL_HEADS:
        own = {name: value for name, value in own.items() if name in bound}
        assert any("MaskHead." in name for name in own)
    assert own == {name: bound[name] for name in own}


@pytest.mark.parametrize("axis", AXES)
def test_levels_of_an_axis_are_different_trials(axis):
    """No two files mean the same."""
    levels = [level for level in LEVELS if level.parent.name == axis]
    identities = [identity(RECIPES[0], level) for level in levels]
    assert len(levels) == len({tuple(sorted(found.items())) for found in identities}) >= 2


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_says_what_it_is(file):
    """It starts with a comment, is short, and the parameters that its comments name exist."""
    lines = (ROOT / file).read_text().splitlines()
    assert re.match(r"# \w", lines[0])
    assert len(lines) <= 60
    comments = "\n".join(line.partition("#")[2] for line in lines if "#" in line)
    for name, rest in re.findall(r"\b([A-Z]\w+)((?:\.[a-z]\w+(?:, )?)+)", comments):
        known = registry.bindable_parameters(registry.find_configurable(name))
        assert set() == set(re.findall(r"\.(\w+)", rest)) - known.keys()


def test_comments_that_name_parameters_are_found():
    """The test above looks at something: each mask head's comment names two parameters or more."""
    heads = [file for file in LEVELS if file.parent.name == "mask_heads"]
    assert all("MaskHead." in (ROOT / file).read_text().split("\n")[1] for file in heads)


def test_the_folder_does_not_shadow_the_library():
    """In the checkout `import gin` is gin-config, as there is no package in `gin/`."""
    assert [] == list((ROOT / "gin").rglob("*.py"))
    code = "import gin; gin.parse_config('x = 1'); print(gin.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not Path(run.stdout.strip()).is_relative_to(ROOT / "gin")


def test_no_signature_lets_a_mistake_pass():
    """Every configurable's parameters are annotated, and none takes what it does not know."""
    assert {"Training", "MaskRCNN", "Evaluation", "Runtime"} <= {
        known.name for known in registry.configurables(training.__name__.partition(".")[0])}
    assert [] == bindings.signature_problems("deepmac_ablate")
