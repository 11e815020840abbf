"""Atomic files and folders on disk."""

from __future__ import annotations

import pytest
from etils import epath

from deepmac_ablate.errors import UserError
from deepmac_ablate.storage import file_io


def test_bytes_are_written_as_they_are(tmp_path):
    """Text is written as UTF-8."""
    for content, stored in ((b"\x00\xff", b"\x00\xff"), ("\u00e9", b"\xc3\xa9")):
        file_io.write(epath.Path(tmp_path / "file"), content)
        assert stored == (tmp_path / "file").read_bytes()
    assert ["file"] == [path.name for path in tmp_path.iterdir()]


def test_a_folder_gets_its_name_when_it_is_full(tmp_path):
    """A folder appears only when it is complete, and no temporary folder remains."""
    with file_io.atomic_folder(epath.Path(tmp_path / "deep" / "full")) as unfinished:
        (unfinished / "file").write_text("x")
        assert not (tmp_path / "deep" / "full").exists()
    assert ["deep", "deep/full", "deep/full/file"] == sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_that_fails_is_not_there(tmp_path, error):
    """A failure leaves neither the folder nor a temporary one."""
    def fill():
        with file_io.atomic_folder(epath.Path(tmp_path / "full")) as unfinished:
            (unfinished / "file").write_text("x")
            raise error

    with pytest.raises(error):
        fill()
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_not_replaced(tmp_path):
    """An existing folder is not replaced, even if it appeared in the meantime."""
    def fill(name):
        with file_io.atomic_folder(epath.Path(tmp_path / name)) as unfinished:
            (unfinished / "file").write_text("ours")
            (tmp_path / "late").mkdir(exist_ok=True)
            (tmp_path / "late" / "file").write_text("theirs")

    (tmp_path / "early").mkdir()
    for name in ("early", "late"):
        with pytest.raises(UserError, match=f".*/{name} already exists; "):
            fill(name)
    assert "theirs" == (tmp_path / "late" / "file").read_text()
    assert {"early", "late"} == {path.name for path in tmp_path.iterdir()}
