"""Provenance: the fingerprint of the code, and the checkout from which it can be restored."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepmac_ablate.errors import UserError
from deepmac_ablate.trial import code_fingerprint, git_state, provenance

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("tensorflow", "tf-models-official", "gin-config", "numpy")


def git(folder, *arguments):
    """Run git without the user's settings and return its output."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "A"), ("EMAIL", "a@b.c"))}}
    return subprocess.run(
        ["git", "-C", folder, *arguments], env=environment, check=True, capture_output=True,
    ).stdout.decode().strip()


@pytest.fixture
def repository(tmp_path):
    """A throw-away repository with a few files of all kinds and one commit."""
    folder = tmp_path / "repository"
    (folder / "package").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "topic")
    (folder / ".gitignore").write_text("ignored.py\nruns/\n")
    (folder / "package/a.py").write_text("A = 1\n")
    (folder / "package/b.py").write_text("B = 1\ndiff --git a/x b/x\nBinary files differ\n")
    (folder / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nNAME = '\xe4'\r\n")
    (folder / "run.sh").write_text("true\n")
    (folder / "picture.png").write_bytes(b"\x89PNG\0\0")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "First")
    return folder


def tree(folder):
    """All files below a folder but git's, with their content and whether they can be run."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts}


def everything(folder):
    """All files below a folder, git's included, with content and time of the last change."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*") if path.is_file()}


def change(folder):
    """Changes a repository in all ways that sources are changed."""
    (folder / "package/a.py").write_text("A = 2\n")
    (folder / "package/b.py").unlink()
    (folder / "latin.py").write_bytes(b"# -*- coding: latin-1 -*-\nNAME = '\xf6'\r\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "staged.gin").write_text("Training.steps = 5\n")
    git(folder, "add", "staged.gin")
    (folder / "staged.gin").write_text("Training.steps = 6\n")
    (folder / "new folder").mkdir()
    (folder / "new folder/höhe.py").write_text("C = 1")
    (folder / ":(x)*.py").write_text("D = 1\n")
    (folder / "empty.py").write_text("")


def test_the_patch_restores_the_code(repository, tmp_path):
    """Applied to a clean clone, it restores the tree, including new and deleted sources."""
    change(repository)
    (repository / "ignored.py").write_text("KEY = 'marker-ignored'\n")

    provenance.write_provenance(tmp_path / "launch", root=repository)

    record = json.loads((tmp_path / "launch/provenance.json").read_text())
    git(tmp_path, "clone", "--quiet", "repository", "clone")
    git(tmp_path / "clone", "checkout", "--quiet", record["commit"])
    git(tmp_path / "clone", "apply", str(tmp_path / "launch/changes.patch"))
    (repository / "ignored.py").unlink()
    assert tree(repository) == tree(tmp_path / "clone")
    assert b"marker-ignored" not in (tmp_path / "launch/changes.patch").read_bytes()


def test_files_that_are_not_sources_are_left_out_and_named(repository, tmp_path):
    """Binary files, large files and new files that are not sources are named; the rest applies."""
    (repository / "package/a.py").write_text("A = 2\n")
    (repository / "picture.png").write_bytes(b"\x89PNG\0\1")
    (repository / "compiled.py").write_bytes(b"\0\1\2")
    (repository / "table.md").write_text("x" * (2**20 + 1))
    (repository / "latin.py").write_text("y = 1\n" * 2**18)
    (repository / "my_api_key.txt").write_text("marker")

    patch = git_state.uncommitted_changes(repository)

    named, _, rest = patch.partition(b"diff --git")
    assert {
        b"# Left out: my_api_key.txt (new, not a source)",
        b"# Left out: table.md (new, large)",
        b"# Left out: diff --git a/picture.png b/picture.png (binary)",
        b"# Left out: diff --git a/compiled.py b/compiled.py (binary)",
        b"# Left out: diff --git a/latin.py b/latin.py (large)",
    } == {line for line in patch.splitlines() if line.startswith(b"# Left out")}
    assert named
    assert b"marker" not in patch
    assert 1 == rest.count(b"+++ ")
    git(tmp_path, "clone", "--quiet", "repository", "clone")
    (tmp_path / "patch").write_bytes(patch)
    git(tmp_path / "clone", "apply", str(tmp_path / "patch"))
    assert "A = 2\n" == (tmp_path / "clone/package/a.py").read_text()


def test_secrets_of_new_lines_are_redacted(repository, tmp_path, monkeypatch):
    """Also those of this machine's variables; the patch applies, and the files are named."""
    monkeypatch.setenv("WANDB_API_KEY", "marker-of-this-machine")
    (repository / "package/a.py").write_text(
        "A = 2\nURL = 'https://me:marker@host'\nlog(password=A, key='marker-of-this-machine')\n")
    (repository / "run.sh").write_text("export DB_PASS=marker\ntrain --token marker\n")

    patch = git_state.uncommitted_changes(repository)

    assert b"marker" not in patch
    assert [b"# Redacted: diff --git a/package/a.py b/package/a.py",
            b"# Redacted: diff --git a/run.sh b/run.sh"] == patch.splitlines()[:2]
    git(tmp_path, "clone", "--quiet", "repository", "clone")
    (tmp_path / "patch").write_bytes(patch)
    git(tmp_path / "clone", "apply", str(tmp_path / "patch"))
    assert "A = 2\nURL = 'https://***@host'\nlog(password=A, key='***')\n" == (
        tmp_path / "clone/package/a.py").read_text()
    assert "export DB_PASS=***\ntrain --token ***\n" == (tmp_path / "clone/run.sh").read_text()


def test_files_with_keys_in_old_lines_are_left_out(repository):
    """Without these lines, the patch would not apply."""
    key = "ghp_" + "marker0" * 5
    (repository / "package/a.py").write_text(f"A = 1\nKEY = '{key}'\n")
    git(repository, "commit", "--quiet", "--all", "--message", "a key")
    (repository / "package/a.py").write_text(f"A = 2\nKEY = '{key}'\n")
    (repository / "key.py").write_text("-----BEGIN PRIVATE KEY-----\nmarker\n")
    patch = git_state.uncommitted_changes(repository)
    assert b"marker" not in patch
    assert [b"# Left out: diff --git a/key.py b/key.py (holds a key)",
            b"# Left out: diff --git a/package/a.py b/package/a.py (holds a key)"
            ] == sorted(patch.splitlines())


def test_many_left_out_files_are_counted(repository):
    """After twenty names, the others are counted."""
    (repository / "package/a.py").write_text("A = 2\n")
    for number in range(25):
        (repository / f"{number}.jpg").write_bytes(b"\0")
    lines = git_state.uncommitted_changes(repository).splitlines()
    assert 21 == sum(line.startswith(b"# Left out: ") for line in lines)
    assert b"# Left out: 5 more" == lines[20]


def test_asking_for_the_changes_changes_nothing(repository):
    """Neither the tree nor git's index and objects change."""
    change(repository)
    # An index that git would bring up to date, were it allowed to.
    os.utime(repository / "package/a.py", (1, 1))
    before = everything(repository)
    assert git_state.uncommitted_changes(repository)
    assert git_state.git_state(repository).dirty
    assert before == everything(repository)


def test_a_file_changed_in_the_moment_it_was_staged_is_seen(repository):
    """A change that keeps size and time is detected by the time of git's index."""
    git(repository, "config", "core.trustctime", "false")
    file, index = repository / "staged.gin", repository / ".git/index"
    # Long ago: within the present second git would look into the file anyway.
    moment = time.time_ns() - 10**11
    file.write_text("Training.steps = 5\n")
    os.utime(file, ns=(moment, moment))
    git(repository, "add", "staged.gin")
    file.write_text("Training.steps = 6\n")
    for path in (file, index):
        os.utime(path, ns=(moment, moment))
    patch = git_state.uncommitted_changes(repository)
    assert b"\n+Training.steps = 6\n" in patch
    # What the header says of the content is true as well.
    assert f"..{git(repository, 'hash-object', 'staged.gin')}\n".encode() in patch


def test_settings_of_the_user_do_not_change_the_patch(repository, monkeypatch):
    """The user's colours, prefixes and diff programs have no effect."""
    change(repository)
    expected = git_state.uncommitted_changes(repository)
    settings = {
        "color.ui": "always", "diff.noprefix": "true", "diff.mnemonicPrefix": "true",
        "diff.external": "/bin/false", "diff.renames": "copies"}
    for name, value in settings.items():
        git(repository, "config", name, value)
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    assert expected == git_state.uncommitted_changes(repository)


def test_the_state_is_what_git_says(repository):
    """It has commit, branch and dirty flag; a new file counts if it is a source."""
    commit = git(repository, "rev-parse", "HEAD")
    assert (commit, "topic", False) == git_state.git_state(repository)
    assert (commit, "topic", False) == git_state.git_state(repository / "package")
    assert b"" == git_state.uncommitted_changes(repository)
    (repository / "notes.txt").write_text("")
    assert not git_state.git_state(repository).dirty
    assert b"" == git_state.uncommitted_changes(repository)
    (repository / "new.py").write_text("")
    assert git_state.git_state(repository).dirty
    (repository / "new.py").unlink()
    git(repository, "checkout", "--quiet", "--detach")
    (repository / "run.sh").chmod(0o755)
    assert (commit, None, True) == git_state.git_state(repository)


def test_a_worktree_has_a_state_and_changes_of_its_own(repository, tmp_path):
    """The worktree's own index is used, which lies outside its folder."""
    git(repository, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "worktree"))
    (tmp_path / "worktree/new.py").write_text("N = 1\n")
    assert "other" == git_state.git_state(tmp_path / "worktree").branch
    assert b"+N = 1" in git_state.uncommitted_changes(tmp_path / "worktree")
    assert b"" == git_state.uncommitted_changes(repository)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_the_checkout_may_belong_to_another_user(repository):
    """The owner may be another user, as for a mounted checkout."""
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    assert "topic" == git_state.git_state(repository).branch


def test_there_may_be_no_checkout(repository, tmp_path, monkeypatch):
    """There is no state without git, repository, commit or tracked files."""
    (tmp_path / "plain").mkdir()
    assert git_state.git_state(tmp_path / "plain") is None
    assert git_state.git_state(tmp_path / "missing") is None
    installed = repository / "venv/site-packages"
    installed.mkdir(parents=True)
    (installed / "package.py").write_text("")
    assert git_state.git_state(installed) is None
    assert b"" == git_state.uncommitted_changes(installed)
    git(tmp_path, "init", "--quiet", "without_commit")
    (tmp_path / "without_commit/a.py").write_text("")
    git(tmp_path / "without_commit", "add", "a.py")
    assert git_state.git_state(tmp_path / "without_commit") is None

    provenance.write_provenance(tmp_path / "launch", root=tmp_path / "plain")
    record = json.loads((tmp_path / "launch/provenance.json").read_text())
    assert (None, None, None) == (record["commit"], record["branch"], record["dirty"])
    assert ["provenance.json"] == [path.name for path in (tmp_path / "launch").iterdir()]

    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state.git_state(repository) is None
    assert b"" == git_state.uncommitted_changes(repository)


@pytest.mark.parametrize(
    ("described", "state"),
    [("1" * 40, ("1" * 40, None, False)), ("a" * 40 + "-dirty", ("a" * 40, None, True)),
     ("", None), ("1234567", None), ("1" * 40 + "-7-gabc", None)])
def test_an_image_says_what_it_was_built_from(
        repository, tmp_path, monkeypatch, described, state):
    """A variable gives the state where there is no checkout, and only there."""
    monkeypatch.setenv("DEEPMAC_ABLATE_COMMIT", described)
    (tmp_path / "plain").mkdir()
    assert state == git_state.git_state(tmp_path / "plain")
    assert git(repository, "rev-parse", "HEAD") == git_state.git_state(repository).commit
    assert b"" == git_state.uncommitted_changes(tmp_path / "plain")


def test_git_describes_what_an_image_is_built_from(repository, tmp_path, monkeypatch):
    """The output of git describe can be parsed, with a tag on the commit and with changes."""
    git(repository, "tag", "v1")
    commit = git(repository, "rev-parse", "HEAD")
    (tmp_path / "plain").mkdir()
    for dirty in (False, True):
        described = git(
            repository, "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*")
        monkeypatch.setenv("DEEPMAC_ABLATE_COMMIT", described)
        assert (commit, None, dirty) == git_state.git_state(tmp_path / "plain")
        (repository / "package/a.py").write_text("A = 3\n")


def test_a_failure_of_git_stops_a_launch_but_no_trial(repository, tmp_path):
    """With a broken index a trial has no state, and a launch is refused."""
    (repository / ".git/index").write_bytes(b"broken")
    assert git_state.git_state(repository) is None
    with pytest.raises(UserError, match=f"^git failed in {repository}: fatal: "):
        provenance.write_provenance(tmp_path / "launch", root=repository)
    assert not (tmp_path / "launch").exists()


def test_git_that_hangs_is_given_up(repository, tmp_path, monkeypatch):
    """The trial continues without a state; the launch names the timeout."""
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nsleep 5\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git_state, "_TIMEOUT_SECONDS", 0.1)
    assert git_state.git_state(repository) is None
    with pytest.raises(UserError, match=f"^git did not answer within 0 s in {repository}.$"):
        git_state.uncommitted_changes(repository)


def test_a_record_says_what_a_reader_needs(repository, tmp_path):
    """It holds commit, code, versions, machine, time, and the command line without secrets."""
    started = time.time()
    code = (
        "import sys; from pathlib import Path; from deepmac_ablate.trial import provenance; "
        "provenance.write_provenance(sys.argv[1], root=Path(sys.argv[2]))")
    subprocess.run(
        [sys.executable, "-c", code, tmp_path / "launch", repository, "--api_key", "marker",
         "WANDB_API_KEY=marker", "STEPS = 5"], cwd=ROOT, check=True)
    text = (tmp_path / "launch/provenance.json").read_text()
    record = json.loads(text)
    assert "marker" not in text
    assert ["--api_key", "***", "WANDB_API_KEY=***", "STEPS = 5"] == record["command"][-4:]
    assert git(repository, "rev-parse", "HEAD") == record["commit"]
    assert ("topic", False) == (record["branch"], record["dirty"])
    assert provenance.code_fingerprint() == record["code"]
    assert socket.gethostname() == record["host"]
    assert started <= record["time"] <= time.time()
    # As pip knows them.
    for name in LIBRARIES:
        assert code_fingerprint.metadata.version(name) == record["versions"][name]
    assert sys.version.split()[0] == record["versions"]["python"]
    locked = subprocess.run(
        ["sha256sum", ROOT / "requirements.lock"], capture_output=True, text=True, check=True)
    assert locked.stdout[:12] == record["lock"] == provenance.lock_hash()


def test_a_record_that_cannot_be_written_is_named(repository, tmp_path):
    """A file in place of the folder is named in one sentence."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=f"^Cannot write provenance.json to {tmp_path}/taken: "):
        provenance.write_provenance(tmp_path / "taken", root=repository)


def start(code, mode="train_and_eval", step=0):
    """A line of attempts.jsonl, as far as it matters here, of a trial of 100 steps."""
    return {"code": code, "mode": mode, "step": step, "steps": 100, "modules": []}


@pytest.mark.parametrize(
    ("attempts", "state"),
    [
        ([], ""),
        ([start("now")], ""),
        ([start("old")], "other code"),
        ([start("old"), start("now", step=40)], "mixed code"),
        ([start("old"), start("older", step=40)], "mixed code"),
        # Nothing of the first is left: it had no checkpoint.
        ([start("old"), start("now")], ""),
        ([start("old"), start("older", step=40), start("now", step=0)], ""),
        ([start("now"), start("old", step=40), start("now", step=40)], ""),
        # Trained by the one, evaluated by the other.
        ([start("now", "train"), start("old", "eval", 100)], "mixed code"),
        ([start("now", "train"), start("old", "eval", 100), start("now", "eval", 100)], ""),
        ([start("now"), start("old", step=100)], "mixed code"),
        ([start("now", "train"), start("old", "continuous_eval"), start("now", "train", 40),
          start("now", "continuous_eval", 40)], ""),
        # It had nothing to do.
        ([start("now", "train"), start("old", "train", 100)], ""),
    ],
)
def test_tables_know_trials_of_other_code(attempts, state):
    """An attempt counts as long as some of its work is in use."""
    assert state == provenance.code_state(attempts, "now")
