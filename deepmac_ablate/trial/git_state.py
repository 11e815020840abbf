"""The git checkout that the code runs from: its commit, and what was changed since.

Nothing here writes into the checkout, not even git's index.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from deepmac_ablate.errors import UserError
from deepmac_ablate.trial.code_fingerprint import ROOT

# Of what git does not know yet, only this is taken to be source: other files may be data, or keys.
_SOURCES = (
    ".cfg", ".gin", ".ipynb", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", "Makefile")
_LARGEST = 2**20
_LEFT_OUT_SHOWN = 20
_SECONDS = 60.0

# An image has no checkout: what it was built from is what `git describe --always --dirty
# --abbrev=40 --exclude '*'` said then.
_BUILT_FROM = "DEEPMAC_ABLATE_COMMIT"

# They would point git at another checkout, as within a hook.
_MISLEADING = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


class GitState(NamedTuple):
    """Where a checkout is.

    Attributes:
        commit: 40 hexadecimal digits.
        branch: Its name; None on no branch.
        dirty: Whether tracked files differ from the commit, or there are sources git does not know.
    """

    commit: str
    branch: str | None
    dirty: bool


def git_state(root: Path = ROOT) -> GitState | None:
    """Return the state of the checkout that a folder lies in.

    Args:
        root: A folder. A checkout around it counts only if it tracks something in it: not that of a
            project in whose virtual environment this package is installed.

    Returns:
        That of the checkout that an image was built from, where this is one and it says so. None
        where there is no checkout, no commit or no git, or where git cannot tell: no trial has to
        wait for that.
    """
    try:
        top = _top(root)
        if top is None:
            return _built_from(os.environ.get(_BUILT_FROM, ""))
        head = _git(top, "symbolic-ref", "--short", "HEAD")
        status = _checked(top, "status", "--porcelain", "--untracked-files=no")
        return GitState(
            commit=_checked(top, "rev-parse", "HEAD").decode().strip(),
            branch=head.stdout.decode().strip() if head.returncode == 0 else None,
            dirty=bool(status or _untracked(top)[0]))
    except UserError:
        return None


def changes(root: Path = ROOT) -> bytes:
    """Return what differs from the commit, as a patch for ``git apply``.

    In it are all tracked files and those sources that git neither knows nor ignores. Left out, and
    named in lines before the first difference, are binary files, differences and new files of more
    than 1 MiB, and new files that are no source.

    Args:
        root: As that of `git_state`.

    Returns:
        The patch, as bytes, since files have encodings of their own; empty without changes or
        outside a checkout.

    Raises:
        UserError: If git cannot tell, such as for a file that cannot be read.
    """
    top = _top(root)
    if top is None:
        return b""
    new, left_out = _untracked(top)
    with tempfile.TemporaryDirectory() as folder:
        # Git shows new files once its index names them: a copy does. Objects go there as well.
        index, objects = (_git_path(top, name) for name in ("index", "objects"))
        if index.exists():
            # With its time, by which git tells that a file may have changed in the very moment in
            # which it was staged.
            shutil.copy2(index, f"{folder}/index")
        aside = {
            "GIT_INDEX_FILE": f"{folder}/index", "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)}
        _checked(
            top, "--literal-pathspecs", "add", "--intent-to-add", "--pathspec-from-file=-",
            "--pathspec-file-nul", env=aside, given=b"\0".join(new))
        patch = _checked(
            top, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index",
            "--no-renames", "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", "HEAD",
            env=aside)
    # No line of a file's content begins like this: each has a sign or a space before it.
    parts = filter(None, re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE))
    kept = []
    for part in parts:
        header = part.partition(b"\n")[0]
        if re.search(rb"^Binary files ", part, flags=re.MULTILINE):
            left_out.append(header + b" (binary)")
        elif len(part) > _LARGEST:
            left_out.append(header + b" (large)")
        else:
            kept.append(part)
    return _note(left_out) + b"".join(kept) if patch else b""


def _built_from(described: str) -> GitState | None:
    """Read a commit, maybe with "-dirty" behind it; None where there is none."""
    match = re.fullmatch(r"([0-9a-f]{40})(-dirty)?", described)
    return GitState(match[1], None, match[2] is not None) if match else None


def _note(left_out: Sequence[bytes]) -> bytes:
    """Return lines that name files; git skips what stands before the first difference."""
    # A name may hold a line break.
    lines = [b"# Left out: %s" % ascii(os.fsdecode(name)).strip("'\"").encode()
             for name in left_out[:_LEFT_OUT_SHOWN]]
    if len(left_out) > _LEFT_OUT_SHOWN:
        lines.append(b"# Left out: %d more" % (len(left_out) - _LEFT_OUT_SHOWN))
    return b"".join(line + b"\n" for line in lines)


def _untracked(top: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the new files that are sources, and all others, without what git ignores."""
    listed = _checked(top, "ls-files", "--others", "--exclude-standard", "-z")
    sources, others = [], []
    for name in filter(None, listed.split(b"\0")):
        path = top / os.fsdecode(name)
        if not path.name.endswith(_SOURCES):
            others.append(name + b" (new, no source)")
        elif path.lstat().st_size > _LARGEST:
            others.append(name + b" (new, large)")
        else:
            sources.append(name)
    return sources, others


def _top(root: Path) -> Path | None:
    """Return the checkout's own folder if it tracks something in `root` and has a commit."""
    try:
        has_commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD").returncode == 0
    except OSError:
        # There is no git, or no such folder.
        return None
    if not has_commit or not _checked(root, "ls-files", "--", "."):
        return None
    return Path(os.fsdecode(_checked(root, "rev-parse", "--show-toplevel")).removesuffix("\n"))


def _git_path(top: Path, name: str) -> Path:
    """Return where git has something of its own, which in a worktree is elsewhere."""
    return top / os.fsdecode(_checked(top, "rev-parse", "--git-path", name)).removesuffix("\n")


def _checked(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, given: bytes = b""
) -> bytes:
    done = _git(folder, *arguments, env=env, given=given)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(
            f"git cannot tell the state of {folder}: {reason[-1]} (git {' '.join(arguments)}).")
    return done.stdout


def _git(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    # Without optional locks it does not bring the index up to date.
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(env or {})}
    # The owner may be another user, as in a container; this very code is trusted already.
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, env=environment, input=given, capture_output=True, timeout=_SECONDS,
            check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"git has not answered for {_SECONDS:.0f} s in {folder}.") from error
