"""The git checkout that the code runs from: its commit and the uncommitted changes.

Nothing here writes to the checkout, not even to git's index.
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
from deepmac_ablate.safe_text import Redactor, secret_values
from deepmac_ablate.trial.code_fingerprint import ROOT

# Untracked files with these endings count as source; others may be data, or keys.
_SOURCES = (
    ".cfg", ".gin", ".ipynb", ".md", ".py", ".sh", ".toml", ".yaml", ".yml", "Makefile")
_MAX_BYTES = 2**20
_MAX_NAMES = 20
_TIMEOUT_SECONDS = 60.0

# A container image has no checkout: this variable holds the output of `git describe --always
# --dirty --abbrev=40 --exclude '*'` when it was built.
_BUILT_FROM = "DEEPMAC_ABLATE_COMMIT"

# Variables that would point git to another checkout, as in a hook.
_MISLEADING = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")


class GitState(NamedTuple):
    """The state of a checkout.

    Attributes:
        commit: The commit as 40 hexadecimal digits.
        branch: The name of the branch; None if no branch is checked out.
        dirty: Whether tracked files differ from the commit, or there are untracked sources.
    """

    commit: str
    branch: str | None
    dirty: bool


def git_state(root: Path = ROOT) -> GitState | None:
    """Return the state of the checkout that contains a folder.

    Args:
        root: The folder. A checkout around it counts only if it tracks files in it, unlike the
            checkout of a project that has this package in its virtual environment.

    Returns:
        The state; in a container image, that of the checkout that it was built from. None if there
        is no checkout, no commit or no git, or if git fails, which must not stop a trial.
    """
    try:
        top = _top(root)
        if top is None:
            return _parse_description(os.environ.get(_BUILT_FROM, ""))
        head = _git(top, "symbolic-ref", "--short", "HEAD")
        status = _checked(top, "status", "--porcelain", "--untracked-files=no")
        return GitState(
            commit=_checked(top, "rev-parse", "HEAD").decode().strip(),
            branch=head.stdout.decode().strip() if head.returncode == 0 else None,
            dirty=bool(status or _untracked(top)[0]))
    except UserError:
        return None


def uncommitted_changes(root: Path = ROOT) -> bytes:
    """Return the differences from the commit as a patch for ``git apply``.

    The patch covers tracked files and untracked sources that git does not ignore. Left out, and
    named in lines before the first difference, are binary files, differences and new files of more
    than 1 MiB, new files that are not sources, and files with keys in lines that are not new.
    Secrets in new lines are redacted, and these files are named, too.

    Args:
        root: A folder in the checkout, as for `git_state`.

    Returns:
        The patch as bytes, as files may differ in encoding; empty without changes or outside a
        checkout.

    Raises:
        UserError: If git fails, such as for a file that cannot be read.
    """
    top = _top(root)
    if top is None:
        return b""
    new, left_out = _untracked(top)
    with tempfile.TemporaryDirectory() as folder:
        # Git includes new files in a diff once an index names them; a copy of the index does.
        # New objects are written beside that copy, too.
        index, objects = (_git_path(top, name) for name in ("index", "objects"))
        if index.exists():
            # The copy keeps its time stamp, by which git notices files that changed at the moment
            # they were staged.
            shutil.copy2(index, f"{folder}/index")
        separate_index = {
            "GIT_INDEX_FILE": f"{folder}/index", "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)}
        _checked(
            top, "--literal-pathspecs", "add", "--intent-to-add", "--pathspec-from-file=-",
            "--pathspec-file-nul", env=separate_index, given=b"\0".join(new))
        patch = _checked(
            top, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index",
            "--no-renames", "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/", "HEAD",
            env=separate_index)
    # No line of a file's content starts like this: each has a sign or a space before it.
    parts = filter(None, re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE))
    kept, redacted = [], []
    redactor = Redactor(secret_values(os.environ))
    for part in parts:
        header = part.partition(b"\n")[0]
        if re.search(rb"^Binary files ", part, flags=re.MULTILINE):
            left_out.append(header + b" (binary)")
        elif len(part) > _MAX_BYTES:
            left_out.append(header + b" (large)")
        elif (clean := _redact_difference(part, redactor)) is None:
            left_out.append(header + b" (holds a key)")
        else:
            kept.append(clean)
            if clean != part:
                redacted.append(header)
    notes = _note_lines(b"Left out", left_out) + _note_lines(b"Redacted", redacted)
    return notes + b"".join(kept) if patch else b""


def _redact_difference(part: bytes, redactor: Redactor) -> bytes | None:
    """Return the difference of a file without secrets in new lines; None if others hold keys.

    The others must be those of the commit for the patch to apply.
    """
    if b"PRIVATE KEY-----" in part:
        return None
    is_code = part.partition(b"\n")[0].rstrip(b'"').endswith((b".py", b".ipynb"))
    head, *hunks = re.split(rb"^(?=@@ )", part, flags=re.MULTILINE)
    lines = []
    for line in b"".join(hunks).splitlines(keepends=True):
        sign, content = line[:1], line[1:]
        if sign == b"+":
            content = redactor.redact(content, is_code=is_code)
        elif redactor.holds_key(content):
            return None
        lines.append(sign + content)
    return head + b"".join(lines)


def _parse_description(described: str) -> GitState | None:
    """Parse a commit with an optional suffix "-dirty"; return None for anything else."""
    match = re.fullmatch(r"([0-9a-f]{40})(-dirty)?", described)
    return GitState(match[1], None, match[2] is not None) if match else None


def _note_lines(what: bytes, names: Sequence[bytes]) -> bytes:
    """Return lines that name files; git skips any text before the first difference."""
    # Escaped, as a name may contain a line break.
    lines = [b"# %s: %s" % (what, ascii(os.fsdecode(name)).strip("'\"").encode())
             for name in names[:_MAX_NAMES]]
    if len(names) > _MAX_NAMES:
        lines.append(b"# %s: %d more" % (what, len(names) - _MAX_NAMES))
    return b"".join(line + b"\n" for line in lines)


def _untracked(top: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the untracked files that are sources, and all others, without ignored files."""
    listed = _checked(top, "ls-files", "--others", "--exclude-standard", "-z")
    sources, others = [], []
    for name in filter(None, listed.split(b"\0")):
        path = top / os.fsdecode(name)
        if not path.name.endswith(_SOURCES):
            others.append(name + b" (new, not a source)")
        elif path.lstat().st_size > _MAX_BYTES:
            others.append(name + b" (new, large)")
        else:
            sources.append(name)
    return sources, others


def _top(root: Path) -> Path | None:
    """Return the root of the checkout if it has a commit and tracks files in `root`."""
    try:
        has_commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD").returncode == 0
    except OSError:
        # Git or the folder does not exist.
        return None
    if not has_commit or not _checked(root, "ls-files", "--", "."):
        return None
    return Path(os.fsdecode(_checked(root, "rev-parse", "--show-toplevel")).removesuffix("\n"))


def _git_path(top: Path, name: str) -> Path:
    """Return the path of one of git's own files, which for a worktree is elsewhere."""
    return top / os.fsdecode(_checked(top, "rev-parse", "--git-path", name)).removesuffix("\n")


def _checked(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, given: bytes = b""
) -> bytes:
    """Run git and return its output, or raise a UserError if it fails."""
    done = _git(folder, *arguments, env=env, given=given)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise UserError(
            f"git failed in {folder}: {reason[-1]} (git {' '.join(arguments)}).")
    return done.stdout


def _git(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    # Without optional locks, git does not refresh the index.
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(env or {})}
    # The checkout may belong to another user, as in a container; its code is running already.
    command = ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command, env=environment, input=given, capture_output=True, timeout=_TIMEOUT_SECONDS,
            check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"git did not answer within {_TIMEOUT_SECONDS:.0f} s in {folder}.") from error
