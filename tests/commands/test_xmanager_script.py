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


def launched(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run XManager's command in a folder with a sweep."""
    (folder / "my_module.py").write_text("")
    (folder / "mine.gin").write_text("import my_module\nTRAIN = 'no/train'\nDATASET = None\n")
    (folder / "mine.py").write_text(SWEEP)
    command = Path(sys.executable).with_name("xmanager")
    return subprocess.run(
        [command, "launch", xmanager_script.__file__, "--", "--sweep=mine.py", "--workdir=w",
         *options],
        cwd=folder, env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder)},
        capture_output=True, text=True,
        check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "instead"), [
    ("xm_k8s_service_account_name=x", "use --service-account."),
    ("xm_use_kaniko", "of XManager's flags only xm_db_yaml_config_path and xm_upgrade_db have"),
])
def test_flags_of_xmanager_without_effect_are_refused(tmp_path, flag, instead):
    """By their name, in one sentence, before anything is launched."""
    done = launched(tmp_path, f"--{flag}")
    [said] = [line for line in done.stderr.splitlines() if line.startswith("deepmac-ablate: ")]
    assert 2 == done.returncode
    assert f"--{flag.partition('=')[0]} has no effect on a launch of deepmac_ablate; " in said
    assert instead in said
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "w").exists()


@pytest.mark.extended
@pytest.mark.slow
def test_a_rehearsal_with_the_real_trainer_names_the_cause(tmp_path):
    """In one line for the arm; neither a workdir nor a scratch workdir is left."""
    before = {path.name for path in tmp_path.iterdir()}
    done = launched(tmp_path, "--rehearse", "--seeds=2")
    assert 1 == done.returncode, done.stderr
    [arm] = [line for line in done.stdout.splitlines() if line.startswith("mine ")]
    found = re.fullmatch(
        r"mine  failed: There is no dataset no/train: .*\. \(log: (.*/\w+\.log)\)", arm)
    assert "There is no dataset no/train" in Path(found[1]).read_text()
    created = [path for path in tmp_path.iterdir() if path.name not in before]
    [scratch] = [path for path in created if path.name.startswith("deepmac-ablate-rehearsal-")]
    assert [Path(found[1])] == list(scratch.iterdir())
    assert not (tmp_path / "w").exists()


@pytest.mark.extended
@pytest.mark.slow
def test_gin_files_may_import_modules_of_the_launch_folder(tmp_path):
    """The arms are valid, so that the launch stops at the missing dataset only."""
    done = launched(tmp_path)
    assert (2, 1) == (done.returncode, done.stderr.count("There is no dataset no/train")), done
