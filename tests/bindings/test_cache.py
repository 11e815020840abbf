"""Gin files are read once per process, and again when they or their includes change."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepmac_ablate.bindings import explicit_bindings, gin_files, read
from deepmac_ablate.bindings.text import merge
from deepmac_ablate.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(gin_files, "ROOT", tmp_path / "root")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    (tmp_path / "base.gin").write_text("A.x = 1\n")
    (tmp_path / "inner" / "top.gin").write_text("include 'base.gin'\nA.y = 2\n")
    return tmp_path


def bound(*files, given=()):
    return [str(binding) for binding in read(files, given).bindings]


def test_unchanged_files_are_opened_once(folder, monkeypatch):
    """A thousand arms of two files open each once, whatever else is bound."""
    opened = []
    original = Path.read_text

    def noting(path, *args, **kwargs):
        opened.append(path.name)
        return original(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", noting)
    found = {tuple(bound("inner/top.gin", given=[f"A.y = {i}"])) for i in range(1000)}
    assert ["base.gin", "top.gin"] == sorted(opened)
    assert 1000 == len(found)


def test_a_changed_file_is_read_again(folder):
    """The file itself, one that it includes, and one that is replaced by another."""
    assert ["A.x = 1", "A.y = 2"] == bound("inner/top.gin")
    (folder / "inner/top.gin").write_text("include 'base.gin'\nA.y = 30\n")
    assert ["A.x = 1", "A.y = 30"] == bound("inner/top.gin")
    (folder / "base.gin").write_text("A.x = 10\n")
    assert ["A.x = 10", "A.y = 30"] == bound("inner/top.gin")
    (folder / "other.gin").write_text("A.x = 11\n")
    (folder / "other.gin").replace(folder / "base.gin")
    assert ["A.x = 11", "A.y = 30"] == bound("inner/top.gin")
    (folder / "base.gin").unlink()
    with pytest.raises(UserError, match=r"^inner/top\.gin:1: there is no gin file 'base\.gin'"):
        bound("inner/top.gin")


def test_a_nearer_file_that_appears_is_read_instead(folder):
    """An include is searched beside its file first, even if another file was read before."""
    assert ["A.x = 1", "A.y = 2"] == bound("inner/top.gin")
    (folder / "inner/base.gin").write_text("A.x = 5\n")
    assert ["A.x = 5", "A.y = 2"] == bound("inner/top.gin")


def test_places_are_shown_from_where_one_is(folder, monkeypatch):
    """Names of files are relative to the current working directory, even if read before."""
    path = str(folder / "inner/top.gin")
    assert ["base.gin:1", "inner/top.gin:2"] == [b.where for b in read([path], []).bindings]
    monkeypatch.chdir(folder / "inner")
    (folder / "inner/base.gin").write_text("A.x = 5\n")
    assert ["base.gin:1", "top.gin:2"] == [b.where for b in read([path], []).bindings]


def test_the_same_binding_twice_is_two_bindings(folder):
    """The later one wins, so the earlier one can be reported to have no effect."""
    first, last = read([], ["A.x = 1", "A.x = 1"]).bindings
    assert first == last
    assert first is not last
    assert merge([first, last])["A.x"] is last
    first, *_, last = read(["base.gin", "base.gin"], []).bindings
    assert first is not last


def test_one_read_leaves_no_trace_in_the_next(folder):
    """Macros are expanded anew for every arm."""
    given = ["Training.a = [%M, 1]", "M = 1"]
    assert {"Training.a": "[1, 1]"} == explicit_bindings(read([], given).bindings)
    assert {"Training.a": "[2, 1]"} == explicit_bindings(read([], [*given, "M = 2"]).bindings)
    assert {"Training.a": "[1, 1]"} == explicit_bindings(read([], given).bindings)
