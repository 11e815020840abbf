"""The launch script for XManager's own command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepmac_ablate.commands import xmanager_script

SWEEP = """\"\"\"Does a setting from a module of one's own matter?\"\"\"

from deepmac_ablate.sweep import Sweep, axis

SWEEP = Sweep("gin/experiments/shapes_small.gin", arms=axis("setting", "mine.gin"))
"""


@pytest.mark.slow
def test_gin_files_may_import_modules_of_the_launch_folder(tmp_path):
    """The arms are valid, so that the launch stops at the missing dataset only."""
    (tmp_path / "my_module.py").write_text("")
    (tmp_path / "mine.gin").write_text("import my_module\nTRAIN = 'no/train'\nDATASET = None\n")
    (tmp_path / "mine.py").write_text(SWEEP)
    command = Path(sys.executable).with_name("xmanager")
    done = subprocess.run(
        [command, "launch", xmanager_script.__file__, "--", "--sweep=mine.py", "--workdir=w"],
        cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, text=True,
        check=False)
    assert (2, 1) == (done.returncode, done.stderr.count("There is no dataset no/train")), done
