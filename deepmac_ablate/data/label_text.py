"""Names as text in pictures, in every script for which a font is installed."""

from __future__ import annotations

import functools
import itertools
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from PIL import ImageDraw, ImageFont

# Letters of a name in a picture.
MAX_LENGTH = 34
# Zero-width letters that join or separate others.
_JOINERS = "\u200c\u200d"
# Fonts that have only frames for all characters, or pictures of one size.
_UNSUITABLE = ("lastresort", "emoji")
_STYLED = ("bold", "italic", "oblique", "light", "thin", "black", "serif", "mono")


def shorten_label(name: str, max_length: int = MAX_LENGTH) -> str:
    """Return a name on one line, printable, and with an ellipsis if it is too long."""
    spaced = "".join(" " if letter in "\n\r\t" else letter for letter in name)
    plain = "".join(
        letter if letter.isprintable() or letter in _JOINERS else "\ufffd" for letter in spaced)
    return plain if len(plain) <= max_length else f"{plain[:max_length - 1]}…"


class Label:
    r"""Text of one line to draw in a picture.

    Characters that no installed font has are drawn as their codes, such as ``\u676f``.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
    """

    def __init__(self, text: str, size: int) -> None:
        self._runs = [
            (part, _load_font(path, size)) for path, part in _split_runs(text)]
        self._ascent = max((font.getmetrics()[0] for _, font in self._runs), default=0)
        descent = max((font.getbbox(part, anchor="ls")[3] for part, font in self._runs), default=0)
        self.width = sum(font.getlength(part) for part, font in self._runs)
        self.height = self._ascent + descent

    def draw(
        self, pen: ImageDraw.ImageDraw, x: float, y: float, fill: str | tuple[int, int, int]
    ) -> None:
        """Draw the text with its left and its top at `x` and `y`."""
        for part, font in self._runs:
            pen.text((x, y + self._ascent), part, fill=fill, font=font, anchor="ls")
            x += font.getlength(part)


def find_fonts(text: str) -> list[str]:
    """Return the paths of the fonts for the characters beyond ASCII in a text."""
    paths = (_find_font(letter) for letter in dict.fromkeys(text) if not letter.isascii())
    return list(dict.fromkeys(filter(None, paths)))


def report_missing_fonts(texts: Iterable[str]) -> None:
    """Print which texts have characters that no installed font has, each text once."""
    missing = [text for text in dict.fromkeys(texts)
               if text not in _reported and any(_lacks_font(letter) for letter in text)]
    _reported.update(missing)
    if missing:
        print(
            "deepmac-ablate: No installed font has all characters of "
            f"{', '.join(map(repr, missing))}, so pictures show codes or frames instead; install a "
            "font of that script, such as one of the Noto fonts.", file=sys.stderr)


_reported: set[str] = set()


def _split_runs(text: str) -> list[tuple[str, str]]:
    """Split a text into parts with the path of the font of each; "" is Pillow's own."""
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        return [("", text)]
    runs: list[tuple[str, str]] = []
    for letter in text:
        path = _find_font(letter)
        if path is None:
            path, letter = _dejavu(), letter.encode("ascii", "backslashreplace").decode()
        if runs and (path == runs[-1][0] or _continues(letter)):
            runs[-1] = (runs[-1][0], runs[-1][1] + letter)
        else:
            runs.append((path, letter))
    return runs


def _continues(letter: str) -> bool:
    """Return whether a letter is drawn in the font of the one before it."""
    return letter == " " or unicodedata.category(letter[0]) in ("Mn", "Me", "Mc", "Cf")


def _lacks_font(letter: str) -> bool:
    return not (letter.isascii() or _continues(letter) or _find_font(letter))


@functools.cache
def _find_font(letter: str) -> str | None:
    if _continues(letter):
        return _dejavu()
    paths = itertools.chain([_dejavu()], (path for path in _system_fonts()))
    return next((path for path in paths if ord(letter) in _characters(path)), None)


@functools.cache
def _load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@functools.cache
def _dejavu() -> str:
    """Return the path of DejaVu Sans, which comes with matplotlib."""
    import matplotlib as mpl

    return str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


@functools.cache
def _system_fonts() -> list[str]:
    """Return the paths of the fonts of this machine, plain ones first."""
    from matplotlib import font_manager

    def rank(path: str) -> tuple[int, str]:
        name = Path(path).stem.lower()
        return sum(word in name for word in _STYLED), name

    fonts = font_manager.findSystemFonts()
    return sorted((f for f in fonts if not any(u in f.lower() for u in _UNSUITABLE)), key=rank)


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """Return the codes of the characters of a font; none if it cannot be drawn."""
    from matplotlib.ft2font import FT2Font

    try:
        _load_font(path, 12)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
