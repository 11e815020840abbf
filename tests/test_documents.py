"""The documents are true: commands parse, files and links exist, examples run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deepmac_ablate import bindings, cli, results
from deepmac_ablate.data.dataset_info import DatasetInfo, annotations_path
from deepmac_ablate.data.shapes import generate
from deepmac_ablate.evaluation.metrics.ground_truth import load_annotations
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.sweep import plan
from docs import make_pictures
from tests.helpers import report_workdirs

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

# Named in documents, and not in the repository: what a reader writes, and what Model Garden has.
ELSEWHERE = {
    "dilated.gin", "mine.gin", "my_heads.py", "my_parts.py", "reach.py", "sweeps/x.py",
    "config.gin", "operative_config.gin", "create_coco_tf_record.py",
    "serving/export_saved_model.py"}


def text(document: str) -> str:
    """Return a document."""
    return (ROOT / document).read_text(encoding="utf-8")


def prose(document: str) -> str:
    """Return a document without its fenced code."""
    return re.sub(r"^ *```.*?^ *```$", "", text(document), flags=re.MULTILINE | re.DOTALL)


def blocks(document: str, heading: str) -> list[str]:
    """Return the fenced code below a heading, without its indentation."""
    section = text(document).split(f"## {heading}\n")[1].split("\n## ")[0]
    fenced = re.findall(r"^( *)```\w*\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
            for indent, code in fenced]


def anchors(document: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parses(words: list[str]) -> bool:
    """Return whether the command line takes these words; `--help` stands for the rest."""
    try:
        cli.make_parser().parse_args(words)
    except SystemExit as end:
        return end.code == 0
    return True


def commands(document: str) -> tuple[list[str], list[str]]:
    """Return the commands of a document: complete lines of code, and those within sentences."""
    lines = re.findall(r"^ +(?:time )?(?:\.venv/bin/)?deepmac-ablate (.*)$", text(document),
                       re.MULTILINE)
    return lines, re.findall(r"`deepmac-ablate ([^`]*)`", prose(document))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_parse(document: str) -> None:
    """Every command of a document is one that the command line takes."""
    lines, inline = commands(document)
    complete = [shlex.split(line, comments=True) for line in lines]
    partial = [shlex.split(command.replace("...", "")) for command in inline]
    # A sentence may name a command without what it requires.
    partial = [words if "--workdir" in words else [*words, "--help"] for words in partial]
    assert [] == [words for words in complete + partial if not parses(words)]


def test_commands_are_found() -> None:
    """The README has commands for the test above to parse, and a wrong one is told."""
    assert len(commands("README.md")[0]) > 10
    assert not parses(["launch", "sweeps/quickstart.py", "--no-such-option"])


# The changelog also names what is gone.
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_named_files_exist(document: str) -> None:
    """Every file that a document names is there; a base name may stand for a path."""
    named = set(re.findall(r"[\w./-]*\w\.(?:gin|py|md|ipynb|lock|cfg)\b", text(document)))
    named |= set(re.findall(
        r"`((?:deepmac_ablate|gin|sweeps|tests|docs|analysis)/[\w./-]*)`", text(document)))
    known = {
        path.name for folder in ("deepmac_ablate", "gin", "sweeps", "tests")
        for path in (ROOT / folder).rglob("*.*")}
    folders = [ROOT, ROOT / "deepmac_ablate", ROOT / "docs", (ROOT / document).parent]
    assert [] == [
        name for name in sorted(named - ELSEWHERE)
        if name not in known and not any((folder / name).exists() for folder in folders)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_resolve(document: str) -> None:
    """Every link to a file or a heading of the repository leads there."""
    broken = []
    for target in re.findall(r"(?:\]\(|src=\")([^)\s\"]+)", prose(document)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        if not path.exists() or (
                anchor and anchor not in anchors(str(path.resolve().relative_to(ROOT)))):
            broken.append(target)
    assert [] == broken


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    """Every `make` command of a document is a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", text("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:^ +|`)make(?: \w+=\S+)? ([a-z-]+)", text(document), re.MULTILINE)
    assert set() == set(named) - targets


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name.startswith("docs/")])
def test_readme_leads_to_every_page(document: str) -> None:
    """The README links each page of docs/."""
    assert f"]({document})" in text("README.md")


def test_a_broken_link_is_found() -> None:
    """Anchors are GitHub's: lower case, dashes for spaces, no punctuation."""
    assert {"weights--biases", "planning"} <= anchors("docs/sweeps.md")
    assert "no-such-heading" not in anchors("docs/sweeps.md")


@pytest.mark.parametrize("recipe", ["shapes_small", "coco_small", "deep_mask_head_rcnn_voc_r50"])
def test_the_head_of_the_readme_is_compared_fairly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    """It has the settings of the default head in every recipe; only the class is another."""
    (tmp_path / "dilated.gin").write_text(blocks("README.md", "Add an arm in three steps")[1])
    monkeypatch.chdir(tmp_path)
    settings = []
    for head, name in (("gin/mask_heads/default.gin", "Conv"), ("dilated.gin", "Dilated")):
        read = bindings.read([f"gin/experiments/{recipe}.gin", head], []).bindings
        reached = bindings.explicit_bindings(read)
        # The defaults of ConvMaskHead.
        settings.append({"width": "256", "crop_size": "14"} | {
            parameter: value for selector, _, parameter in (
                key.rpartition(".") for key in reached)
            if selector == f"{name}MaskHead" and (value := reached[f"{selector}.{parameter}"])})
    assert settings[0] == settings[1]
    assert {"num_convs", "norm", "upsampling", "width"} <= settings[0].keys()


@pytest.mark.extended
@pytest.mark.slow
def test_three_steps_add_an_arm(tmp_path: Path) -> None:
    """The README's class, gin file and sweep train the new mask head, with all other new parts."""
    head, head_gin, sweep = blocks("README.md", "Add an arm in three steps")
    parts, parts_gin = blocks("docs/architecture.md", "Extending")
    # What other axes exchange in the built-in heads can be exchanged in it, too.
    exchanged = "".join(f"DilatedMaskHead.{binding}\n" for binding in (
        "norm = @GroupNorm()", "upsampling = @Interpolation()", "class_agnostic = False"))
    files = {"my_heads.py": head, "dilated.gin": f"{head_gin}include 'parts.gin'\n{exchanged}",
             "reach.py": sweep, "my_parts.py": parts, "parts.gin": parts_gin}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    generate.generate_dataset(tmp_path / "data", num_train=4, num_val=1, size=64)
    smaller = [
        f"--gin-bindings={binding}" for binding in (
            f"TRAIN = '{tmp_path}/data/train'", f"VAL = '{tmp_path}/data/val'", "DATASET = None",
            "BATCH_SIZE = 2", "IMAGE_SIZE = (64, 64)")]
    done = subprocess.run(
        [sys.executable, "-m", "deepmac_ablate.cli", "launch", "reach.py", "--seeds", "1",
         "--only", "mask_head=dilated", "--steps", "1", *smaller],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False)
    assert done.returncode == 0, done.stderr
    [operative] = tmp_path.glob("runs/reach/trials/*/operative_config.gin")
    wanted = [line for line in [*exchanged.splitlines(), *parts_gin.splitlines()] if "=" in line]
    assert wanted == [line for line in wanted if line in operative.read_text().splitlines()]
    [metrics] = tmp_path.glob("runs/reach/trials/*/metrics.jsonl")
    assert "dice_loss" in metrics.read_text()
    [result] = tmp_path.glob("runs/reach/trials/*/result.json")
    assert {"groundtruth/pixel_recall/all", "detections/false_discoveries/all"} <= (
        json.loads(result.read_text()).keys())


def test_masks_are_read_as_shown(tmp_path, monkeypatch, capsys) -> None:
    """The lines of docs/results.md print the mean size of each arm's masks."""
    [shown] = blocks("docs/results.md", "Files of a workdir")
    generate.generate_dataset(tmp_path / "data", num_train=1, num_val=4, size=report_workdirs.SIZE)
    prefix = str(tmp_path / "data" / "val")
    workdir = report_workdirs.write(
        tmp_path / "sweep", truth=load_annotations(annotations_path(prefix)),
        dataset=DatasetInfo.load(prefix).identity, prefix=prefix)
    load = results.load
    frame = load(workdir.path)
    # Not every trial of this workdir keeps its masks.
    frame = frame[[Path(folder, "masks.json.gz").exists() for folder in frame["folder"]]]
    monkeypatch.setattr(results, "load", lambda _: frame)
    exec(compile(shown, "docs/results.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(frame) == len(printed)
    arm, _, size = printed[0].rpartition(" ")
    assert (frame["arm"].iloc[0], True) == (arm, 10 < float(size) < report_workdirs.SIZE**2)


def test_the_sweep_of_the_readme_resolves() -> None:
    """It has the 12 trials that the text speaks of."""
    [shown] = blocks("README.md", "A sweep file")
    names: dict[str, Any] = {}
    exec(compile(shown, "README.md", "exec"), names)
    resolved, problems = plan.resolve_sweep(names["SWEEP"])
    assert ([], 12) == (problems, len(resolved.trials))


def test_the_data_frame_is_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of docs/results.md load a sweep and average it by a level of an axis."""
    shown, planned = blocks("docs/results.md", "In Python and in notebooks")
    code, _, expression = shown.strip().rpartition("\n")
    recorded = ROOT / "tests" / "golden" / "sweeps" / "recorded_a"
    load = results.load
    monkeypatch.setattr(results, "load", lambda _: load(recorded), raising=False)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/results.md", "exec"), names)
    means = eval(expression, names)
    assert {"default", "hourglass20"} == set(means.index)

    # The same trials, and others with masks of other classes.
    half = load(recorded).rename(columns={"masks_of": "seen"}).query("seen == 'shapes_a'")
    other = half.assign(
        seen="shapes_b", trial=half["trial"] + "b",
        arm=half["arm"].str.replace("shapes_a", "shapes_b"))
    monkeypatch.setattr(results, "load", lambda _: pd.concat([half, other]), raising=False)
    exec(compile(planned, "docs/results.md", "exec"), names)
    [row] = results.contrast_table([names["deep"]]).to_dict("records")
    assert ("deep", 3, 2) == (row["name"], row["n"], row["arms"])


@pytest.mark.slow
def test_pictures_of_a_sweep(tmp_path: Path) -> None:
    """From a finished sweep, the script draws a small picture of the arms, and of their masks."""
    generate.generate_dataset(tmp_path / "data", num_train=1, num_val=4, size=report_workdirs.SIZE)
    prefix = str(tmp_path / "data" / "val")
    workdir = report_workdirs.write(
        tmp_path / "sweep", truth=load_annotations(annotations_path(prefix)),
        dataset=DatasetInfo.load(prefix).identity, prefix=prefix)
    make_pictures.make_pictures(str(workdir.path), tmp_path)
    arms = {arm.label: arm for arm in group_by_arm(results.load(workdir.path)).arms}
    masks = make_pictures.draw_masks(arms, (0.1, 0.9), 1.2)
    assert len(masks.axes) == 2 * (len(arms) + 1)
    assert ["ground truth", *arms] == [panel.get_title() for panel in masks.axes[:len(arms) + 1]]
    make_pictures.save(masks, tmp_path / "masks.png")
    assert max(path.stat().st_size for path in tmp_path.glob("*.png")) < 150_000
    assert {"arms.png", "masks.png"} == {path.name for path in tmp_path.glob("*.png")}


def test_the_object_of_the_picture_is_the_median() -> None:
    """Of the novel-class objects, by mean IoU over the arms, whatever seen ones have."""
    ious = {1: (0.9, 0.7), 2: (0.1, 0.3), 3: (0.4, 0.8), 4: (0.5, 0.5)}
    objects = pd.DataFrame([
        {"annotation_id": key, "role": "seen" if key == 4 else "novel", "iou": iou}
        for key, both in ious.items() for iou in both])
    assert 3 == make_pictures.object_at(objects, 0.5)
