"""Trials mirrored to W&B: real processes of the real client, and a stand-in server."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from etils import epath

from deepmac_ablate import cli
from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.tracking import offline_runs
from deepmac_ablate.trial.tracking.start_mirror import mirroring
from deepmac_ablate.trial.tracking.sync import pending_files
from deepmac_ablate.trial.trial_workdir import TrialWorkdir
from tests.fakes import mirrored_trainer, wandb_server

ROOT = Path(__file__).resolve().parents[3]
# The client refuses shorter ones.
KEY = "secretmarker" * 4
# The client's own values beside ours.
OWN = {"_timestamp", "_runtime", "_step"}


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment without the settings and keys of the user who runs the tests."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("WANDB")}
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": str(home), **more}


def start(folder: Path, *options: str, **more: str) -> subprocess.Popen:
    """Start a trainer that is mirrored."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.mirrored_trainer", str(folder), *options],
        cwd=folder.parent, env=environment(folder.parent, **more), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(folder: Path, *options: str, **more: str) -> tuple[int, str, str]:
    """Run a trainer to its end; returns its exit status and what it printed."""
    process = start(folder, *options, **more)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def noted(folder: Path) -> list[offline_runs.Attempt]:
    """The attempts as the mirror noted them, in their order."""
    return offline_runs.find_attempts(epath.Path(folder))


def upload_copy(folder: Path) -> wandb_server.Run:
    """The run that a server has after an upload of the trial."""
    run, = wandb_server.upload_copy(folder).values()
    return run


def history(sent: wandb_server.Run) -> list[dict]:
    """The rows that a server received, without the client's own values and the pictures."""
    rows = [{n: v for n, v in row.items() if n not in OWN} for row in sent.rows]
    return [row for row in rows if "overlays" not in row]


def expected(folder: Path) -> list[dict]:
    """The rows of the trial's own files, sorted as by `by_step`."""
    workdir = TrialWorkdir(folder)
    rows = [*workdir.read_metrics(), *workdir.read_evaluations()]
    return by_step([{("global_step" if n == "step" else n): v for n, v in row.items()}
                    for row in rows])


def by_step(rows: list[dict], without: str = "") -> list[dict]:
    """Rows by step and names, so that they can be compared."""
    rows = [{n: v for n, v in row.items() if n != without} for row in rows]
    return sorted(rows, key=lambda row: (row["global_step"], sorted(row)))


def mirror_of(trainer: subprocess.Popen, folder: Path) -> psutil.Process:
    """The mirror that a trainer has started, once it has begun to write."""
    deadline = time.monotonic() + 30
    while not list(folder.glob("wandb/*run-*/*.wandb")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mirror, = psutil.Process(trainer.pid).children()
    return mirror


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """The folder of a trial that was mirrored offline from its start to its end."""
    folder = tmp_path_factory.mktemp("mirrored") / "trial"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({
        "sweep": "heads", "arm": "hg20", "levels": {"mask_head": "hourglass20", "depth": 20},
        "baseline": True}))
    status, _, err = run(folder, WANDB_API_KEY=KEY)
    assert (0, "") == (status, err)
    return folder


@pytest.fixture(scope="module")
def uploaded(mirrored):
    """The runs that a server has of that trial, by project and id."""
    return wandb_server.upload_copy(mirrored)


@pytest.fixture
def sent(uploaded):
    """The trial's run on the server."""
    return uploaded["heads", mirrored_trainer.TRIAL_ID]


@pytest.mark.slow
def test_everything_logged_is_uploaded(mirrored, sent):
    """The history is metrics.jsonl and evaluations.jsonl, undefined values included."""
    assert 12 == len(expected(mirrored))
    assert expected(mirrored) == by_step(history(sent))


def test_the_run_is_named_after_the_sweep(uploaded, sent):
    """Project, group, name and tags hold sweep, arm, seed and levels; the id is the trial's."""
    assert [("heads", mirrored_trainer.TRIAL_ID)] == list(uploaded)
    assert ("hg20", "train", "hg20 seed 5") == tuple(
        sent.fields[name] for name in ("groupName", "jobType", "displayName"))
    assert ["mask_head=hourglass20", "depth=20", "baseline"] == sent.fields["tags"]


def test_the_config_holds_the_bindings(sent):
    """It holds bindings in effect: numbers as such, macros resolved, references as text."""
    assert sent.config == {
        "Training.steps": 100, "Training.seen_classes": ["box", 3],
        "Training.model": "@MaskRCNN", "Training.losses": "@masks/Losses()",
        "Training.data": "@TrainingData()", "TrainingData.image_size": [64, 64],
        "masks/Losses.weight": 1.5, "Runtime.deterministic": True,
        "_ablate/id": mirrored_trainer.TRIAL_ID, "_ablate/arm": "hg20", "_ablate/seed": 5,
        "_ablate/levels": {"mask_head": "hourglass20", "depth": 20}}


def test_the_summary_is_the_result(mirrored, sent):
    """The final values are those of result.json, and the run has finished."""
    assert is_summary(TrialWorkdir(mirrored).read_result(), sent)
    assert ("finished", 0) == (sent.summary["_ablate/state"], sent.exit_code)


def test_overlays_are_a_table_of_pictures(mirrored, sent):
    """Both pictures are in a table with their images' ids, at the step of the result."""
    row = sent.rows[-1]
    assert (100, 2) == (row["global_step"], row["overlays"]["nrows"])
    staged = [path.read_bytes() for path in mirrored.glob("wandb/artifacts/staging/*")]
    table, *_ = (json.loads(line) for line in staged if line.startswith(b"{"))
    assert ["image", "overlay"] == table["columns"]
    assert [("12", 8, 6), ("7", 8, 6)] == [
        (image_id, image["width"], image["height"]) for image_id, image in table["data"]]


def test_the_key_is_written_nowhere(mirrored):
    """No file and no name below the trial's folder holds the API key or another variable."""
    paths = [path for path in mirrored.parent.rglob("*") if path.is_file()]
    assert len(paths) > 10
    assert [] == [path for path in paths if b"secretmarker" in path.read_bytes()]
    assert [] == [path for path in paths if str(ROOT).encode() in path.read_bytes()]


def test_nothing_is_written_elsewhere(mirrored):
    """No file is written to the home folder or the current one, which are the same here."""
    assert [mirrored] == list(mirrored.parent.iterdir())


def test_logs_are_short(mirrored):
    """The client's own logs take a few kilobytes per trial at most."""
    logs = sum(path.stat().st_size for path in mirrored.rglob("*.log"))
    assert logs < 20_000
    assert "" == (mirrored / "wandb" / "mirror-train.log").read_text()


def test_running_a_finished_trial_again_adds_nothing(mirrored):
    """It is finished in W&B, too, so no further file is started."""
    before = sorted(mirrored.rglob("*.wandb"))
    with mirroring(str(mirrored), "offline", "train", poll_seconds=0.05):
        (mirrored / "config.gin").write_text(mirrored_trainer.CONFIG)
    assert before == sorted(mirrored.rglob("*.wandb"))


@pytest.mark.slow
@pytest.mark.parametrize(("end", "status", "code"), [
    pytest.param("interrupted", 1, 75, marks=pytest.mark.extended), ("failed", 1, 1)])
def test_the_end_of_a_trial_is_shown(tmp_path, end, status, code):
    """A stopped or failed trial is marked as such, and its values are logged."""
    folder = tmp_path / "trial"
    assert status == run(folder, "--stop_at", "60", "--end", end)[0]
    sent = upload_copy(folder)
    # W&B's command sends 1 for any failure.
    assert (end, code) == (sent.summary["_ablate/state"], noted(folder)[0].exit_code)
    assert 0 != sent.exit_code
    assert expected(folder) == by_step(history(sent))


@pytest.mark.slow
def test_an_evaluator_is_a_run_of_its_own(tmp_path):
    """It logs only the evaluations, under its own id."""
    folder = tmp_path / "trial"
    run(folder, "--job_type", "eval")
    [((_, run_id), sent)] = wandb_server.upload_copy(folder).items()
    assert (f"{mirrored_trainer.TRIAL_ID}-eval", "eval") == (run_id, sent.fields["jobType"])
    assert [40, 80] == [row["global_step"] for row in history(sent)]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [
    "both", *(pytest.param(one, marks=pytest.mark.extended) for one in ("trainer", "mirror"))])
def test_nothing_is_lost_or_doubled_by_a_kill(tmp_path, killed):
    """After a second attempt a server is sent each step of metrics.jsonl once."""
    folder = tmp_path / "trial"
    trainer = start(folder, "--stop_at", "60", "--end", "hang")
    mirror = mirror_of(trainer, folder)
    while "stopped" not in trainer.stdout.readline():
        pass
    if killed in ("mirror", "both"):
        mirror.kill()
    trainer.kill()
    second = start(folder)
    assert 0 == second.wait(60), second.stderr.read()
    # What a killed mirror wrote may end anywhere, so that the next attempt replaces it.
    exit_codes = [attempt.exit_code for attempt in noted(folder)]
    assert ([137, 0] if killed == "trainer" else [0]) == exit_codes
    sent = upload_copy(folder)
    assert ("finished", 0) == (sent.summary["_ablate/state"], sent.exit_code)
    # The time of a step that was done twice is that of the first.
    assert by_step(expected(folder), "wall_time") == by_step(history(sent), "wall_time")
    assert 10 == len(TrialWorkdir(folder).read_metrics())


@pytest.mark.slow
@pytest.mark.extended
def test_without_a_server_the_trial_is_as_fast_and_kept_for_later(tmp_path):
    """Without a server the trainer waits only at the end, and the run is stored."""
    folder = tmp_path / "trial"
    status, out, err = run(
        folder, "--mode", "online", WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=KEY)
    assert 0 == status
    assert float(out.split()[-1]) < 2
    assert "W&B cannot be reached" in err
    assert "secretmarker" not in err
    assert 1 == len(err.splitlines())
    assert expected(folder) == by_step(history(upload_copy(folder)))


def test_a_mirror_that_hangs_is_left_alone(tmp_path):
    """After the waiting time the trainer ends normally, with a line that gives the reason."""
    folder = tmp_path / "trial"
    shadow = tmp_path / "shadow" / "wandb"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("import time\ntime.sleep(4)\nraise SystemExit\n")
    process = start(
        folder, "--wait_seconds", "0.5", PYTHONPATH=f"{shadow.parent}{os.pathsep}{ROOT}")
    assert 0 == process.wait(4)
    assert "needs more than 0.5 s" in process.stderr.readline()


def test_a_broken_client_fails_no_trial(tmp_path):
    """A client that cannot be imported is one line on standard error."""
    folder = tmp_path / "trial"
    shadow = tmp_path / "shadow" / "wandb"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise ImportError('Broken on purpose.')\n")
    status, _, err = run(folder, PYTHONPATH=f"{shadow.parent}{os.pathsep}{ROOT}")
    assert 0 == status
    assert TrialWorkdir(folder).is_finished()
    assert err.splitlines() == ["deepmac-ablate: the trial is not tracked any more (ImportError: "
                             "Broken on purpose.); it continues, and "
                             f"{folder}/wandb holds the details."]
    assert "Broken on purpose." in (folder / "wandb" / "mirror-train.log").read_text()


def test_a_mistake_before_the_start_leaves_nothing(tmp_path):
    """A refused trial creates no folder, and does not change that of another trial."""
    folder = tmp_path / "trial"
    with (pytest.raises(UserError),
          mirroring(str(folder), "offline", "train", poll_seconds=0.05)):
        raise UserError("No such gin file.")
    assert not folder.exists()


@pytest.mark.slow
def test_the_user_of_the_server_is_found(tmp_path):
    """Without a server or a key, one sentence says so, and what to do."""
    def find(**more: str) -> str:
        code = (
            "from deepmac_ablate.errors import UserError\n"
            "from deepmac_ablate.trial.tracking.wandb_run import find_user\n"
            "try:\n    print(find_user())\nexcept UserError as error:\n    print(error)")
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(tmp_path, **more), check=True,
            stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return done.stdout.splitlines()[-1]

    with wandb_server.serving() as server:
        assert "me" == find(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
        assert find(WANDB_BASE_URL=server.url).startswith("W&B cannot be used (No API key")


def test_off_starts_nothing(tmp_path):
    """Mode "off" starts no process."""
    before = psutil.Process().children()
    with mirroring(str(tmp_path / "trial"), "off", "train"):
        assert before == psutil.Process().children()


def test_offline_needs_a_disk():
    """A folder in a bucket is refused before anything is started."""
    with (pytest.raises(UserError, match="a disk, got gs://bucket/trial; use --tracking online"),
          mirroring("gs://bucket/trial", "offline", "train")):
        pass


@pytest.mark.slow
def test_the_mirror_needs_no_tensorflow(tmp_path):
    """It never loads TensorFlow, and it runs with low priority."""
    folder = tmp_path / "trial"
    trainer = start(folder, "--stop_at", "60", "--end", "hang")
    mirror = mirror_of(trainer, folder)
    mapped = {Path(mapping.path).name for mapping in mirror.memory_maps()}
    niceness = mirror.nice()
    trainer.kill()
    mirror.wait(20)
    assert not [name for name in mapped if "tensorflow" in name]
    assert niceness == psutil.Process().nice() + 10


@pytest.mark.slow
def test_online_sends_the_content_of_the_files(tmp_path):
    """After a kill and a second attempt, a server has each step once and the end of the trial."""
    folder = tmp_path / "trial"
    with wandb_server.serving() as server:
        more = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        assert 1 == run(folder, "--mode", "online", "--stop_at", "60", "--end", "failed", **more)[0]
        sent, = server.runs.values()
        assert (1, 7) == (sent.exit_code, len(sent.rows))
        status, _, err = run(folder, "--mode", "online", **more)
        assert (0, "") == (status, err)
        assert {("deepmac_ablate", mirrored_trainer.TRIAL_ID)} == server.runs.keys()
        check_sent(server, folder)
        assert [] == server.others


@pytest.mark.slow
@pytest.mark.parametrize("count", [pytest.param(7, marks=pytest.mark.extended), 0])
def test_after_a_kill_the_server_keeps_what_it_received(tmp_path, count):
    """The server has each step once, whether a killed client had sent all values or none."""
    folder = tmp_path / "trial"
    with wandb_server.serving() as server:
        more = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        server.busy = count == 0
        trainer = start(folder, "--mode", "online", "--stop_at", "60", "--end", "hang", **more)
        mirror = mirror_of(trainer, folder)
        deadline = time.monotonic() + 45
        while (7 > sum(len(attempt.rows) for attempt in noted(folder))
               or count > sum(len(sent.rows) for sent in server.runs.values())):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        mirror.kill()
        trainer.kill()
        server.busy = False
        assert [count] == [len(sent.rows) for sent in server.runs.values()]
        status, _, err = run(folder, "--mode", "online", **more)
        assert (0, "") == (status, err)
        check_sent(server, folder)


def check_sent(server: wandb_server.Server, folder: Path) -> None:
    sent, = server.runs.values()
    rows = history(sent)
    assert by_step(expected(folder), "wall_time") == by_step(rows, "wall_time")
    assert len(sent.rows) == len(rows) + 1
    assert is_summary(TrialWorkdir(folder).read_result(), sent)
    assert ("finished", 0) == (sent.summary["_ablate/state"], sent.exit_code)


def is_summary(result: dict, sent: wandb_server.Run) -> bool:
    """Return whether a result is in the summary of a run, where undefined values are left out."""
    return {n: it for n, it in result.items() if it is not None}.items() <= sent.summary.items()


def sync(folder: Path, *options: str, **more: str) -> subprocess.CompletedProcess:
    """Run `deepmac-ablate sync`."""
    return subprocess.run(
        [sys.executable, "-m", "deepmac_ablate.cli", "sync", str(folder), *options],
        cwd=folder.parent, env=environment(folder.parent, **more), capture_output=True,
        text=True, check=False, timeout=90)


@pytest.fixture
def sweep(tmp_path):
    """A sweep of one trial with two attempts, the first of which was killed."""
    folder = tmp_path / "sweep" / "trials" / mirrored_trainer.TRIAL_ID
    folder.parent.mkdir(parents=True)
    trainer = start(folder, "--stop_at", "60", "--end", "hang")
    mirror = mirror_of(trainer, folder)
    while "stopped" not in trainer.stdout.readline():
        pass
    trainer.send_signal(signal.SIGKILL)
    mirror.wait(20)
    assert 0 == run(folder)[0]
    return tmp_path / "sweep"


@pytest.mark.slow
@pytest.mark.extended
def test_a_sweep_is_synced_once(sweep):
    """Both attempts reach the server as one run in their order; a second sync uploads nothing."""
    trial, = (sweep / "trials").glob("*")
    dry = sync(sweep, "--dry-run")
    attempted = [str(attempt.file) for attempt in noted(trial)]
    assert 2 == len(attempted)
    assert [*attempted, "2 files would be uploaded."] == dry.stdout.splitlines()
    without_key = sync(sweep)
    assert (2, "deepmac-ablate: W&B has no API key: run `wandb login`, or set WANDB_API_KEY."
            ) == (without_key.returncode, without_key.stderr.splitlines()[-1])
    with wandb_server.serving() as server:
        more = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        server.refused = {mirrored_trainer.TRIAL_ID}
        refused = sync(sweep, **more)
        assert (1, "0 of 2 files were uploaded.") == (refused.returncode, refused.stdout.strip())
        first, second = refused.stderr.splitlines()[-2:]
        assert first.startswith(f"{attempted[0]}: ")
        assert second == f"{attempted[1]}: an earlier attempt could not be uploaded"
        server.refused = set()
        done = sync(sweep, **more)
        assert (0, "2 of 2 files were uploaded.") == (done.returncode, done.stdout.strip())
        assert "secretmarker" not in done.stdout + done.stderr
        check_sent(server, trial)
        assert [sweep] == list(sweep.parent.iterdir())
        assert sync(trial, **more).stdout == (
            f"Nothing to upload: all offline runs in {trial} were uploaded before.\n")
        # About the client itself, for its makers.
        assert [] == server.others


@pytest.mark.slow
@pytest.mark.extended
def test_a_trial_whose_mirror_was_killed_is_synced_whole(tmp_path):
    """All values in the trial's files are sent, and later ones with the next sync."""
    folder = tmp_path / "trial"
    trainer = start(folder, "--stop_at", "60", "--end", "hang")
    mirror = mirror_of(trainer, folder)
    while "stopped" not in trainer.stdout.readline():
        pass
    mirror.kill()
    trainer.kill()
    with wandb_server.serving() as server:
        more = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        assert "1 of 1 file was uploaded.\n" == sync(folder, **more).stdout
        sent, = server.runs.values()
        assert "killed" == sent.summary["_ablate/state"]
        assert expected(folder) == by_step(history(sent))
        assert 0 == run(folder)[0]
        assert "1 of 1 file was uploaded.\n" == sync(folder, **more).stdout
        check_sent(server, folder)


@pytest.mark.slow
def test_without_offline_runs_nothing_is_uploaded(tmp_path):
    """One sentence says why there is nothing to upload, and the exit status is 0."""
    (tmp_path / "trial.json").write_text("{}")
    done = sync(tmp_path)
    assert 0 == done.returncode
    assert done.stdout.startswith(
        f"Nothing to upload: no trial in {tmp_path} was tracked. Trials write runs for W&B if they "
        "are started with --tracking offline;")
    online = tmp_path / "wandb" / "run-20260101_000000-x" / "run-x.wandb"
    online.parent.mkdir(parents=True)
    online.write_bytes(b"")
    assert sync(tmp_path).stdout == (
        f"Nothing to upload: the trials in {tmp_path} were tracked online.\n")
    with (tmp_path / "wandb" / "mirror-train.log").open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        assert sync(tmp_path).stdout == (
            f"Nothing to upload yet: 1 trial in {tmp_path} is being tracked at the moment.\n")


def test_a_trial_that_is_being_tracked_is_not_synced(mirrored):
    """A file that a mirror is still writing is left for later."""
    assert 1 == len(pending_files(str(mirrored)))
    with open(mirrored / "wandb" / "mirror-train.log") as log:  # noqa: PTH123
        fcntl.flock(log, fcntl.LOCK_EX)
        assert [] == pending_files(str(mirrored))


@pytest.mark.slow
def test_a_folder_without_trials_is_refused(tmp_path):
    """The message names the missing files and the folder."""
    done = sync(tmp_path)
    assert 2 == done.returncode
    assert done.stderr == (f"deepmac-ablate: There is neither a trial nor a sweep in {tmp_path}: "
                           "trial.json and trials/ are missing.\n")


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
@pytest.mark.extended
def test_a_real_trial_is_mirrored(tiny_recipe, tmp_path, monkeypatch, capfd):
    """A trial with --tracking offline leaves its pictures, numbers and bindings in a run."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "trial"
    assert 0 == cli.main([
        "train", "--gin_file", str(tiny_recipe.gin_file), "--workdir", str(folder),
        "--arm", "tiny", "--tracking", "offline", "--gin_bindings", "Evaluation.every = 25",
        "--gin_bindings", "Evaluation.overlays = 2"])
    assert "not tracked" not in capfd.readouterr().err
    sent = upload_copy(folder)
    assert 51 == len(expected(folder))
    assert expected(folder) == by_step(history(sent))
    assert (0, "tiny seed 0") == (sent.exit_code, sent.fields["displayName"])
    assert (50, "@ResNetFPN()") == (
        sent.config["Training.steps"], sent.config["MaskRCNN.backbone"])
    assert 2 == sent.rows[-1]["overlays"]["nrows"]
    assert 2 == len(list((folder / "overlays").glob("*.png")))
    assert is_summary(TrialWorkdir(folder).read_result(), sent)
