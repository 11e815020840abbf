"""The README is true: its files exist, and its three steps add an arm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepmac_ablate.data.shapes import generate
from deepmac_ablate.sweep import plan

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(heading: str) -> list[str]:
    """The code blocks below a heading, without their indentation."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    fenced = re.findall(r"^( *)```\w*\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(keepends=True))
            for indent, text in fenced]


def test_named_files_exist() -> None:
    """Every gin file, module and script that the README names is there."""
    named = set(re.findall(r"[\w/]+\.(?:gin|py)\b", README)) - {
        "my_heads.py", "dilated.gin", "reach.py", "sweeps/x.py", "config.gin", "mine.gin",
        "operative_config.gin",
        # Model Garden's.
        "create_coco_tf_record.py", "serving/export_saved_model.py"}
    house = {path.name for path in ROOT.joinpath("deepmac_ablate").rglob("*.py")}
    house |= {path.name for path in ROOT.joinpath("gin").rglob("*.gin")}
    assert [] == [n for n in sorted(named) if not (ROOT / n).is_file() and n not in house]


def test_the_house_is_drawn() -> None:
    """The drawing of the house names the modules that a reader would look for."""
    drawn = README.split("Imports go down only:")[1].split("## ")[0]
    looked_for = ("cli", "training", "evaluation", "trainer", "mask_rcnn", "training_data", "trial")
    assert [] == [module for module in looked_for if f"{module}.py" not in drawn]


@pytest.mark.extended
@pytest.mark.slow
def test_three_steps_add_an_arm(tmp_path: Path) -> None:
    """The class, the gin file and the sweep of the README train the new mask head."""
    code, gin_text, sweep = blocks("Add an arm in three steps")
    (tmp_path / "my_heads.py").write_text(code)
    (tmp_path / "dilated.gin").write_text(gin_text)
    (tmp_path / "reach.py").write_text(sweep)
    generate.generate_dataset(tmp_path / "data", num_train=4, num_val=1, size=64)
    smaller = [
        f"--gin_bindings={binding}" for binding in (
            f"TRAIN = '{tmp_path}/data/train'", f"VAL = '{tmp_path}/data/val'", "DATASET = None",
            "BATCH_SIZE = 2", "IMAGE_SIZE = (64, 64)")]
    done = subprocess.run(
        [sys.executable, "-m", "deepmac_ablate.cli", "launch", "reach.py", "--seeds", "1",
         "--only", "mask_head=dilated", "--steps", "1", *smaller],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False)
    assert done.returncode == 0, done.stderr
    [operative] = tmp_path.glob("runs/reach/trials/*/operative_config.gin")
    assert "DilatedMaskHead.num_convs = 3" in operative.read_text()


def test_the_sweep_of_the_readme_is_one_of_the_house() -> None:
    """What is shown resolves to the trials that the text speaks of."""
    [shown] = blocks("A sweep is a short file")
    names: dict[str, Any] = {}
    exec(compile(shown, "README.md", "exec"), names)
    resolved, problems = plan.resolve_sweep(names["SWEEP"])
    assert ([], 12) == (problems, len(resolved.trials))
