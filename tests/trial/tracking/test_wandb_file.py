"""W&B's files read back, against what was given to the real client."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.tracking import wandb_file

pytestmark = pytest.mark.slow  # W&B's client is a process that takes seconds.

ROWS = 2000
# Takes up more than two blocks of the file.
LONG = "x" * 70_000
SCRIPT = f"""
import sys, wandb
run = wandb.init(
    mode="offline", dir=sys.argv[1], id="id-1", project="p", group="g", job_type="eval",
    name="n", tags=["b", "a=1"], config={{"A.b": 1, "long": "x" * 70_000}},
    settings=wandb.Settings(silent=True, console="off", x_disable_stats=True))
run.config.update({{"later": [1, None, 2.5], "A.b": 2}}, allow_val_change=True)
for i in range({ROWS}):
    run.log({{"a/b": i / 7, "none": None, "with.dot": i, "in": {{"side": i}}}}, step=i)
run.summary["best"] = 0.25
run.summary["gone"] = 1
del run.summary["gone"]
run.finish(exit_code=3)
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file of the real client's."""
    folder = tmp_path_factory.mktemp("wandb")
    env = {n: v for n, v in os.environ.items() if not n.startswith("WANDB")}
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], check=True, cwd=folder,
                   env={**env, "HOME": str(folder), "WANDB_ERROR_REPORTING": "false"})
    path, = folder.glob("wandb/offline-run-*/run-id-1.wandb")
    return path


def logged(file: wandb_file.WandbFile) -> list[dict]:
    """The history without the client's own values."""
    own = {"_step", "_runtime", "_timestamp"}
    return [{n: v for n, v in row.items() if n not in own} for row in file.history]


def expected(count: int) -> list[dict]:
    return [{"a/b": i / 7, "none": None, "with.dot": i, "in": {"side": i}} for i in range(count)]


def test_a_file_of_many_blocks_is_read_whole(written):
    """History, config, summary, names and exit code are those given to the client."""
    assert written.stat().st_size > 5 * 32 * 1024
    file = wandb_file.read(written)
    run = file.run
    assert ("id-1", "p", "g", "eval", "n", ("b", "a=1")) == (
        run.run_id, run.project, run.group, run.job_type, run.name, run.tags)
    assert {"A.b": 2, "long": LONG, "later": [1, None, 2.5]} == run.config
    assert expected(ROWS) == logged(file)
    assert (0.25, (ROWS - 1) / 7) == (file.summary["best"], file.summary["a/b"])
    assert "gone" not in file.summary
    assert 3 == file.exit_code
    assert abs(run.started - written.stat().st_mtime) < 600


def test_a_torn_file_is_read_as_far_as_it_goes(written, tmp_path):
    """Cut anywhere, or filled up with zeros, it yields the first rows and no exit code."""
    whole, torn = written.read_bytes(), tmp_path / "run-torn.wandb"
    counts = []
    cuts = sorted({*range(12), *random.Random(0).sample(range(len(whole) - 1), 25)})
    for cut in cuts:
        for tail in (b"", bytes(1000)):
            torn.write_bytes(whole[:cut] + tail if cut >= 7 else whole[:cut])
            file = wandb_file.read(torn)
            assert expected(len(file.history)) == logged(file)
            assert file.exit_code is None
        counts.append(len(file.history))
    assert sorted(counts) == counts
    assert 0 == counts[0]
    assert ROWS / 2 < counts[-1]


def test_damage_ends_the_reading(written, tmp_path):
    """A bit that fell over in the middle is no number that nobody logged."""
    content = bytearray(written.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = tmp_path / "run-damaged.wandb"
    damaged.write_bytes(content)
    rows = logged(wandb_file.read(damaged))
    assert 0 < len(rows) < ROWS
    assert expected(len(rows)) == rows


def test_another_file_is_refused(tmp_path):
    """The message names the file."""
    path = tmp_path / "run-x.wandb"
    path.write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"run-x\.wandb is no file of W&B's"):
        wandb_file.read(path)
