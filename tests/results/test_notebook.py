"""The notebooks in analysis/, run on recorded sweeps, and the outputs that they use."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from deepmac_ablate import cli, results
from deepmac_ablate.errors import UserError
from deepmac_ablate.results import notebook

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "analysis").glob("*.ipynb"))
RECORDED = ROOT / "tests" / "golden" / "sweeps"

# The values of the parameter cell of each notebook.
PARAMETERS = {
    "novel_classes": {"SWEEP": "recorded_a"},
    "per_class": {
        "SWEEP": "recorded_a", "ARM_A": "default+proposals+shapes_a",
        "ARM_B": "hourglass20+groundtruth+shapes_a", "RESAMPLES": 100},
    "study": {"CHECKOUT": str(ROOT)},
    "two_sweeps": {"SWEEPS": ["recorded_a", "recorded_b"]},
}


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def with_parameters(book: nbformat.NotebookNode, values: dict) -> nbformat.NotebookNode:
    """Add a cell with parameters as papermill does."""
    tags = [cell.metadata.get("tags", ()) for cell in book.cells]
    place = next(number for number, tag in enumerate(tags) if "parameters" in tag)
    lines = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    book.cells.insert(place + 1, nbformat.v4.new_code_cell(lines))
    return book


def outputs(book: nbformat.NotebookNode, kind: str) -> list[str]:
    return [
        output.data[kind] for cell in book.cells if cell.cell_type == "code"
        for output in cell.outputs if kind in output.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_and_no_absolute_paths(path):
    """Committed notebooks have no outputs, no absolute paths and no program logic."""
    book = read(path)
    nbformat.validate(book)
    assert len(book.cells) <= 15
    for cell in book.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not re.search(r"(?<![\w.:/])/(home|work|tmp|root|Users|content)\b", cell.source)
        assert not re.search(r"^\s*(def|class|for|while|if|try)\b", cell.source, re.MULTILINE) or (
            cell.cell_type == "markdown")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=[pytest.mark.extended] * (number > 0))
             for number, path in enumerate(NOTEBOOKS)])
def test_a_notebook_runs_from_top_to_bottom(path, monkeypatch):
    """On a recorded sweep every cell runs and shows something."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = with_parameters(read(path), PARAMETERS[path.stem])
    NotebookClient(
        book, timeout=120, kernel_name="python3",
        resources={"metadata": {"path": str(RECORDED)}}).execute()
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in code[2:])
    shown = "\n".join(outputs(book, "text/html"))
    assert "Traceback" not in shown
    assert "<svg" in shown
    assert "hourglass20" in shown


@pytest.mark.slow
def test_a_notebook_shows_the_table_of_the_command(capsys):
    """The text of a notebook table equals the output of the command."""
    workdir = str(RECORDED / "recorded_a")
    frame = results.load(workdir)
    assert 0 == cli.main(["table", workdir, "--metric", "groundtruth/iou"])
    assert repr(notebook.table(frame, "groundtruth/iou")) == capsys.readouterr().out.rstrip("\n")


def test_an_unknown_figure_is_refused():
    """The message about an unknown figure lists the available ones."""
    frame = results.load(RECORDED / "recorded_b")
    message = "no figure 'effect'. Did you mean 'effects'? Available are arms, effects, cost,"
    with pytest.raises(UserError, match=re.escape(message)):
        notebook.plot(frame, "effect")


def test_two_drawings_of_a_figure_share_no_ids():
    """Two drawings of a figure in one notebook have different SVG ids."""
    frame = results.load(RECORDED / "recorded_b")
    first, second = (
        set(re.findall(r' id="([^"]+)"', notebook.plot(frame, "arms").html)) for _ in range(2))
    assert first
    assert not first & second


@pytest.mark.extended
@pytest.mark.slow
def test_a_notebook_shows_another_split_like_the_command(capsys):
    """Tables and effects under another split equal the output of the commands."""
    workdir = str(RECORDED / "recorded_a")
    frame = results.load(workdir)
    for command in ("table", "effects"):
        options = ["--metric", "groundtruth/iou", "--split", "shapes_b"]
        assert 0 == cli.main([command, workdir, *options])
        shown = getattr(notebook, command)(frame, "groundtruth/iou", split="shapes_b")
        assert capsys.readouterr().out.rstrip("\n") == repr(shown)
        assert "Seen and novel classes are those of the split shapes_b;" in repr(shown)
