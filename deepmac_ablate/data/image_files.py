"""Image files found by the names that annotations give them, which may be of another system.

Tools on Windows write backslashes, macOS decomposes accented letters, and label servers encode
names for URLs or put a folder before them. A name that exists is always taken as it is.
"""

from __future__ import annotations

import collections
import itertools
import os
import unicodedata
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from deepmac_ablate.errors import UserError, count_noun, did_you_mean_path, inflect

_BACKSLASHES = "file names with backslashes, read as slashes"
_FOLDER = "file names that begin with the images folder, read without it"
_PERCENT = "file names with percent codes, decoded"
_UNICODE = "file names in another Unicode form than on disk"
_CASE = "file names in other capitals than on disk"
_URL = "file names taken from coco_url"


class FoundName(NamedTuple):
    """Name of a file that exists.

    Attributes:
        name: The name as it exists.
        differences: Differences to the name that was looked for.
    """

    name: str
    differences: tuple[str, ...] = ()


class FileNames:
    """Names of files, to be found by names that are spelled in another way.

    Attributes:
        names: The names, with slashes between folders.

    Args:
        names: The names.
        folder: Name of the folder that holds the files; names may begin with it, or with a path
            to it.
    """

    def __init__(self, names: Iterable[str], folder: str = "") -> None:
        self.names = frozenset(names)
        self._folder = folder
        self._by_form = _group(self.names, _form)
        self._by_letters = _group(self.names, _letters)

    def find(self, name: str) -> FoundName | None:
        """Return the only name that can be meant, or None."""
        if name in self.names:
            return FoundName(name)
        for spelling, differences in self._spellings(name):
            for known, key, last in (
                    (self._by_form, _form(spelling), _UNICODE),
                    (self._by_letters, _letters(spelling), _CASE)):
                if len(found := known.get(key, [])) == 1:
                    more = () if found[0] == spelling else (last,)
                    return FoundName(found[0], (*differences, *more))
        return None

    def _spellings(self, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield spellings of a name with their differences, the most similar ones first."""
        changes = {_BACKSLASHES: _with_slashes, _PERCENT: urllib.parse.unquote,
                   _FOLDER: self._without_folder}
        for number in range(len(changes) + 1):
            for kinds in itertools.combinations(changes, number):
                spelling, differences = name, []
                for kind in kinds:
                    changed = changes[kind](spelling)
                    differences += [kind] if changed != spelling else []
                    spelling = changed
                yield str(PurePosixPath(spelling)), tuple(differences)

    def _without_folder(self, name: str) -> str:
        _, found, rest = f"/{name}".rpartition(f"/{self._folder}/")
        return rest if found and self._folder else name


def name_from_url(url: str) -> str:
    """Return the last two parts of the path of a URL, the last folder and the file."""
    parts = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).parts
    return "/".join(parts[-2:])


class LocatedImages(NamedTuple):
    """Image files of a dataset.

    Attributes:
        names: File names as they exist below the folder, by image id.
        differences: Number of names that are spelled in another way in the annotations, by the
            difference.
    """

    names: dict[int, str]
    differences: dict[str, int]


def locate_images(
    entries: Collection[Mapping[str, Any]], folder: Path, by_url: Collection[int] = ()
) -> LocatedImages:
    """Find the image files of a dataset.

    Args:
        entries: Entries of the images, with `id` and `file_name`.
        folder: Folder of the image files.
        by_url: Ids of the images whose name comes from a URL; its folder may be missing on disk.

    Raises:
        UserError: If a file is missing, or two names can only mean the same file.
    """
    by_url = frozenset(by_url)
    names: dict[int, str] = {}
    missing: dict[int, str] = {}
    for entry in entries:
        name = entry["file_name"]
        if entry["id"] in by_url and not os.path.isfile(folder / name):  # noqa: PTH113
            name = PurePosixPath(name).name
        # Unlike `Path.is_file`, it takes a name that no file can have for missing.
        exists = os.path.isfile(folder / name)  # noqa: PTH113
        (names if exists else missing)[entry["id"]] = name
    counts = collections.Counter({_URL: len(by_url)} if by_url else {})
    if missing:
        known = FileNames(_files_below(folder), folder.resolve().name)
        found = {image_id: known.find(name) for image_id, name in missing.items()}
        lost = [missing[image_id] for image_id, name in found.items() if name is None]
        if lost:
            hint = did_you_mean_path(_with_slashes(lost[0]), known.names)
            if len(lost) == len(entries) > 1:
                hint = _hint_at_folder(lost, known.names, folder) or hint
            raise UserError(
                f"{len(lost)} of {count_noun(len(entries), 'image')} "
                f"{inflect(len(lost), 'is', 'are')} missing from {folder}, the first is "
                f"{lost[0]!r}.{hint}")
        for image_id, name in found.items():
            counts.update(name.differences)
            names[image_id] = name.name
        _refuse_shared(names, missing)
    return LocatedImages(names, dict(counts))


def _hint_at_folder(lost: Sequence[str], known: Collection[str], folder: Path) -> str:
    """Return " Pass 'images/train', which has them all." if just one folder below has them all."""
    inner = [name.removesuffix(f"/{lost[0]}") for name in known if name.endswith(f"/{lost[0]}")]
    with_all = [place for place in inner if all(f"{place}/{name}" in known for name in lost)]
    return f" Pass {str(folder / with_all[0])!r}, which has them all." if len(with_all) == 1 else ""


def _refuse_shared(names: Mapping[int, str], missing: Mapping[int, str]) -> None:
    """Check that no name that was spelled in another way means the file of another image."""
    counts = collections.Counter(names.values())
    for image_id, written in missing.items():
        if counts[names[image_id]] > 1:
            found = names[image_id]
            other = next(i for i, name in names.items() if name == found and i != image_id)
            raise UserError(
                f"There is no image {written!r}, and {found!r} is already that of image {other}; "
                "each image needs a file of its own.")


def _files_below(folder: Path) -> Iterator[str]:
    for place, _, files in os.walk(folder):
        relative = os.path.relpath(place, folder)
        for file in files:
            yield file if relative == "." else f"{relative}/{file}"


def _group(names: Iterable[str], key: Any) -> dict[str, list[str]]:  # noqa: ANN401 - a function
    grouped: dict[str, list[str]] = {}
    for name in names:
        grouped.setdefault(key(name), []).append(name)
    return grouped


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _letters(name: str) -> str:
    return _form(name.casefold())


def _with_slashes(name: str) -> str:
    return name.replace("\\", "/")
