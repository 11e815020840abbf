"""Image files: which are found, their names, and how they are read."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from etils import epath
from PIL import Image

from deepmac_ablate.errors import UserError
from deepmac_ablate.serving.image_folder import (
    ImageFile,
    check_output,
    drawing_names,
    find_images,
    read_image,
)

# An upright picture: red above, blue below, the left column green.
UPRIGHT = np.zeros((32, 48, 3), np.uint8)
UPRIGHT[:16], UPRIGHT[16:], UPRIGHT[:, :16] = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def save(path, picture=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture or Image.fromarray(UPRIGHT)).save(path, **options)
    return path


def test_a_folder_is_searched_with_all_below(tmp_path):
    """Images are sorted by name, suffixes match in any case, and other files are ignored."""
    for name in ("b.jpg", "a.PNG", "deep/er/c.webp", "d.tif", "e.bmp"):
        save(tmp_path / name)
    for name in ("notes.txt", "masks.h5", "movie.mpg"):
        (tmp_path / name).write_text("no picture")
    names = [picture.name for picture in find_images([tmp_path])]
    assert ["a.PNG", "b.jpg", "d.tif", "deep/er/c.webp", "e.bmp"] == names


def test_files_are_taken_whatever_their_ending(tmp_path):
    """Given files keep their order, whatever their suffix."""
    second, first = save(tmp_path / "b.png"), save(tmp_path / "a.bin", format="PNG")
    assert ((second, "b.png"), (first, "a.bin")) == find_images([second, first])
    np.testing.assert_array_equal(UPRIGHT, read_image(first))


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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, orientation):
    """Images are turned upright for every orientation of the camera (EXIF 2.3, tag 274)."""
    stored = {
        1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1],
        5: UPRIGHT.transpose(1, 0, 2), 6: np.rot90(UPRIGHT), 7: np.rot90(UPRIGHT, 2).transpose(
            1, 0, 2), 8: np.rot90(UPRIGHT, -1)}[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    path = save(tmp_path / "a.jpg", Image.fromarray(stored), exif=exif, quality=100, subsampling=0)
    pixels = read_image(path)
    assert UPRIGHT.shape == pixels.shape
    assert np.abs(pixels.astype(int) - UPRIGHT).max() < 30


@pytest.mark.parametrize(("mode", "ending"), [
    ("L", "png"), ("LA", "png"), ("RGBA", "png"), ("P", "gif"), ("P", "png"), ("1", "png"),
    ("CMYK", "jpg"), ("I;16", "png"), ("F", "tif")])
def test_every_mode_becomes_8_bit_colours(tmp_path, mode, ending):
    """Grey, transparent, palette, 16-bit and CMYK images become RGB without a warning."""
    grey = np.full((8, 12), 200, np.uint8)
    picture = {
        "I;16": lambda: Image.fromarray(grey.astype(np.uint16) * 257),
        "F": lambda: Image.fromarray(grey.astype(np.float32)),
        "1": lambda: Image.new("1", (12, 8), 1),
        "P": lambda: Image.fromarray(grey).convert("P"),
    }.get(mode, lambda: Image.fromarray(grey).convert("RGB").convert(mode))()
    options = {"transparency": b"\x00" * 200} if (mode, ending) == ("P", "png") else {}
    path = save(tmp_path / f"a.{ending}", picture, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_image(path)
    assert ((8, 12, 3), np.uint8) == (pixels.shape, pixels.dtype)
    assert np.abs(pixels.astype(int) - (255 if mode == "1" else 200)).max() <= 2


def test_a_broken_picture_is_one_sentence(tmp_path):
    """A file that is not an image or is truncated is an error."""
    whole = save(tmp_path / "whole.png", Image.effect_noise((64, 64), 80)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:1000])
    (tmp_path / "text.png").write_text("no picture")
    for name, message in (
            ("cut.png", r"The image .*/cut\.png cannot be read: .*"),
            ("text.png", r"The image .*/text\.png cannot be read: its format is unknown\."),
            ("gone.png", r"The image .*/gone\.png cannot be read: .*")):
        with pytest.raises(UserError) as raised:
            read_image(tmp_path / name)
        assert re.fullmatch(message, str(raised.value)), raised.value


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
