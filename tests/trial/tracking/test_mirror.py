"""Trials mirrored to W&B: real processes of the real client, and what a server is sent."""

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
    """No settings or keys of whoever runs the tests."""
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
    """What a server was sent, without the client's own values and the pictures."""
    rows = [{n: v for n, v in row.items() if n not in OWN} for row in sent.rows]
    return [row for row in rows if "overlays" not in row]


def expected(folder: Path) -> list[dict]:
    """What the trial's own files say, sorted as `by_step` does."""
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
    """What a server has of that trial by project and id."""
    return wandb_server.upload_copy(mirrored)


@pytest.fixture
def sent(uploaded):
    """The trial's run on the server."""
    return uploaded["heads", mirrored_trainer.TRIAL_ID]


def test_everything_logged_is_uploaded(mirrored, sent):
    """The history is metrics.jsonl and evaluations.jsonl, undefined values included."""
    assert 12 == len(expected(mirrored))
    assert expected(mirrored) == by_step(history(sent))


def test_the_run_is_named_after_the_sweep(uploaded, sent):
    """Project, group, name and tags say sweep, arm, seed and levels; the id is the trial's."""
    assert [("heads", mirrored_trainer.TRIAL_ID)] == list(uploaded)
    assert ("hg20", "train", "hg20 seed 5") == tuple(
        sent.fields[name] for name in ("groupName", "jobType", "displayName"))
    assert ["mask_head=hourglass20", "depth=20", "baseline"] == sent.fields["tags"]


def test_the_config_is_what_is_bound(sent):
    """Numbers are numbers, macros are resolved, references are text, the unreachable is absent."""
    assert sent.config == {
        "Training.steps": 100, "Training.seen_classes": ["box", 3],
        "Training.model": "@MaskRCNN", "Training.losses": "@masks/Losses()",
        "Training.data": "@TrainingData()", "TrainingData.image_size": [64, 64],
        "masks/Losses.weight": 1.5, "Runtime.deterministic": True,
        "_ablate/id": mirrored_trainer.TRIAL_ID, "_ablate/arm": "hg20", "_ablate/seed": 5,
        "_ablate/levels": {"mask_head": "hourglass20", "depth": 20}}


def test_the_summary_is_the_result(mirrored, sent):
    """The last values are those of result.json, and the run ended well."""
    assert is_summary(TrialWorkdir(mirrored).read_result(), sent)
    assert ("finished", 0) == (sent.summary["_ablate/state"], sent.exit_code)


def test_overlays_are_a_table_of_pictures(mirrored, sent):
    """Both pictures are in a table with their images' ids, at the step of the result."""
    row = sent.rows[-1]
    assert (100, 2) == (row["global_step"], row["overlays"]["nrows"])
    staged = [path.read_bytes() for path in mirrored.glob("wandb/artifacts/staging/*")]
    table, *_ = (json.loads(it) for it in staged if it.startswith(b"{"))
    assert ["image", "overlay"] == table["columns"]
    assert [("12", 8, 6), ("7", 8, 6)] == [
        (image_id, it["width"], it["height"]) for image_id, it in table["data"]]


def test_the_key_is_written_nowhere(mirrored):
    """No file and no name below the trial's folder holds the API key or another variable."""
    paths = [path for path in mirrored.parent.rglob("*") if path.is_file()]
    assert len(paths) > 10
    assert [] == [path for path in paths if b"secretmarker" in path.read_bytes()]
    assert [] == [path for path in paths if str(ROOT).encode() in path.read_bytes()]


def test_nothing_is_written_elsewhere(mirrored):
    """Neither the home folder nor the current one, which are the same here, gets a file."""
    assert [mirrored] == list(mirrored.parent.iterdir())


def test_logs_are_short(mirrored):
    """What the client has to say of itself takes no more than some kilobytes a trial."""
    logs = sum(path.stat().st_size for path in mirrored.rglob("*.log"))
    assert logs < 20_000
    assert "" == (mirrored / "wandb" / "mirror-train.log").read_text()


def test_running_a_finished_trial_again_adds_nothing(mirrored):
    """It is finished in W&B too, so no further file is begun."""
    before = sorted(mirrored.rglob("*.wandb"))
    with mirroring(str(mirrored), "offline", "train", poll_seconds=0.05):
        (mirrored / "config.gin").write_text(mirrored_trainer.CONFIG)
    assert before == sorted(mirrored.rglob("*.wandb"))


@pytest.mark.slow
@pytest.mark.parametrize(("end", "status", "code"), [("interrupted", 1, 75), ("failed", 1, 1)])
def test_how_a_trial_ended_is_seen(tmp_path, end, status, code):
    """A trial that was stopped or failed says which, and what it logged is there."""
    folder = tmp_path / "trial"
    assert status == run(folder, "--stop_at", "60", "--end", end)[0]
    sent = upload_copy(folder)
    # W&B's command sends 1 for any failure.
    assert (end, code) == (sent.summary["_ablate/state"], noted(folder)[0].exit_code)
    assert 0 != sent.exit_code
    assert expected(folder) == by_step(history(sent))


@pytest.mark.slow
def test_an_evaluator_is_a_run_of_its_own(tmp_path):
    """It follows the evaluations alone, under an id that the trainer does not use."""
    folder = tmp_path / "trial"
    run(folder, "--job_type", "eval")
    [((_, run_id), sent)] = wandb_server.upload_copy(folder).items()
    assert (f"{mirrored_trainer.TRIAL_ID}-eval", "eval") == (run_id, sent.fields["jobType"])
    assert [40, 80] == [row["global_step"] for row in history(sent)]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [
    "both", *(pytest.param(it, marks=pytest.mark.extended) for it in ("trainer", "mirror"))])
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
    assert ([137, 0] if killed == "trainer" else [0]) == [it.exit_code for it in noted(folder)]
    sent = upload_copy(folder)
    assert ("finished", 0) == (sent.summary["_ablate/state"], sent.exit_code)
    # The time of a step that was done twice is that of the first.
    assert by_step(expected(folder), "wall_time") == by_step(history(sent), "wall_time")
    assert 10 == len(TrialWorkdir(folder).read_metrics())


@pytest.mark.slow
@pytest.mark.extended
def test_without_a_server_the_trial_is_as_fast_and_kept_for_later(tmp_path):
    """Nothing answers where the server should be: the trainer waits for nothing but the end."""
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
    """After the time to wait the trainer ends well, with a line that says why."""
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
    """A trial that is refused makes no folder, and one that is not the folder's changes nothing."""
    folder = tmp_path / "trial"
    with (pytest.raises(UserError),
          mirroring(str(folder), "offline", "train", poll_seconds=0.05)):
        raise UserError("No such gin file.")
    assert not folder.exists()


def test_off_starts_nothing(tmp_path):
    """There is no process without being asked for one."""
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
    """Its whole life passes without TensorFlow, and it gives way to the trainer."""
    folder = tmp_path / "trial"
    trainer = start(folder, "--stop_at", "60", "--end", "hang")
    mirror = mirror_of(trainer, folder)
    mapped = {Path(it.path).name for it in mirror.memory_maps()}
    niceness = mirror.nice()
    trainer.kill()
    mirror.wait(20)
    assert not [name for name in mapped if "tensorflow" in name]
    assert niceness == psutil.Process().nice() + 10


@pytest.mark.slow
def test_online_sends_what_the_files_say(tmp_path):
    """A server has each step once after a kill and a second attempt, and the end of the trial."""
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
def test_the_server_says_what_it_has_after_a_kill(tmp_path, count):
    """Whether a killed client had sent all or nothing of what it wrote, the server has it once."""
    folder = tmp_path / "trial"
    with wandb_server.serving() as server:
        more = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        trainer = start(folder, "--mode", "online", "--stop_at", "60", "--end", "hang", **more)
        mirror = mirror_of(trainer, folder)
        deadline = time.monotonic() + 45
        while (7 > sum(len(it.rows) for it in noted(folder))
               or count > sum(len(it.rows) for it in server.runs.values())):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        mirror.kill()
        trainer.kill()
        assert [count] == [len(it.rows) for it in server.runs.values()]
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
    """Whether a result is in the summary of a run; the client leaves out what is undefined."""
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
    """Both attempts reach the server as one run, in their order, and the second time nothing."""
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
            f"Nothing to upload: {trial} has no offline run that was not uploaded before.\n")
        # About the client itself, for its makers.
        assert [] == server.others


@pytest.mark.slow
def test_a_trial_whose_mirror_was_killed_is_synced_whole(tmp_path):
    """All that the trial's files have by then is sent, and after the rest of it that, too."""
    folder = tmp_path / "trial"
    trainer = start(folder, "--stop_at", "60", "--end", "hang")
    mirror = mirror_of(trainer, folder)
    while "stopped" not in trainer.stdout.readline():
        pass
    mirror.kill()
    trainer.kill()
    with wandb_server.serving() as server:
        more = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        assert "1 of 1 files were uploaded.\n" == sync(folder, **more).stdout
        sent, = server.runs.values()
        assert "killed" == sent.summary["_ablate/state"]
        assert expected(folder) == by_step(history(sent))
        assert 0 == run(folder)[0]
        assert "1 of 1 files were uploaded.\n" == sync(folder, **more).stdout
        check_sent(server, folder)


def test_nothing_tracked_is_nothing_to_upload(tmp_path):
    """One sentence says so, and nothing has failed."""
    (tmp_path / "trial.json").write_text("{}")
    done = sync(tmp_path)
    assert (0, f"Nothing to upload: {tmp_path} has no offline run that was not uploaded before.\n"
            ) == (done.returncode, done.stdout)


def test_a_trial_in_the_making_is_not_synced(mirrored):
    """A file that a mirror still writes would be taken for whole; it waits until that is over."""
    assert 1 == len(pending_files(str(mirrored)))
    with open(mirrored / "wandb" / "mirror-train.log") as log:  # noqa: PTH123
        fcntl.flock(log, fcntl.LOCK_EX)
        assert [] == pending_files(str(mirrored))


def test_a_folder_without_trials_is_refused(tmp_path):
    """The message says what is missing where."""
    done = sync(tmp_path)
    assert 2 == done.returncode
    assert done.stderr == (f"deepmac-ablate: There is neither a trial nor a sweep in {tmp_path}: "
                           "trial.json and trials/ are missing.\n")


@pytest.mark.slow
@pytest.mark.usefixtures("clean_tensorflow")
@pytest.mark.extended
def test_a_real_trial_is_mirrored(tiny_recipe, tmp_path, monkeypatch, capfd):
    """The command line tracks a trial whose pictures, numbers and bindings are then in the file."""
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
