"""`deepmac-ablate bindings`: what can be bound, and what gin files bind."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import gin
import pytest
from rich.console import Console

from deepmac_ablate import bindings, cli
from deepmac_ablate.bindings import parameters, registry
from deepmac_ablate.bindings import parameters as docs
from deepmac_ablate.commands import config_text
from deepmac_ablate.errors import UserError
from tests.helpers import toy_configurables

ROOT = Path(__file__).resolve().parents[2]


@gin.register(module="listing_toys")
class Canvas:
    """A surface to paint on. It hangs later.

    Attributes:
        width: how wide it is,
            in centimetres.
        height: said here, but the constructor knows better.
        frame (str): what holds it.
    """

    def __init__(  # noqa: D417
        self, width: int = 40, height: float | None = None, frame: str = "oak"
    ) -> None:
        """Stretches it; says nothing of what the class says well enough.

        Args:
            height: None: as `width`: a square.

        Raises:
            ValueError: never.
        """


@gin.register(module="listing_toys")
class Panel(Canvas):
    """A canvas of wood.

    Args:
        kind: of wood.
    """

    def __init__(self, kind: str, width: int = 30) -> None:
        super().__init__(width)
        self.kind = kind


def rows(*given):
    return {row.name: row for row in parameters.list_parameters(bindings.read_partial([], given))}


def plain(lines):
    out = io.StringIO()
    config_text.show_lines(lines, Console(file=out))
    return out.getvalue()


def test_types_and_defaults_are_those_of_the_code():
    """As written in the signature; what has no default must be bound."""
    found = rows()
    assert ("float | None", "None") == (
        found["Canvas.height"].type, found["Canvas.height"].default)
    assert ("str", None) == (found["Panel.kind"].type, found["Panel.kind"].default)
    assert found["varnish.colour"].default is None
    assert "Literal['fine', 'broad']" == found["RoundBrush.tip"].type.replace('"', "'")
    # Dataclasses have the same, and names that two modules share are told apart.
    assert "10" == found["Studio.steps"].default
    assert {"gallery.left.hang.height", "gallery.right.hang.height"} <= found.keys()
    assert toy_configurables.RoundBrush


def test_a_parameter_is_explained_by_the_nearest_docstring():
    """Constructor before class before the class that it derives from; on one line."""
    said = docs.parameter_docs(registry.find_configurable("Canvas"))
    assert {
        "width": "how wide it is, in centimetres.",
        "height": "None: as `width`: a square.",
        "frame": "what holds it.",
    } == said
    summary = docs.docstring_summary(registry.find_configurable("Canvas"))
    assert "A surface to paint on. It hangs later." == summary
    panel = docs.parameter_docs(registry.find_configurable("Panel"))
    assert ("of wood.", "how wide it is, in centimetres.") == (panel["kind"], panel["width"])


def test_what_is_bound_stands_below_with_its_place(tmp_path, monkeypatch):
    """In every scope, with macros expanded; what is replaced is not shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gin").write_text(
        "Canvas.width = 1\nCanvas.width = %W\nfine/Canvas.width = 3\nW = 2\n")
    read = bindings.read_partial(["a.gin"], ["Panel.kind = 'fir'"])
    found = parameters.filter_parameters(parameters.list_parameters(read), "canvas.width")
    assert (
        "Canvas  A surface to paint on. It hangs later.\n"
        "  Canvas.width: int = 40\n"
        "      how wide it is, in centimetres.\n"
        "      bound: %W = 2  # a.gin:2, a.gin:4\n"
        "      bound: fine/Canvas.width 3  # a.gin:3\n"
    ) == plain(config_text.list_lines(found))
    assert [
        {"name": "Canvas.width", "value": "2", "written": "%W", "where": ("a.gin:2", "a.gin:4")},
        {"name": "fine/Canvas.width", "value": "3", "written": "3", "where": ("a.gin:3",)},
    ] == config_text.list_fields(found)[0]["bound"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("canvas.", {"Canvas.width", "Canvas.height", "Canvas.frame"}),
        ("s.height", {"Canvas.height"}),
        ("Panel.*", {"Panel.kind", "Panel.width"}),
        ("canvas.?i*", {"Canvas.width"}),
        ("[cp]an*.width", {"Canvas.width", "Panel.width"}),
    ],
)
def test_a_filter_is_a_part_of_the_name_or_a_pattern(wanted, names):
    """Whatever the case."""
    found = parameters.filter_parameters(list(rows().values()), wanted)
    assert names == {row.name for row in found}


@pytest.mark.parametrize(
    ("wanted", "meant"), [("Canvas.widht", "Canvas.width"), ("Canvass", "Canvas")])
def test_a_filter_that_matches_nothing_names_the_nearest(wanted, meant):
    """A misspelt parameter, or a misspelt configurable."""
    with pytest.raises(UserError) as caught:
        parameters.filter_parameters(list(rows().values()), wanted)
    assert f"No parameter matches {wanted!r}. Did you mean {meant!r}?" == str(caught.value)


@pytest.mark.slow
def test_classes_of_ones_own_are_listed_like_built_in_ones(tmp_path, monkeypatch, capsys):
    """With the gin file that imports them, defaults included; without it, that is said."""
    (tmp_path / "parts_of_my_own.py").write_text(
        "import gin\n\n@gin.register\nclass OwnPart:\n"
        "    \"\"\"A part.\"\"\"\n\n    def __init__(self, size: int = 7) -> None:\n"
        "        self.size = size\n")
    (tmp_path / "own.gin").write_text("import parts_of_my_own\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert 2 == cli.main(["bindings", "OwnPart.*"])
    assert capsys.readouterr().err.strip().endswith(
        "A class of your own is listed with --gin-file FILE, a gin file that imports it.")
    assert 0 == cli.main(["bindings", "OwnPart.*", "--gin-file", "own.gin"])
    assert "OwnPart  A part.\n  OwnPart.size: int = 7\n" == capsys.readouterr().out


def test_what_is_bound_must_exist():
    """A misspelt binding is refused, as a run would; one that is required may be open."""
    with pytest.raises(UserError, match=r"no parameter 'widht'\. Did you mean 'width'\?"):
        bindings.read_partial([], ["Canvas.widht = 3"])
    assert rows("Canvas.width = %gin.REQUIRED")["Canvas.width"].bound
    assert "" == bindings.config_text().strip()


def test_a_terminal_folds_long_lines():
    """No line is wider than the terminal, the rest is indented, and no word is lost."""
    out = io.StringIO()
    line = config_text.Line(2, [("word " * 30, config_text.NAME), ("x" * 100, config_text.PLACE)])
    config_text.show_lines([line], Console(file=out, width=60, force_terminal=True, no_color=True))
    shown = [line for line in out.getvalue().replace("\x1b[0m", "").replace("\x1b[1m", "").replace(
        "\x1b[2m", "").splitlines() if line.strip()]
    assert all(len(line.rstrip()) <= 60 for line in shown)
    assert shown[0].startswith("    word")
    assert all(line.startswith("        ") for line in shown[1:])
    assert (30, 100) == (out.getvalue().count("word"), out.getvalue().count("x"))


def test_the_tree_of_a_recipe(tmp_path, monkeypatch, capsys):
    """Indented below what refers to it; the same as JSON."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.gin").write_text(
        "Training.model = @Model\nModel.norm = @Norm()\nNorm.rate = %R\nR = 0.5\n"
        "Model.parts = [@Norm(), @Head()]\nHead.depth = 3\n")
    assert 0 == cli.main(["bindings", "--tree", "--gin-file", "a.gin"])
    assert (
        "Training\n"
        "  model = @Model  # a.gin:1\n"
        "    norm = @Norm()  # a.gin:2\n"
        "      rate = %R = 0.5  # a.gin:3, a.gin:4\n"
        "    parts = [@Norm(), @Head()]  # a.gin:5\n"
        "      Norm\n"
        "        as in Model.norm\n"
        "      Head\n"
        "        depth = 3  # a.gin:6\n"
        "Runtime  nothing bound\n"
        "Evaluation  nothing bound\n"
    ) == capsys.readouterr().out
    assert 0 == cli.main(["bindings", "--tree", "--gin-file", "a.gin", "--json"])
    training = json.loads(capsys.readouterr().out)[0]
    model = training["parameters"][0]["below"][0]
    assert {"name": "rate", "value": "0.5", "written": "%R", "where": ["a.gin:3", "a.gin:4"],
            "below": []} == model["parameters"][0]["below"][0]["parameters"][0]
    assert {"name": "Norm", "shown_at": "Model.norm"} == model["parameters"][1]["below"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tree"], "--tree needs at least one --gin-file."),
        (["depth", "--tree", "--gin-file", "gin/base.gin"],
         "--tree cannot be combined with a filter, got 'depth'; "),
        (["--gin-file", "gin/bas.gin"], "Did you mean 'gin/base.gin'?"),
    ],
)
def test_mistakes_are_one_sentence_without_waiting(capsys, arguments, message):
    """Before TensorFlow is imported."""
    assert 2 == cli.main(["bindings", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_every_parameter_of_ours_is_listed_and_explained(tmp_path):
    """The real command, in a process of its own, with a class that a gin file imports."""
    (tmp_path / "my_head.py").write_text(
        "import gin\n@gin.register\ndef my_head(depth: int = 3):\n    pass\n")
    (tmp_path / "my.gin").write_text("import my_head\nmy_head.depth = 4\n")
    done = subprocess.run(
        [sys.executable, "-m", "deepmac_ablate.cli", "bindings", "--json", "--gin-file", "my.gin",
         "--gin-file", str(ROOT / "gin/experiments/shapes_small.gin")],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True,
        check=True)
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert ["my.gin:2"] == found.pop("my_head.depth")["bound"][0]["where"]
    assert [] == [name for name, row in found.items() if not row["doc"] or row["type"] == "Any"]
    assert {"HourglassMaskHead.depth", "Runtime.strategy", "Evaluation.box_sources",
            "cosine.initial", "SpineNet.model_id"} <= found.keys()
    assert "20" == found["HourglassMaskHead.depth"]["bound"][0]["value"]
    assert not [name for name in found if name.startswith("Bert")]
