"""Image files are found by names that another system wrote."""

from __future__ import annotations

import unicodedata

import pytest

from deepmac_ablate.data.image_files import locate_images
from deepmac_ablate.errors import UserError


def _located(folder, on_disk, *names, by_url=()):
    images = folder / "images"
    for name in on_disk:
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    entries = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    return locate_images(entries, images, by_url)


def _form(form, name):
    return unicodedata.normalize(form, name)


@pytest.mark.parametrize(("on_disk", "written", "difference"), [
    ("a/1.png", "a/1.png", None),
    ("a/1.png", "./a//1.png", None),
    ("a\\1.png", "a\\1.png", None),
    ("a/1.png", "a\\1.png", "backslashes"),
    ("a/1.png", "images/a/1.png", "begin with the images folder"),
    ("a/1.png", "/home/me/images/a/1.png", "begin with the images folder"),
    ("a/1.png", "C:\\data\\images\\a\\1.png", "backslashes"),
    ("a b.png", "a%20b.png", "percent codes"),
    ("a%20b.png", "a%20b.png", None),
    (_form("NFD", "ü/é.png"), _form("NFC", "ü/é.png"), "Unicode form"),
    (_form("NFC", "ü/é.png"), _form("NFD", "ü\\é.png"), "Unicode form"),
    ("1.jpg", "1.JPG", "capitals"),
])
def test_a_name_is_found_in_another_spelling(tmp_path, on_disk, written, difference):
    """Spellings of Windows, macOS and label servers are found and counted."""
    located = _located(tmp_path, [on_disk], written)
    assert located.names[0].removeprefix("./").replace("//", "/") == on_disk
    told = " ".join(located.differences)
    assert difference in told if difference else not told
    assert set(located.differences.values()) <= {1}


@pytest.mark.parametrize(("on_disk", "written", "message"), [
    (["a/1.png"], ["1.png"], r"1 of 1 image is missing from .*'1\.png'\. Did you mean 'a/1\.png'"),
    (["val/1.png", "train/1.png", "train/2.png"], ["1.png", "2.png"],
     r"2 of 2 images are missing from .* Pass '.*/train', which has them all\."),
    (["val/1.png", "val/2.png", "train/1.png", "train/2.png"], ["1.png", "2.png"],
     r"2 of 2 images .* Did you mean '(train|val)/1\.png'\?"),
    (["1.png"], ["other\\1.png"], r"missing .* Did you mean '1\.png'\?"),
    (["a.png", "A.png"], ["ä.png", "a.PNG"], "2 of 2 images are missing"),
    (["1.png"], ["1.png", "images/1.png"], r"no image 'images/1\.png', and '1\.png' .* image 0"),
    (["1.png"], ["x" * 5000], "1 of 1 image is missing"),
    (["1.png"], ["a\0b"], "1 of 1 image is missing"),
    (["1.png"], [""], "1 of 1 image is missing"),
])
def test_a_name_that_may_mean_another_file_is_refused(tmp_path, on_disk, written, message):
    """Missing names come with a suggestion; no file is taken for two images."""
    with pytest.raises(UserError, match=message):
        _located(tmp_path, on_disk, *written)


def test_the_folder_in_a_url_may_be_missing_on_disk(tmp_path):
    """The folder of the URL is used where it exists."""
    located = _located(
        tmp_path, ["val/1.png", "2.png"], "val/1.png", "val/2.png", by_url=[0, 1])
    assert {0: "val/1.png", 1: "2.png"} == located.names
    assert {"file names taken from coco_url": 2} == located.differences
