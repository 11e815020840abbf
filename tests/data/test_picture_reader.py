"""Picture files of all kinds, as they are stored in records and shown to a trained model."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deepmac_ablate.data import picture_reader
from deepmac_ablate.data.picture_reader import encode_picture, read_picture
from deepmac_ablate.errors import UserError

# An upright picture: red above, blue below, the left green; and a smooth one in grey and colours.
UPRIGHT = np.zeros((32, 48, 3), np.uint8)
UPRIGHT[:16], UPRIGHT[16:], UPRIGHT[:, :16] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
RAMP = np.add.outer(np.arange(32), np.arange(48) * 2).astype(np.uint8)
SMOOTH = np.stack([RAMP + 100, 255 - RAMP, RAMP // 2], -1)
STORED = {
    1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2), 6: np.rot90(UPRIGHT), 7: np.rot90(UPRIGHT, 2).transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1)}


def save(path, pixels, mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def decoded(path, size=(48, 32)):
    """The picture as training decodes the record, and the remarks."""
    encoded = encode_picture(path, size)
    pixels = tf.io.decode_image(encoded.content, channels=3).numpy()
    head = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG"}[encoded.encoding]
    assert encoded.content.startswith(head)
    assert encoded.reencoded == (encoded.content != path.read_bytes())
    return pixels, encoded.remarks


def close(expected, pixels, levels=4):
    """Two JPEG decoders may differ by a few of 255 levels."""
    return expected.shape == pixels.shape and np.abs(expected.astype(int) - pixels).max() <= levels


@pytest.mark.parametrize(("name", "mode", "options"), [
    ("a.jpg", "RGB", {}), ("a.jpg", "L", {}), ("a.jpg", "CMYK", {}),
    ("a.jpg", "RGB", {"progressive": True}), ("a.jpg", "RGB", {"subsampling": 2, "quality": 95}),
    ("a.png", "RGB", {}), ("a.png", "RGBA", {}), ("a.png", "L", {}), ("a.png", "LA", {}),
    ("a.png", "P", {}), ("a.png", "P", {"bits": 4}), ("a.png", "1", {}),
    ("a.png", "RGB", {"transparency": (3, 3, 3)}), ("a.png", "L", {"transparency": 3}),
    ("a.gif", "P", {}), ("a.webp", "RGB", {}), ("a.bmp", "RGB", {}), ("a.tif", "RGB", {}),
    ("a.tif", "CMYK", {}), ("a.tif", "YCbCr", {}), ("a.tif", "LAB", {}), ("a.tif", "1", {}),
    ("really_png.jpg", "RGB", {"format": "PNG"}), ("really_jpeg.png", "RGB", {"format": "JPEG"}),
    ("really_webp.jpg", "RGB", {"format": "WEBP"})])
def test_training_sees_what_a_person_sees(tmp_path, name, mode, options):
    """Whatever the format and the colours, training and prediction see what Pillow shows."""
    image = Image.fromarray(SMOOTH)
    if mode == "LAB":
        image = Image.merge("LAB", [Image.fromarray(RAMP), *[Image.new("L", (48, 32), 128)] * 2])
    path = save(tmp_path / name, image, None if mode == "LAB" else mode, **options)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    pixels, remarks = decoded(path)
    assert (True, ()) == (close(expected, pixels), remarks)
    assert close(expected, np.asarray(read_picture(path).image))
    assert np.ptp(expected) > 20


@pytest.mark.parametrize(("name", "values", "expected", "remarks"), [
    ("a.png", RAMP.astype(np.uint16) * 257, RAMP, {picture_reader.DEEP}),
    ("a.png", RAMP.astype(np.uint16), RAMP * 0,
     {picture_reader.DEEP, picture_reader.DARK}),
    ("a.tif", RAMP.astype(np.int32) * 257, RAMP, {picture_reader.DEEP}),
    ("a.tif", RAMP.astype(np.int32), RAMP, {picture_reader.DEEP}),
    ("a.tif", RAMP.astype(np.int32) * 1000 - 10, RAMP * (255 / RAMP.max()),
     {picture_reader.STRETCHED}),
    ("a.tif", RAMP.astype(np.float32) / 255, RAMP, {picture_reader.DEEP}),
    ("a.tif", RAMP.astype(np.float32), RAMP, {picture_reader.DEEP}),
    ("a.tif", RAMP.astype(np.float32) - 7, RAMP * (255 / RAMP.max()), {picture_reader.STRETCHED}),
    ("a.tif", RAMP.astype(np.float32) * 1e6, RAMP * (255 / RAMP.max()),
     {picture_reader.STRETCHED})])
def test_deep_pictures_keep_their_content(tmp_path, name, values, expected, remarks):
    """16 and 32 bits and floating-point numbers are scaled to 8 bits, and counted."""
    path = save(tmp_path / name, values)
    for pixels, noted in (decoded(path), read_picture(path)):
        assert close(np.repeat(expected[..., None], 3, -1), np.asarray(pixels), 1)
        assert remarks == set(noted)


def test_gaps_of_a_floating_point_picture_are_black(tmp_path):
    """NaN is taken as 0; a picture of nothing else is refused."""
    values = RAMP.astype(np.float32) / 255
    values[3:5] = np.nan
    expected = np.where(np.isnan(values), 0, RAMP)
    pixels = np.asarray(read_picture(save(tmp_path / "a.tif", values)).image)
    assert close(expected[..., None].repeat(3, -1), pixels, 1)
    path = save(tmp_path / "b.tif", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(UserError, match=r"b\.tif cannot be read: .*it has no finite values"):
        read_picture(path)


def test_transparency_and_further_frames_are_counted(tmp_path):
    """Colours below a transparent region are kept; of several frames the first is taken."""
    alpha = np.dstack([SMOOTH, np.where(RAMP > 50, 255, 0).astype(np.uint8)])
    frames = [Image.fromarray(SMOOTH).quantize(), Image.new("P", (48, 32))]
    for name, image, options, remark in (
            ("a.png", Image.fromarray(alpha), {}, picture_reader.NO_TRANSPARENCY),
            ("a.webp", Image.fromarray(alpha), {"lossless": True, "exact": True},
             picture_reader.NO_TRANSPARENCY),
            ("b.png", frames[0], {"transparency": b"\x00" * 200}, picture_reader.NO_TRANSPARENCY),
            ("a.gif", frames[0], {"save_all": True, "append_images": frames[1:]},
             picture_reader.FIRST_FRAME),
            ("a.tif", frames[0], {"save_all": True, "append_images": frames[1:]},
             picture_reader.FIRST_FRAME)):
        path = save(tmp_path / name, image, **options)
        expected = SMOOTH if "RGBA" == image.mode else np.asarray(image.convert("RGB"))
        for pixels, remarks in (decoded(path), read_picture(path)):
            assert (True, (remark,)) == (close(expected, np.asarray(pixels), 1), remarks), name


def test_bytes_after_the_end_are_no_harm(tmp_path):
    """Cameras append previews and notes to their files."""
    path = save(tmp_path / "a.jpg", SMOOTH)
    with Image.open(path) as opened:
        expected = np.asarray(opened)
    path.write_bytes(path.read_bytes() + b"\x00notes" * 50)
    assert close(expected, decoded(path)[0])


def oriented(path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    lossless = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    return save(path, STORED[orientation], exif=exif, **lossless.get(path.suffix, {}))


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_unless_annotated_otherwise(tmp_path, ending, orientation):
    """Training and prediction see a picture upright for every EXIF orientation (EXIF 2.3, 274).

    A picture whose annotations have the size of the unturned one is left unturned.
    """
    path = oriented(tmp_path / f"a.{ending}", orientation)
    stored = STORED[orientation]
    turned = {
        1: (), 2: (picture_reader.TURNED_UNCONFIRMED,), 3: (picture_reader.TURNED_UNCONFIRMED,),
        4: (picture_reader.TURNED_UNCONFIRMED,)}.get(orientation, (picture_reader.TURNED,))
    pixels, remarks = decoded(path)
    assert (True, turned) == (close(UPRIGHT, pixels, 30), remarks)
    assert close(UPRIGHT, np.asarray(read_picture(path, (48, 32)).image), 30)
    unknown = read_picture(path)
    assert close(UPRIGHT, np.asarray(unknown.image), 30)
    assert (() if orientation == 1 else (picture_reader.TURNED,)) == unknown.remarks
    if orientation > 4:
        for pixels, remarks in (decoded(path, (32, 48)), read_picture(path, (32, 48))):
            assert close(stored, np.asarray(pixels), 30)
            assert (picture_reader.NOT_TURNED,) == remarks


def test_a_broken_exif_block_says_nothing(tmp_path):
    """A picture with damaged or nonsensical EXIF data is read as it is stored."""
    whole = Image.Exif()
    whole[274] = 6
    nonsense = Image.Exif()
    nonsense[274] = 77
    for exif in (b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
                 whole.tobytes()[:12], nonsense.tobytes()):
        for ending in ("jpg", "png", "webp"):
            path = save(tmp_path / f"a.{ending}", SMOOTH, exif=exif)
            assert ((48, 32), ()) == (read_picture(path).image.size, read_picture(path).remarks)
            assert (32, 48, 3) == decoded(path)[0].shape


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content))


def png_header(width, height):
    fields = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", fields) + chunk(b"IDAT", b"")


def test_large_pictures_are_read_up_to_a_limit(tmp_path, monkeypatch):
    """Pillow's own limit neither refuses nor warns; beyond 268 million pixels is one sentence."""
    path = save(tmp_path / "a.png", SMOOTH)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(SMOOTH, decoded(path)[0])
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert np.array_equal(SMOOTH, np.asarray(read_picture(path).image))
        assert 10 == Image.MAX_IMAGE_PIXELS
    (tmp_path / "bomb.png").write_bytes(png_header(20_000, 20_000))
    message = (r"The image .*bomb\.png has 20000 x 20000 pixels, but at most 268 million are "
               r"supported; cut it into tiles or make it smaller\.")
    with pytest.raises(UserError, match=message):
        read_picture(tmp_path / "bomb.png")
    with pytest.raises(UserError, match=message):
        encode_picture(tmp_path / "bomb.png", (20_000, 20_000))
    monkeypatch.setattr(picture_reader, "_MANY_PIXELS", 1000)
    assert (picture_reader.HUGE,) == read_picture(path).remarks == encode_picture(
        path, (48, 32)).remarks


def jpeg(quality=90):
    buffer = io.BytesIO()
    Image.effect_noise((48, 32), 80).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png():
    buffer = io.BytesIO()
    Image.effect_noise((48, 32), 80).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("content", "reason"), [
    (None, "it is a folder"),
    (b"", "it is empty"),
    (b"\x00" * 500, "it holds nothing but zeros"),
    (b"no picture", "its format is unknown"),
    (jpeg()[:600], "it is truncated"),
    (jpeg()[:4], "it is damaged, or of a rare kind"),
    (png()[:600], "it is truncated"),
    (png()[:100] + b"\xff" * 50 + png()[150:], r"it is damaged or of a kind that .* \(.*\)"),
    (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "it is a HEIC picture, .* convert it to JPEG .*"),
    (b"\x00\x05\x16\x07" + b"\x00" * 80, "it holds attributes of a file of macOS, not a picture"),
    (b"version https://git-lfs.github.com/spec/v1\n", ".* fetch the picture with 'git lfs pull'"),
    (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "it is an SVG drawing, .*"),
    (b"<!DOCTYPE html><html></html>", "it is a web page or XML, not a picture"),
    (b"II*\x00\x08\x00\x00\x00\x00\x00", "it is a TIFF of a kind that is not supported, .*"),
    (b"%PDF-1.4", "it is a PDF document, not a picture"),
])
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, reason, capfd):
    """Both ways of reading refuse a bad file with the same sentence, and print nothing."""
    path = tmp_path / "a.jpg"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    for read in (lambda: read_picture(path), lambda: encode_picture(path, (48, 32))):
        with pytest.raises(UserError) as raised:
            read()
        said = str(raised.value)
        assert re.fullmatch(rf"The image .*/a\.jpg cannot be read: {reason}\.", said), said
        assert " at 0x" not in said
    assert ("", "") == capfd.readouterr()


def test_a_missing_file_and_a_wrong_size_are_one_sentence(tmp_path):
    """The sentence names the file and both sizes."""
    with pytest.raises(UserError, match=r"^The image .*/gone\.jpg does not exist\.$"):
        read_picture(tmp_path / "gone.jpg")
    path = save(tmp_path / "a.png", UPRIGHT)
    for read in (read_picture, encode_picture):
        with pytest.raises(UserError, match=r"a\.png is 48 x 32 pixels, but .* say 32 x 48\.$"):
            read(path, (32, 48))
