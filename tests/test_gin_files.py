"""The gin files and the names that they and stored configurations bind."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import gin
import pytest

from deepmac_ablate import bindings
from deepmac_ablate.bindings import annotations, registry
from deepmac_ablate.training import run as training
from deepmac_ablate.trial.trial import trial_id

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "gin").rglob("*.gin"))
RECIPES = [file for file in FILES if file.parent.name == "experiments"]
AXES = ("backbones", "mask_heads", "mask_inputs", "mask_norms", "mask_upsampling", "box_sources",
        "class_splits")
# Their levels bind parameters of every mask head; only those of the selected head have effect.
FOR_ALL_HEADS = ("mask_norms", "mask_upsampling")
LEVELS = [file for file in FILES if file.parent.name in AXES]
STORED = sorted((ROOT / "tests/golden/sweeps").glob("*/trials/*/config.gin"))
# Gin files of users and the stored configurations of trials bind these names: never change one.
SELECTORS = [
    "deepmac_ablate.data.evaluation_data.EvaluationData",
    "deepmac_ablate.data.training_data.TrainingData",
    "deepmac_ablate.evaluation.Evaluation",
    "deepmac_ablate.modeling.anchors.Anchors",
    "deepmac_ablate.modeling.backbones.MobileNetFPN",
    "deepmac_ablate.modeling.backbones.Norm",
    "deepmac_ablate.modeling.backbones.ResNetFPN",
    "deepmac_ablate.modeling.backbones.SpineNet",
    "deepmac_ablate.modeling.box_sources.GroundTruthBoxes",
    "deepmac_ablate.modeling.box_sources.JitteredGroundTruthBoxes",
    "deepmac_ablate.modeling.box_sources.ProposalBoxes",
    "deepmac_ablate.modeling.detector.BoxHead",
    "deepmac_ablate.modeling.detector.Detections",
    "deepmac_ablate.modeling.detector.RegionProposals",
    "deepmac_ablate.modeling.detector.RegionSampler",
    "deepmac_ablate.modeling.detector.StaticDetections",
    "deepmac_ablate.modeling.detectors.NoDetector",
    "deepmac_ablate.modeling.losses.Losses",
    "deepmac_ablate.modeling.mask_heads.ConvMaskHead",
    "deepmac_ablate.modeling.mask_heads.Deconvolution",
    "deepmac_ablate.modeling.mask_heads.FullyConnectedMaskHead",
    "deepmac_ablate.modeling.mask_heads.HourglassMaskHead",
    "deepmac_ablate.modeling.mask_heads.Interpolation",
    "deepmac_ablate.modeling.mask_heads.ResNetMaskHead",
    "deepmac_ablate.modeling.mask_heads.SeparableConvMaskHead",
    "deepmac_ablate.modeling.mask_inputs.Coordinates",
    "deepmac_ablate.modeling.mask_inputs.InstanceEmbedding",
    "deepmac_ablate.modeling.mask_rcnn.MaskRCNN",
    "deepmac_ablate.modeling.normalization.BatchNorm",
    "deepmac_ablate.modeling.normalization.GroupNorm",
    "deepmac_ablate.modeling.optimization.SGD",
    "deepmac_ablate.modeling.optimization.constant_rate",
    "deepmac_ablate.modeling.optimization.cosine",
    "deepmac_ablate.modeling.optimization.stepwise",
    "deepmac_ablate.modeling.optimization.warm_up",
    "deepmac_ablate.modeling.weak_losses.ColourAffinityLoss",
    "deepmac_ablate.modeling.weak_losses.ProjectionLoss",
    "deepmac_ablate.runtime.Runtime",
    "deepmac_ablate.session.Training",
]


@pytest.fixture(autouse=True)
def _no_bindings():
    with bindings.isolated():
        yield


def identity(*files):
    """Return the bindings of gin files that make up a trial's identity, parsed and checked."""
    return bindings.explicit_bindings(bindings.parse([str(file) for file in files], []))


def test_there_are_recipes_and_levels_of_every_axis():
    """There are recipes, and levels of every axis, for the other tests to go through."""
    assert len(RECIPES) >= 2
    assert set(AXES) == {file.parent.name for file in LEVELS}


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_recipe_is_complete(recipe):
    """A recipe parses alone, passes all checks, and selects a level of every axis."""
    bound = identity(recipe)
    selected = ("MaskRCNN.backbone", "MaskRCNN.mask_head", "MaskRCNN.mask_boxes",
                "Training.seen_classes")
    assert set(selected) <= bound.keys()


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("file", [f for f in FILES if f not in RECIPES], ids=str)
def test_a_file_parses_after_a_recipe(recipe, file):
    """Every other gin file has no misspelled name and no value of a wrong type."""
    if file == Path("gin/base.gin"):
        # Its macros are required, so it comes first.
        assert identity(recipe) == identity(file, recipe)
    else:
        assert identity(recipe, file)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize("level", LEVELS, ids=str)
def test_a_level_takes_effect_in_a_recipe(recipe, level):
    """Each binding of a level wins and is part of the trial's identity."""
    bound = identity(recipe, level)
    own = {b.name: str(b).partition(" = ")[2] for b in bindings.read([str(level)], []).bindings}
    assert own
    if level.parent.name in FOR_ALL_HEADS:
        own = {name: value for name, value in own.items() if name in bound}
        assert any("MaskHead." in name for name in own)
    assert own == {name: bound[name] for name in own}


@pytest.mark.parametrize("axis", AXES)
def test_levels_of_an_axis_are_different_trials(axis):
    """No two levels of an axis give the same trial."""
    levels = [level for level in LEVELS if level.parent.name == axis]
    identities = [identity(RECIPES[0], level) for level in levels]
    assert len(levels) == len({tuple(sorted(found.items())) for found in identities}) >= 2


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_says_what_it_is(file):
    """A gin file starts with a comment, is short, and its comments name existing parameters."""
    lines = (ROOT / file).read_text().splitlines()
    assert re.match(r"# \w", lines[0])
    assert len(lines) <= 60
    comments = "\n".join(line.partition("#")[2] for line in lines if "#" in line)
    for name, rest in re.findall(r"\b([A-Z]\w+)((?:\.[a-z]\w+(?:, )?)+)", comments):
        known = registry.bindable_parameters(registry.find_configurable(name))
        assert set() == set(re.findall(r"\.(\w+)", rest)) - known.keys()


def test_comments_that_name_parameters_are_found():
    """Comments of mask heads name parameters, so the test above has something to check."""
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
    """All parameters of configurables are annotated, and none accepts unknown parameters."""
    assert {"Training", "MaskRCNN", "Evaluation", "Runtime"} <= {
        known.name for known in registry.configurables(training.__name__.partition(".")[0])}
    assert [] == bindings.signature_problems("deepmac_ablate")


def test_selectors_are_those_of_older_trials():
    """The configurables of the package have the names under which older trials bound them."""
    assert SELECTORS == sorted(
        known.selector for known in registry.configurables("deepmac_ablate"))


@pytest.mark.parametrize("config", STORED, ids=lambda path: path.parent.name)
def test_a_stored_configuration_is_the_same_trial(config):
    """The stored config.gin of an older trial parses and still gives the trial's id."""
    stored = json.loads((config.parent / "trial.json").read_text())
    assert stored["id"] == trial_id(identity(config), stored["seed"])


def test_there_are_stored_configurations():
    """Both golden sweeps have trials for the test above to go through."""
    assert {"recorded_a", "recorded_b"} == {path.parents[2].name for path in STORED}


@pytest.mark.parametrize(("binding", "allowed"), [
    ("LEARNING_RATE = 0", "float from 1e-10 to 1,000"),
    ("LEARNING_RATE = -1", "float from 1e-10 to 1,000"),
    ("SGD.momentum = 2", "float from 0 to 1"),
    ("SGD.clip_norm = -1.0", "float from 1e-06 to 1e+06 or None"),
    ("ConvMaskHead.num_convs = 1180591620717411303424", "int from 0 to 100"),
    ("ConvMaskHead.width = 1e12", "int from 1 to 4,096"),
    ("Detections.nms_iou = 5", "float from 0 to 1"),
    ("IMAGE_SIZE = (100000, 100000)", "Sequence[int from 1 to 16,384]"),
    ("Losses.mask_weight = -1.0", "float from 0 to 1,000"),
    ("Norm.epsilon = 1e999", "float from 1e-20 to 1"),
    ("TrainingData.batch_size = @Losses()", "int from 1 to 10,000"),
    ("MaskRCNN.mask_head = @ResNetFPN()", "a MaskHead given as @reference()"),
    ("Training.model = @Losses", "a function given as @reference"),
])
def test_nonsense_is_refused_before_anything_is_built(binding, allowed):
    """Numbers out of range and references to other things are named with what is allowed."""
    text = bindings.read(["gin/experiments/shapes_small.gin"], [binding])
    problems = bindings.configure_gin(text)
    assert problems
    for problem in problems:
        assert f" must be {allowed}, not " in str(problem)


def test_every_number_has_a_range_and_a_default_inside():
    """No parameter that takes numbers lets all of them pass, apart from depths with a list."""
    for known in registry.configurables("deepmac_ablate"):
        for parameter in registry.bindable_parameters(known).values():
            annotation = registry.parameter_annotation(known, parameter)
            described = annotations.describe(annotation)
            if re.search(r"\b(int|float)\b(?! from)", described):
                assert parameter.name in ("depth", "seen_classes"), (known.selector, described)
            if annotations.has_range(annotation) and parameter.default not in (
                    inspect.Parameter.empty, gin.REQUIRED):
                assert annotations.value_fits(parameter.default, annotation), known.selector
