"""Reader of picture files of any format: upright, in 8-bit colours, refused in one sentence.

Conversion and prediction both read pictures here, so that a model sees at prediction what it saw in
training. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from deepmac_ablate.errors import UserError

# Formats and modes that `tf.io.decode_image(channels=3)` decodes faithfully, unlike GIF and WebP (a
# fourth dimension), TIFF (not supported) and 16-bit PNG.
_KEPT_MODES = {
    "JPEG": {"RGB", "L", "CMYK"},
    "PNG": {"RGB", "RGBA", "L", "LA", "P", "1"},
}
_DEEP_MODES = ("I", "F")
_RECORD_FORMATS = {"JPEG": "jpg", "PNG": "png"}

# Aerial pictures have more pixels than Pillow allows, but training needs up to 40 bytes for each.
_MAX_PIXELS = 2**28
_MANY_PIXELS = 2**26
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}
_QUARTER_TURNS = range(5, 9)
_INVERSE = {6: 8, 8: 6}
# Levels below which all of an image is practically black.
_DARK = 32

# Remarks on images that are not stored as they are, or not as one might expect.
TURNED = "images turned upright by their EXIF orientation"
TURNED_UNCONFIRMED = (
    "images turned upright by their EXIF orientation, which their size does not confirm")
NOT_TURNED = (
    "images left unturned despite their EXIF orientation, as their annotations fit them so")
NO_TRANSPARENCY = "images whose transparency is dropped"
FIRST_FRAME = "images of several frames, of which the first is taken"
DEEP = "images of more than 8 bits, scaled to 8"
STRETCHED = "images stretched from their own lowest and highest value to 0..255"
DARK = "images of more than 8 bits that become nearly black, as they use few of their levels"
HUGE = (
    f"images of more than {_MANY_PIXELS // 10**6} million pixels, each of which takes gigabytes of "
    "memory in training")

# Beginnings of files that are often mistaken for pictures, and the reason for the user.
_FOREIGN = (
    (rb".{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1)",
     "it is a HEIC picture, which is not supported; convert it to JPEG or PNG"),
    (rb".{4}ftyp|.{4}JXL |\xff\x0a",
     "it is a video or a picture of a format that is not supported; convert it to JPEG or PNG"),
    (rb"\x00\x05\x16\x07", "it holds attributes of a file of macOS, not a picture"),
    (rb"version https://git-lfs",
     "it is a pointer of Git LFS; fetch the picture with 'git lfs pull'"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg",
     "it is an SVG drawing, which is not supported; convert it to PNG"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|\?xml)", "it is a web page or XML, not a picture"),
    (rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+",
     "it is a TIFF of a kind that is not supported, such as with more than four channels or with "
     "several channels of more than 16 bits; convert it to PNG"),
    (rb"%PDF", "it is a PDF document, not a picture"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf", "it is an archive, not a picture"),
    (rb"\xff\xd8\xff|\x89PNG", "it is damaged, or of a rare kind"),
)


class Picture(NamedTuple):
    """Picture file in 8-bit colours.

    Attributes:
        image: The picture, of mode RGB.
        remarks: How it differs from the file, in the plural for counting, such as `TURNED`.
    """

    image: Image.Image
    remarks: tuple[str, ...]


class EncodedPicture(NamedTuple):
    """Picture file as it is stored in a record.

    Attributes:
        content: Content of a JPEG or PNG file that TensorFlow decodes as Pillow shows the picture.
        encoding: "jpg" or "png".
        reencoded: True if `content` is not that of the original file.
        remarks: How it differs from the file, in the plural for counting, such as `TURNED`.
    """

    content: bytes
    encoding: str
    reencoded: bool
    remarks: tuple[str, ...]


def read_picture(path: Path, size: tuple[int, int] | None = None) -> Picture:
    """Read a picture file, turned upright by its EXIF orientation.

    Transparency is dropped. Pictures of more than 8 bits are scaled from their full range (16 bits,
    or 0..1 of floating-point numbers), otherwise from their lowest and highest value.

    Args:
        path: The file.
        size: Width and height that annotations of the picture say. A picture that fits only
            unturned is left so.

    Raises:
        UserError: If the file cannot be read completely, or has another size.
    """
    with _reading(path) as (picture, _):
        orientation, remarks = _choose_orientation(picture, path, size)
        return _to_picture(picture, orientation, remarks)


def encode_picture(path: Path, size: tuple[int, int]) -> EncodedPicture:
    """Read a picture file as `read_picture` does, and return what to store in a record.

    Files that TensorFlow decodes as they should look are kept byte by byte; others become PNG.
    """
    with _reading(path) as (picture, content):
        orientation, remarks = _choose_orientation(picture, path, size)
        if orientation == 1 and picture.mode in _KEPT_MODES.get(picture.format or "", ()):
            encoding = _RECORD_FORMATS[picture.format]
            # Decoding at reduced size still reads the whole file, in half the time: a truncated
            # file must be found here, not during training.
            picture.draft(picture.mode, (size[0] // 8, size[1] // 8))
            picture.load()
            remarks += _remark_transparency(picture)
            return EncodedPicture(content, encoding, False, remarks)
        turned, remarks = _to_picture(picture, orientation, remarks)
        buffer = io.BytesIO()
        turned.save(buffer, format="PNG")
        return EncodedPicture(buffer.getvalue(), "png", True, remarks)


@contextlib.contextmanager
def open_content(content: bytes) -> Iterator[Image.Image]:
    """Open the content of a picture file with Pillow, without its limit of size and warnings."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as picture:
                yield picture
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[tuple[Image.Image, bytes]]:
    """Open a picture file; whatever is raised within the context becomes a UserError."""
    content = b""
    try:
        content = path.read_bytes()
        with open_content(content) as picture:
            _check_number_of_pixels(picture, path)
            yield picture, content
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"The image {path} does not exist.") from error
    # On a damaged file, Pillow's plugins raise almost any exception.
    except Exception as error:
        raise UserError(
            f"The image {path} cannot be read: {_reason(error, content)}.") from error


def _check_number_of_pixels(picture: Image.Image, path: Path) -> None:
    if picture.width * picture.height > _MAX_PIXELS:
        raise UserError(
            f"The image {path} has {picture.width} x {picture.height} pixels, but at most "
            f"{_MAX_PIXELS // 10**6} million are supported; cut it into tiles or make it smaller.")


def _reason(error: Exception, content: bytes) -> str:
    if isinstance(error, OSError) and error.strerror:
        return {"Is a directory": "it is a folder"}.get(error.strerror, error.strerror.lower())
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if not content:
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        for beginning, reason in _FOREIGN:
            if re.match(beginning, content[:4096], re.DOTALL | re.IGNORECASE):
                return reason
        if not content.strip(b"\x00"):
            return "it holds nothing but zeros"
        return "its format is unknown"
    message = " ".join(re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "the file", str(error)).split())
    if "truncated" in message.lower():
        return "it is truncated"
    return f"it is damaged or of a kind that is not supported ({message or type(error).__name__})"


def _choose_orientation(
    picture: Image.Image, path: Path, size: tuple[int, int] | None
) -> tuple[int, tuple[str, ...]]:
    """Return the EXIF orientation to undo after loading, 1 if there is none, and remarks."""
    orientation = _read_orientation(picture)
    # Pillow turns TIFF itself while loading, and its size is that of the turned picture.
    loads_upright = picture.format == "TIFF"
    quarter = orientation in _QUARTER_TURNS
    upright = picture.size[::-1] if quarter and not loads_upright else picture.size
    stored = upright[::-1] if quarter else upright
    remarks = (HUGE,) if picture.width * picture.height > _MANY_PIXELS else ()
    if size is not None and tuple(size) not in (upright, stored):
        width, height = upright
        raise UserError(
            f"The image {path} is {width} x {height} pixels, but its annotations say "
            f"{size[0]} x {size[1]}.")
    if orientation == 1:
        return 1, remarks
    if size is None or tuple(size) == upright:
        confirmed = upright != stored
        remarks += (TURNED if size is None or confirmed else TURNED_UNCONFIRMED,)
        return 1 if loads_upright else orientation, remarks
    back = _INVERSE.get(orientation, orientation) if loads_upright else 1
    return back, (*remarks, NOT_TURNED)


def _read_orientation(picture: Image.Image) -> int:
    if picture.format == "PNG":
        # Otherwise Pillow would load it for its EXIF block, and an error would get lost.
        picture.load()
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG)
    # A damaged EXIF block says nothing, as for every viewer; Pillow raises almost any exception.
    except Exception:
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def _to_picture(picture: Image.Image, orientation: int, remarks: tuple[str, ...]) -> Picture:
    picture.load()
    remarks += _remark_transparency(picture)
    if picture.mode.startswith(_DEEP_MODES):
        levels, more = _scale_deep(np.asarray(picture), picture.mode)
        remarks += more
        # Pillow clips deep values at 255 instead of scaling them.
        colours = Image.fromarray(levels).convert("RGB")
    else:
        colours = picture.convert("RGB")
    if orientation != 1:
        colours = colours.transpose(_TURNS[orientation])
    return Picture(colours, remarks + _remark_frames(picture))


def _scale_deep(values: np.ndarray, mode: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Scale values of more than 8 bits to [height, width] uint8; return them with remarks."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("it has no finite values")
    low, high = finite.min(), finite.max()
    if mode == "F" and low >= 0 and high <= 1:
        levels, remarks = np.nan_to_num(values, posinf=1) * 255 + 0.5, (DEEP,)
    elif mode in ("F", "I") and low >= 0 and high <= 255:
        levels, remarks = np.nan_to_num(values), (DEEP,)
    elif mode != "F" and low >= 0 and high <= 65535:
        levels, remarks = values // 257, (DEEP,)
    else:
        wide = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
        levels, remarks = (wide - low) * (255 / max(high - low, 1e-30)) + 0.5, (STRETCHED,)
    pixels = np.clip(levels, 0, 255).astype(np.uint8)
    return pixels, remarks + ((DARK,) if pixels.max() < _DARK else ())


def _remark_transparency(picture: Image.Image) -> tuple[str, ...]:
    if not picture.has_transparency_data or picture.mode.startswith(_DEEP_MODES):
        return ()
    alpha = picture if picture.mode in ("RGBA", "LA", "PA") else picture.convert("RGBA")
    return (NO_TRANSPARENCY,) if alpha.getchannel("A").getextrema()[0] < 255 else ()


def _remark_frames(picture: Image.Image) -> tuple[str, ...]:
    # The other pictures of an MPO file are its preview and depth.
    if picture.format == "MPO":
        return ()
    try:
        return (FIRST_FRAME,) if getattr(picture, "is_animated", False) else ()
    # The first frame is good, whatever the others are.
    except Exception:
        return ()
