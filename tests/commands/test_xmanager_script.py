"""The launch script for XManager's own command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate.commands import xmanager_script

SWEEP = """\"\"\"Does a setting from a module of one's own matter?\"\"\"

from deepmac_ablate.sweep import Sweep, axis

SWEEP = Sweep("gin/experiments/shapes_small.gin", arms=axis("setting", "mine.gin"))
"""


def launch(tmp_path, *options):
    """Launch a sweep whose dataset is missing through ``xmanager launch``."""
    (tmp_path / "my_module.py").write_text("")
    (tmp_path / "mine.gin").write_text("import my_module\nTRAIN = 'no/train'\nDATASET = None\n")
    (tmp_path / "mine.py").write_text(SWEEP)
    command = Path(sys.executable).with_name("xmanager")
    return subprocess.run(
        [command, "launch", xmanager_script.__file__, "--", "--sweep=mine.py", "--workdir=w",
         *options],
        cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_rehearsal_with_the_real_trainer_names_the_cause(tmp_path):
    """In one line for the arm; neither a workdir nor a scratch workdir is left."""
    before = {path.name for path in tmp_path.iterdir()}
    done = launch(tmp_path, "--rehearse", "--seeds=2")
    assert 1 == done.returncode, done.stderr
    [arm] = [line for line in done.stdout.splitlines() if line.startswith("mine ")]
    found = re.fullmatch(
        r"mine  failed: There is no dataset no/train: .*\. \(log: (.*/\w+\.log)\)", arm)
    assert "There is no dataset no/train" in Path(found[1]).read_text()
    created = [path for path in tmp_path.iterdir() if path.name not in before]
    [scratch] = [path for path in created if path.name.startswith("deepmac-ablate-rehearsal-")]
    assert [Path(found[1])] == list(scratch.iterdir())
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_gin_files_may_import_modules_of_the_launch_folder(tmp_path):
    """The arms are valid, so that the launch stops at the missing dataset only."""
    done = launch(tmp_path)
    assert (2, 1) == (done.returncode, done.stderr.count("There is no dataset no/train")), done
