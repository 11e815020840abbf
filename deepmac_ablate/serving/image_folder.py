"""Image files in folders, read upright in 8-bit colours whatever their format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from deepmac_ablate.data.image_example import to_rgb
from deepmac_ablate.errors import UserError, did_you_mean_path
from deepmac_ablate.storage import file_io

# Formats that PIL recognises but cannot decode.
_RECOGNISED_ONLY = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}


class ImageFile(NamedTuple):
    """Image file to predict on.

    Attributes:
        path: Path of the file.
        name: Name in results: the path within the given folder, or the name of a given file.
    """

    path: Path
    name: str


def find_images(paths: Sequence[Path]) -> tuple[ImageFile, ...]:
    """Return the given image files, and those in the given folders and below.

    Args:
        paths: Files, whatever their suffix, and folders, of which those files are taken whose
            suffix PIL can read, in the order of their names.

    Raises:
        UserError: If a path does not exist, a folder has no images, or two images share a name.
    """
    found = [image for path in paths for image in _list_images(path)]
    for name, number in Counter(image.name for image in found).items():
        if number > 1:
            same = [str(image.path) for image in found if image.name == name]
            raise UserError(
                f"{same[0]} and {same[1]} are both named {name}; predict on them separately.")
    return tuple(found)


def read_image(path: Path) -> np.ndarray:
    """Read an image as [height, width, 3] uint8, turned upright according to its EXIF data.

    Raises:
        UserError: If the file cannot be read completely.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if "transparency" in upright.info and upright.mode == "P":
                # PIL warns about a direct conversion of palettes with transparency.
                upright = upright.convert("RGBA")
            return np.asarray(to_rgb(upright))
    except UnidentifiedImageError as error:
        raise UserError(f"The image {path} cannot be read: its format is unknown.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"The image {path} cannot be read: {error}.") from error


def check_output(output: epath.Path, paths: Sequence[Path]) -> None:
    """Raise a UserError if drawings in `output` would lie among the images that are read."""
    if file_io.is_remote(output):
        return
    target = Path(output).resolve()
    for path in paths:
        folder = (path if path.is_dir() else path.parent).resolve()
        inside = path.is_dir() and target.is_relative_to(folder)
        if inside or target == folder:
            raise UserError(
                f"The output {output} lies among the images in {folder}; pass another folder.")


def drawing_names(images: Sequence[ImageFile]) -> list[str]:
    """Return the names of the JPEG files in which images are drawn, all different."""
    stems = [str(Path(image.name).with_suffix("")) for image in images]
    count = Counter(stems)
    return [
        f"{stem if count[stem] == 1 else image.name}.jpg"
        for stem, image in zip(stems, images, strict=True)]


def _list_images(path: Path) -> Iterator[ImageFile]:
    if path.is_file():
        yield ImageFile(path, path.name)
        return
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"The file or folder {path} does not exist.{did_you_mean_path(path.name, siblings)}")
    suffixes = _readable_suffixes()
    files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in suffixes and p.is_file()]
    if not files:
        raise UserError(f"There are no images in {path} or its subfolders.")
    for file in files:
        yield ImageFile(file, file.relative_to(path).as_posix())


def _readable_suffixes() -> set[str]:
    """Return the suffixes of files that PIL reads, such as ".jpg"."""
    formats = Image.registered_extensions()
    return {
        suffix for suffix, name in formats.items()
        if name in Image.OPEN and name not in _RECOGNISED_ONLY}
