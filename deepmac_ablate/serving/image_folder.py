"""Pictures of one's own: found in folders, and read upright in 8-bit colours whatever they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from deepmac_ablate import storage
from deepmac_ablate.data.image_example import to_rgb
from deepmac_ablate.errors import UserError, did_you_mean

# Formats that PIL recognises, but has no decoder of its own for.
_RECOGNISED_ONLY = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}


class Picture(NamedTuple):
    """A picture that is asked for.

    Attributes:
        path: where it is.
        name: what it is called in results: its path within the folder, or the file's name.
    """

    path: Path
    name: str


def find(paths: Sequence[Path]) -> tuple[Picture, ...]:
    """Return the pictures in folders, with all that is below, and given files as they are.

    Args:
        paths: folders, whose files are taken in the order of their names if PIL reads their kind;
            and files of any ending.

    Raises:
        UserError: if a path or all pictures are missing, or two share a name.
    """
    found = [picture for path in paths for picture in _pictures(path)]
    for name, number in Counter(picture.name for picture in found).items():
        if number > 1:
            same = [str(picture.path) for picture in found if picture.name == name]
            raise UserError(
                f"{same[0]} and {same[1]} are both called {name}; predict on them one by one.")
    return tuple(found)


def read(path: Path) -> np.ndarray:
    """Return a picture as [h, w, 3] uint8, turned upright as its EXIF data say.

    Raises:
        UserError: if it cannot be read, or not to the end.
    """
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if "transparency" in upright.info and upright.mode == "P":
                # PIL warns of palettes with transparency on the direct way.
                upright = upright.convert("RGBA")
            return np.asarray(to_rgb(upright))
    except UnidentifiedImageError as error:
        raise UserError(f"The image {path} cannot be read: its format is unknown.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"The image {path} cannot be read: {error}.") from error


def check_output(output: epath.Path, paths: Sequence[Path]) -> None:
    """Raise a UserError if pictures drawn to `output` would lie among those that are read."""
    if storage.is_remote(output):
        return
    target = Path(output).resolve()
    for path in paths:
        folder = (path if path.is_dir() else path.parent).resolve()
        inside = path.is_dir() and target.is_relative_to(folder)
        if inside or target == folder:
            raise UserError(
                f"The output {output} lies among the images in {folder}; name another place.")


def drawing_names(pictures: Sequence[Picture]) -> list[str]:
    """Return for each picture the name of the JPEG that shows it, no two the same."""
    stems = Counter(str(Path(picture.name).with_suffix("")) for picture in pictures)
    return [
        f"{stem if stems[stem] == 1 else picture.name}.jpg"
        for picture in pictures
        for stem in [str(Path(picture.name).with_suffix(""))]]


def _pictures(path: Path) -> Iterator[Picture]:
    if path.is_file():
        yield Picture(path, path.name)
        return
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"There is no file or folder {path}.{did_you_mean(path.name, siblings)}")
    endings = _endings()
    files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in endings and p.is_file()]
    if not files:
        raise UserError(f"There is no image in {path}, nor in a folder below.")
    for file in files:
        yield Picture(file, file.relative_to(path).as_posix())


def _endings() -> set[str]:
    """Return the endings of files that PIL reads, such as ".jpg"."""
    kinds = Image.registered_extensions()
    return {
        ending for ending, kind in kinds.items()
        if kind in Image.OPEN and kind not in _RECOGNISED_ONLY}
