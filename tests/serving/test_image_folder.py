"""Image files: which are found, and their names."""

from __future__ import annotations

import json
import re

import pytest
from etils import epath
from PIL import Image

from deepmac_ablate.errors import UserError
from deepmac_ablate.serving.image_folder import (
    ImageFile,
    check_output,
    clear_output,
    drawing_names,
    find_images,
    find_stale_drawings,
)


def save(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 32)).save(path, **options)
    return path


def test_a_folder_is_searched_with_all_below(tmp_path):
    """Images are sorted by name, suffixes match in any case, and other files are ignored."""
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "d.tif", "e.bmp"):
        save(tmp_path / name)
    for name in ("notes.txt", "masks.h5", "movie.mpg"):
        (tmp_path / name).write_text("no picture")
    names = [picture.name for picture in find_images([tmp_path]).images]
    assert ["a.PNG", "b.jpg", "d.tif", "deep/er/c.webp", "e.bmp"] == names


def test_files_are_taken_whatever_their_ending(tmp_path):
    """Given files keep their order, whatever their suffix."""
    second, first = save(tmp_path / "b.png"), save(tmp_path / "a.bin", format="PNG")
    assert [(second, "b.png"), (first, "a.bin")] == find_images([second, first]).images


def test_what_is_missing_is_one_sentence(tmp_path):
    """Missing paths, folders without images and duplicate names are errors."""
    save(tmp_path / "one" / "a.png")
    save(tmp_path / "two" / "a.png")
    (tmp_path / "empty").mkdir()
    for paths, message in (
            (["on"], r"The file or folder .*/on does not exist\. Did you mean 'one'\?"),
            (["empty"], r"There are no images in .*/empty or its subfolders\."),
            (["one", "two"], r".*one/a\.png and .*two/a\.png are both named a\.png; .*")):
        with pytest.raises(UserError) as raised:
            find_images([tmp_path / path for path in paths])
        assert re.fullmatch(message, str(raised.value)), raised.value


def test_hidden_files_and_unsupported_photos_are_named(tmp_path):
    """Files that macOS and others hide are left out; so are photos that cannot be read, aloud."""
    save(tmp_path / "in" / "a.jpg")
    for name in ("._a.jpg", ".DS_Store", "Thumbs.db", "__MACOSX/b.jpg", ".trash/c.png"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"\x00\x05\x16\x07")
    found = find_images([tmp_path / "in"])
    assert (["a.jpg"], "") == ([image.name for image in found.images], found.unsupported)
    assert f"3 hidden files are skipped, such as {tmp_path}/in/._a.jpg." == found.hidden
    (tmp_path / "in" / "IMG_1.HEIC").write_bytes(b"photo")
    (tmp_path / "in" / "lost.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "in" / "folder.jpg").mkdir()
    found = find_images([tmp_path / "in"])
    assert ["a.jpg", "lost.png"] == [image.name for image in found.images]
    assert ("1 image is skipped because of the format, such as "
            f"{tmp_path}/in/IMG_1.HEIC; convert to JPEG or PNG.") == found.unsupported
    hidden = tmp_path / "in" / "._a.jpg"
    assert [ImageFile(hidden, "._a.jpg")] == find_images([hidden]).images
    (tmp_path / "in" / "a.jpg").unlink()
    (tmp_path / "in" / "lost.png").unlink()
    with pytest.raises(UserError, match=r"no images in .* 3 hidden files .* 1 image is skipped"):
        find_images([tmp_path / "in"])


def test_drawings_never_share_a_name(tmp_path):
    """The suffix is replaced unless another image differs only in its suffix."""
    names = ["x/a.png", "x/b.png", "x/b.webp", "b.png"]
    pictures = [ImageFile(tmp_path / name, name) for name in names]
    assert ["x/a.jpg", "x/b.png.jpg", "x/b.webp.jpg", "b.jpg"] == drawing_names(
        pictures)


def test_nothing_is_drawn_among_the_images(tmp_path):
    """An output among the images is an error, as it would overwrite or add images."""
    file = save(tmp_path / "in" / "a.jpg")
    for output, paths in (
            ("in", [file.parent]), ("in/out", [file.parent]), ("in", [file])):
        with pytest.raises(UserError, match=r"The output .* lies among the images in .*/in; "):
            check_output(epath.Path(tmp_path / output), paths)
    for output, path in ((tmp_path / "in/out", file), (tmp_path / "out", file.parent),
                         ("gs://bucket/in", file.parent)):
        check_output(epath.Path(output), [path])


def test_stale_drawings_are_those_that_are_listed(tmp_path):
    """Others are refused, so that no picture lies beside those of another run; listed ones go."""
    output = epath.Path(tmp_path / "o")
    one, other = (ImageFile(tmp_path / name, name) for name in ("a/one.png", "other.png"))
    assert "" == clear_output(output, [one, other])
    for name in ("a/one.jpg", "other.jpg"):
        save(tmp_path / "o" / name)
    assert {"other.jpg"} == find_stale_drawings(output, [one])
    assert "1 picture of an earlier run was deleted" == clear_output(output, [one])
    files = [path.name for path in (tmp_path / "o").rglob("*") if path.is_file()]
    assert ["drawings.json"] == files
    save(tmp_path / "o" / "mine.jpg")
    with pytest.raises(UserError, match=r"holds 1 picture that .*, such as mine\.jpg; pass"):
        clear_output(output, [one])


def test_a_list_of_drawings_deletes_nothing_elsewhere(tmp_path):
    """Neither names that lead out of the folder nor files that are no pictures are taken."""
    output = epath.Path(tmp_path / "o")
    kept = [save(tmp_path / name) for name in ("kept.jpg", "o/kept.png")]
    names = ["../kept.jpg", str(kept[0]), "kept.png"]
    (output / "drawings.json").write_text(json.dumps({"drawings": names}))
    clear_output(output, [])
    assert all(path.exists() for path in kept)
    (output / "drawings.json").write_text("[]")
    with pytest.raises(UserError, match=r"drawings\.json"):
        clear_output(output, [])
