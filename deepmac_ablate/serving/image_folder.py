"""Image files in folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from etils import epath
from PIL import Image

from deepmac_ablate.errors import UserError, count_noun, did_you_mean_path, inflect
from deepmac_ablate.storage import file_io
from deepmac_ablate.storage.strict_json import TEXT, check_fields, from_json, list_of, to_json

# Lists the drawings in an output, so that a later run can replace them.
DRAWINGS = "drawings.json"
_REMEDY = "delete it and the pictures beside it"

# Formats that PIL recognises but cannot decode.
_RECOGNISED_ONLY = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
# Pictures of phones and cameras that PIL does not read, unless a plugin is installed.
_PHOTOS = {
    ".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jxl", ".nef", ".orf", ".raf",
    ".rw2"}
# Folders in which macOS, Windows and network drives hide copies and thumbnails.
_HIDDEN_FOLDERS = {"__MACOSX", "$RECYCLE.BIN", "@eaDir"}


class ImageFile(NamedTuple):
    """Image file to predict on.

    Attributes:
        path: Path of the file.
        name: Name in results: the path within the given folder, or the name of a given file.
    """

    path: Path
    name: str


class FoundImages(NamedTuple):
    """Image files in folders.

    Attributes:
        images: The files to predict on.
        hidden: A sentence about hidden files that are left out; empty if there are none.
        unsupported: A sentence about photos of formats that cannot be read; empty if there are
            none.
    """

    images: list[ImageFile]
    hidden: str
    unsupported: str


class _Listing(NamedTuple):
    images: list[ImageFile]
    hidden: Sequence[Path] = ()
    unsupported: Sequence[Path] = ()


def find_images(paths: Sequence[Path]) -> FoundImages:
    """Return the given image files, and those in the given folders and below.

    Args:
        paths: Files, whatever their suffix, and folders, of which those files are taken whose
            suffix PIL can read, in the order of their names. Hidden files are left out, such as
            those that macOS adds.

    Raises:
        UserError: If a path does not exist, a folder has no images, or two images share a name.
    """
    listings = [_list_files(path) for path in paths]
    found = [image for listing in listings for image in listing.images]
    hidden = [path for listing in listings for path in listing.hidden]
    unsupported = [path for listing in listings for path in listing.unsupported]
    for name, number in Counter(image.name for image in found).items():
        if number > 1:
            same = [str(image.path) for image in found if image.name == name]
            raise UserError(
                f"{same[0]} and {same[1]} are both named {name}; predict on them separately.")
    return FoundImages(found, _describe_hidden(hidden), _describe_unsupported(unsupported))


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


def find_stale_drawings(output: epath.Path, images: Sequence[ImageFile]) -> set[str]:
    """Return the drawings of an earlier run in `output` that a run on these images leaves there.

    Raises:
        UserError: If there are other pictures, which might be taken for predictions of this run.
    """
    path, listed = output / DRAWINGS, []
    if (text := file_io.read(path)) is not None:
        fields = from_json(text, str(path), _REMEDY)
        check_fields(fields, {"drawings": list_of(TEXT)}, str(path), _REMEDY)
        listed = fields["drawings"]
    new = set(drawing_names(images))
    # Only pictures below the folder are deleted, whatever the file says.
    stale = {
        name for name in listed if name not in new and name.endswith(".jpg")
        and not Path(name).is_absolute() and ".." not in Path(name).parts}
    if file_io.is_remote(output):
        return stale
    there = {file.relative_to(output).as_posix() for file in Path(output).rglob("*.jpg")}
    if others := sorted(there - new - stale):
        raise UserError(
            f"The output {output} holds {count_noun(len(others), 'picture')} that this run would "
            f"leave beside its own, such as {others[0]}; pass another folder or delete "
            f"{inflect(len(others), 'it', 'them')}.")
    return stale & there


def clear_output(output: epath.Path, images: Sequence[ImageFile]) -> str:
    """Delete the results of an earlier run in `output`, and list the drawings of the new one.

    The list is written first, so that a run that is killed leaves no drawing without it.

    Returns:
        A sentence about drawings that are deleted and will not be replaced; empty without any.
    """
    stale, new = find_stale_drawings(output, images), drawing_names(images)
    output.mkdir(parents=True, exist_ok=True)
    # The new ones, too, as images that cannot be read are not drawn.
    for name in ("predictions.json", "images.json", *stale, *new):
        (output / name).unlink(missing_ok=True)
    file_io.write(output / DRAWINGS, to_json({"drawings": new}) + "\n")
    if not stale:
        return ""
    pictures, were = count_noun(len(stale), "picture"), inflect(len(stale), "was", "were")
    return f"{pictures} of an earlier run {were} deleted"


def drawing_names(images: Sequence[ImageFile]) -> list[str]:
    """Return the names of the JPEG files in which images are drawn, all different."""
    stems = [str(Path(image.name).with_suffix("")) for image in images]
    count = Counter(stems)
    return [
        f"{stem if count[stem] == 1 else image.name}.jpg"
        for stem, image in zip(stems, images, strict=True)]


def _list_files(path: Path) -> _Listing:
    if path.is_file():
        return _Listing([ImageFile(path, path.name)])
    if not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(
            f"The file or folder {path} does not exist.{did_you_mean_path(path.name, siblings)}")
    readable = _readable_suffixes()
    images, hidden, unsupported = [], [], []
    for file in sorted(path.rglob("*")):
        suffix = file.suffix.lower()
        # A broken link is taken, to be reported.
        if suffix not in readable | _PHOTOS or not (file.is_file() or file.is_symlink()):
            continue
        if _is_hidden(file.relative_to(path)):
            hidden.append(file)
        elif suffix not in readable:
            unsupported.append(file)
        else:
            images.append(ImageFile(file, file.relative_to(path).as_posix()))
    if not images:
        sentences = (_describe_hidden(hidden), _describe_unsupported(unsupported))
        raise UserError(" ".join(filter(None, (
            f"There are no images in {path} or its subfolders.", *sentences))))
    return _Listing(images, hidden, unsupported)


def _describe_hidden(paths: Sequence[Path]) -> str:
    if not paths:
        return ""
    return (f"{count_noun(len(paths), 'hidden file')} {inflect(len(paths), 'is', 'are')} skipped, "
            f"such as {paths[0]}.")


def _describe_unsupported(paths: Sequence[Path]) -> str:
    if not paths:
        return ""
    return (f"{count_noun(len(paths), 'image')} {inflect(len(paths), 'is', 'are')} skipped because "
            f"of the format, such as {paths[0]}; convert to JPEG or PNG.")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part in _HIDDEN_FOLDERS for part in path.parts)


def _readable_suffixes() -> set[str]:
    """Return the suffixes of files that PIL reads, such as ".jpg"."""
    formats = Image.registered_extensions()
    return {
        suffix for suffix, name in formats.items()
        if name in Image.OPEN and name not in _RECOGNISED_ONLY}
