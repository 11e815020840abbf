"""`deepmac-ablate rm` and `archive`, and other commands after them."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from etils import epath

from deepmac_ablate import cli, results
from deepmac_ablate.commands.free_space import size_text
from deepmac_ablate.launch.supervision import attempt, locks
from tests.helpers import launching, result_workdirs

RECORDED = Path(__file__).parents[1] / "golden/sweeps/recorded_b"
HOURGLASS = ["417e7eee90f7", "f01ceff80cfe", "50e8613cac5c"]


@pytest.fixture
def workdir(tmp_path):
    """A recorded sweep, of which one trial has a checkpoint of 5 MB."""
    shutil.copytree(RECORDED, tmp_path / "w")
    checkpoints = tmp_path / "w/trials" / HOURGLASS[0] / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "ckpt-1").write_bytes(bytes(5_000_000))
    return tmp_path / "w"


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def trials(workdir) -> set[str]:
    return {path.name for path in (workdir / "trials").iterdir()}


def test_an_arm_is_deleted_and_missing_then(workdir, capsys):
    """The command names trials and bytes; status and table show the trials as missing."""
    freed = sum(size(workdir / "trials" / trial) for trial in HOURGLASS)
    status, out, err = run(capsys, "rm", workdir, "hourglass20", "--yes")
    assert (0, "") == (status, err)
    assert f"{HOURGLASS[0]}  hourglass20, seed 0  finished  5.1 MB\n" in out
    files = 1 + sum(
        path.is_file() for trial in HOURGLASS for path in (RECORDED / "trials" / trial).rglob("*"))
    assert f"Deleted 3 trials ({files} files, {size_text(freed)}). Launch the sweep" in out
    assert not trials(workdir) & {*HOURGLASS, ".removed"}
    assert "3 finished, 0 failed, 0 interrupted, 3 missing" in run(capsys, "status", workdir)[1]
    assert "0/3, 3 missing" in run(capsys, "table", workdir)[1]
    assert "Nothing to delete" in run(capsys, "rm", workdir, "hourglass20", "--yes")[1]


@pytest.mark.slow
def test_a_launch_runs_deleted_trials_again(tmp_path, capsys):
    """Only those, from their first step."""
    plan = launching.plan((), ())
    launching.launch(plan, tmp_path)
    before = (tmp_path / "trials/t1/result.json").stat().st_mtime_ns
    assert 0 == run(capsys, "rm", tmp_path, "t0", "--yes")[0]
    assert {"t0": "new", "t1": "finished"} == launching.statuses(plan, tmp_path)
    launching.launch(plan, tmp_path)
    assert {"t0": "finished", "t1": "finished"} == launching.statuses(plan, tmp_path)
    assert before == (tmp_path / "trials/t1/result.json").stat().st_mtime_ns
    assert 1 == attempt.read_attempt(tmp_path / "trials/t0", "train").number


@pytest.mark.parametrize("at", ["rename", "rmtree"])
def test_a_kill_leaves_whole_trials_or_none(workdir, capsys, monkeypatch, at):
    """Other commands go on, and deleting again deletes the rest."""
    calls = []

    def die(*_, **__):
        calls.append(1)
        if at == "rmtree" or len(calls) > 1:
            raise KeyboardInterrupt
        return rename(*_, **__)

    rename = Path.rename
    with monkeypatch.context() as patched:
        patched.setattr(*((shutil, "rmtree") if at == "rmtree" else (Path, "rename")), die)
        with pytest.raises(KeyboardInterrupt):
            run(capsys, "rm", workdir, "hourglass20", "--yes")
    left = {"rename": 2, "rmtree": 0}[at]
    assert f"{3 + left} finished, 0 failed, 0 interrupted, {3 - left} missing" in run(
        capsys, "status", workdir)[1]
    assert 3 + left == (results.load(workdir)["status"] == "finished").sum()
    assert 0 == run(capsys, "rm", workdir, "hourglass20", "--yes")[0]
    assert 3 == len(trials(workdir))


def test_a_terminal_is_asked(workdir, capsys, monkeypatch):
    """Anything but yes deletes nothing; without a terminal --yes is required."""
    status, _, err = run(capsys, "rm", workdir, HOURGLASS[1])
    assert 2 == status
    assert "Pass --yes, as there is no terminal to answer on." in err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    asked = []
    for answer, left in (("", 6), ("no", 6), ("y", 5)):
        monkeypatch.setattr(
            "builtins.input", lambda text, answer=answer: asked.append(text) or answer)
        assert 0 == run(capsys, "rm", workdir, HOURGLASS[1][:4])[0]
        assert left == len(trials(workdir))
    found = size(RECORDED / "trials" / HOURGLASS[1])
    assert f"Delete 1 trial (10 files, {size_text(found)})? [y/N] " == asked[0]


def test_running_trials_are_refused(tmp_path, capsys):
    """A trial that has just been started is kept, and so is all while a launcher runs."""
    plan = result_workdirs.plan({"a": {}, "b": {}})
    workdir = result_workdirs.write(tmp_path / "w", plan)
    result_workdirs.start(workdir, plan, "a-0")
    result_workdirs.finish(workdir, plan, "b-0", {})
    status, _, err = run(capsys, "rm", workdir.path, "a", "b", "--yes")
    assert 2 == status
    assert "a-0 (a, seed 0) is running; run 'deepmac-ablate stop " in err
    assert {"a-0", "b-0"} == trials(workdir.path)
    with locks.acquire(workdir.lock, locks.describe_this_process("a launcher")):
        status, _, err = run(capsys, "rm", workdir.path, "b", "--yes")
    assert 2 == status
    assert "is in use by a launcher" in err
    with locks.acquire(
            workdir.folder("b-0") / ".train.lock", locks.describe_this_process("a supervisor")):
        status, _, err = run(capsys, "rm", workdir.path, "b", "--yes")
    assert "A process of trial b-0 is running" in err
    assert {"a-0", "b-0"} == trials(workdir.path)


def test_trials_of_an_earlier_launch_can_be_deleted(tmp_path, capsys):
    """Those that the plan does not have any more."""
    plan = result_workdirs.plan({"a": {}, "b": {}})
    workdir = result_workdirs.write(tmp_path / "w", plan)
    result_workdirs.finish(workdir, plan, "b-0", {})
    workdir.write_plan(plan._replace(trials=plan.trials[:1]))
    assert 0 == run(capsys, "rm", workdir.path, "b", "--yes")[0]
    assert ["a-0"] == list(results.load(workdir.path)["trial"])


@pytest.mark.usefixtures("object_store")
def test_trials_on_an_object_store_are_deleted(workdir, capsys):
    """All of their objects, and no others."""
    for path in workdir.rglob("*"):
        if path.is_file():
            remote = epath.Path("gs://bucket/w") / path.relative_to(workdir).as_posix()
            remote.write_bytes(path.read_bytes())
    status, out, _ = run(capsys, "rm", "gs://bucket/w", "hourglass20", "--yes")
    assert 0 == status
    assert "Deleted 3 trials (32 files, 5.2 MB)." in out
    assert {path.name for path in (RECORDED / "trials").iterdir()} - {*HOURGLASS} == {
        path.name for path in epath.Path("gs://bucket/w/trials").iterdir()}
    assert ["finished"] * 3 + ["new"] * 3 == list(results.load("gs://bucket/w")["status"])


@pytest.mark.parametrize(("arguments", "message"), [
    (["rm", "{w}", "hourglas20"], "No trial in {w} has the id or arm 'hourglas20'. Did you mean "
     "'hourglass20'? Arms are default, hourglass20."),
    (["rm", "{w}", "4"], "'4' is ambiguous; it begins the ids of 49303f135005 (default, seed 1), "),
    (["rm", "{w}/trials/417e7eee90f7", "x"], "is not the workdir of a sweep"),
    (["archive", "{w}", "--output", "/nowhere/a.tar.gz"], "Cannot write /nowhere/a.tar.gz: No su"),
    (["archive", "{w}", "--output", "gs://b/a.tar.gz"], "--output must be a file on a disk"),
    (["archive", "{w}", "--output", "{w}/plan.json"], "plan.json already exists"),
    (["archive", "{w}x"], "'{w}x' does not exist. Did you mean 'w'?"),
])
def test_mistakes_are_one_sentence(workdir, capsys, arguments, message):
    """The exit status is 2, and nothing changes."""
    before = trials(workdir)
    status, out, err = run(capsys, *(text.format(w=workdir) for text in arguments))
    assert (2, "") == (status, out)
    assert message.format(w=workdir) in err
    assert 1 == len(err.splitlines())
    assert before == trials(workdir)


@pytest.mark.slow
def test_an_unpacked_archive_has_the_same_results(workdir, tmp_path, capsys):
    """Without checkpoints and locks; table, compare and status print the same."""
    locks.acquire(workdir / "launcher.lock", {}).release()
    status, out, err = run(capsys, "archive", workdir)
    assert (0, "") == (status, err)
    packed = tmp_path / "w.tar.gz"
    files = sum(path.is_file() for path in RECORDED.rglob("*"))
    assert (
        f"{packed}: {files} files, {size_text(packed.stat().st_size)}, without 5.0 MB of "
        f"checkpoints. To unpack: tar -xzf {packed}\n") == out
    assert [packed] == [path for path in tmp_path.iterdir() if path.is_file()]
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "elsewhere", filter="data")
    unpacked = tmp_path / "elsewhere/w"
    for path in RECORDED.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (unpacked / path.relative_to(RECORDED)).read_bytes()
    for command in (
            ["table", "{}"], ["compare", "{}", "default", "hourglass20", "--resamples", "100"],
            ["rows", "{}", "--per", "object"], ["effects", "{}"], ["status", "{}"]):
        one, other = (
            run(capsys, *(word.format(place) for word in command)) for place in (workdir, unpacked))
        assert one == other
        assert 0 == one[0]
    assert "is an archive; unpack it (tar -xzf" in run(capsys, "table", packed)[2]


def test_a_failed_archive_leaves_nothing(workdir, tmp_path, capsys, monkeypatch):
    """So that the same command can be run again."""
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "addfile", fail)
        with pytest.raises(KeyboardInterrupt):
            run(capsys, "archive", workdir)
    assert [workdir] == list(tmp_path.iterdir())
    assert 0 == run(capsys, "archive", workdir)[0]


@pytest.mark.parametrize(("number", "text"), [
    (1, "1 byte"), (999, "999 bytes"), (1234, "1.2 kB"), (5_000_000, "5.0 MB"),
    (7_654_321_000_000, "7654.3 GB")])
def test_sizes_have_units(number, text):
    """Powers of 1000, as disks are sold."""
    assert text == size_text(number)
