"""Conversion of figures to PDF, SVG, PNG and inline SVG, reproducible byte for byte."""

from __future__ import annotations

import io
import re
import warnings
from xml.etree import ElementTree

from matplotlib.figure import Figure
from matplotlib.text import Text

from deepmac_ablate.data.label_text import find_fonts, report_missing_fonts
from deepmac_ablate.results.report.figures import style

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_PIXELS_PER_POINT = 96 / 72
# Verdana is as wide as DejaVu Sans, for which matplotlib lays out the figure.
_FONTS = "'DejaVu Sans', Verdana, sans-serif"
# A style sheet would apply to the whole page; its rules go into the root's attribute instead.
_UNWANTED = (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")
_HASHED = re.compile(rb'(?<=["#])[A-Za-z][0-9a-f]{10}(?=[")])')
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def to_pdf(figure: Figure) -> bytes:
    """Convert a figure to a PDF file with embedded fonts."""
    return _save(figure, "pdf", {"pdf.fonttype": 42}, {"CreationDate": None})


def to_svg(figure: Figure) -> bytes:
    """Convert a figure to an SVG file whose letters are outlines, the same on every machine."""
    settings = {"svg.fonttype": "path", "svg.hashsalt": "deepmac_ablate"}
    return _save(figure, "svg", settings, {"Date": None})


def to_png(figure: Figure) -> bytes:
    """Convert a figure to a PNG file on white."""
    return _save(figure, "png", {"savefig.dpi": 150, "savefig.facecolor": "white"}, {})


def to_inline_svg(figure: Figure, name: str, description: str) -> str:
    """Convert a figure to an <svg> element of a page.

    Letters remain text that can be searched and copied. Axes and text take the colour of the
    surrounding text.

    Args:
        figure: Figure to convert.
        name: Unique name on the page, of letters, digits and hyphens; the prefix of all ids.
        description: Alternative text.
    """
    settings = {"svg.fonttype": "none", "svg.hashsalt": name}
    root = ElementTree.fromstring(_save(figure, "svg", settings, {"Date": None}))
    for parent in list(root.iter()):
        for unwanted in [child for child in parent if child.tag in _UNWANTED]:
            parent.remove(unwanted)
    for element in root.iter():
        # In HTML, elements have no namespace and the link attribute has no prefix.
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        attributes = {key: _adapt(key, value, name) for key, value in element.attrib.items()}
        if (link := attributes.pop(_LINK, None)) is not None:
            attributes["href"] = f"#{name}-{link.removeprefix('#')}"
        element.attrib = attributes
    width = float(root.attrib.pop("width").removesuffix("pt")) * _PIXELS_PER_POINT
    del root.attrib["height"]
    layout = f"width: {width:.0f}px; stroke-linejoin: round; stroke-linecap: butt"
    root.attrib |= {"role": "img", "aria-label": description, "style": layout}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _save(
    figure: Figure, form: str, settings: dict[str, object], metadata: dict[str, None]
) -> bytes:
    import matplotlib as mpl

    _add_fonts(figure)
    file = io.BytesIO()
    with style.applied(), mpl.rc_context(settings), warnings.catch_warnings():
        # Reported once in a sentence.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(file, format=form, metadata=metadata)
    return _number_ids(file.getvalue()) if form == "svg" else file.getvalue()


def _number_ids(svg: bytes) -> bytes:
    """Replace the ids that matplotlib hashes from coordinates, whose last bits may vary."""
    numbers: dict[bytes, int] = {}

    def numbered(found: re.Match[bytes]) -> bytes:
        number = numbers.setdefault(found[0], len(numbers))
        return found[0][:1] + str(number).encode()

    return _HASHED.sub(numbered, svg)


def _add_fonts(figure: Figure) -> None:
    """Let all texts use installed fonts for characters that the usual font does not have."""
    from matplotlib import font_manager

    texts = {text: text.get_text() for text in figure.findobj(Text)}
    report_missing_fonts(texts.values())
    for text, letters in texts.items():
        families = text.get_fontfamily()
        for path in find_fonts(letters):
            family = font_manager.get_font(path).family_name
            if family not in families:
                font_manager.fontManager.addfont(path)
                families = [*families, family]
        text.set_fontfamily(families)


def _adapt(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "style":
        value = value.replace(style.INK, "currentColor").replace("'DejaVu Sans'", _FONTS)
    return _REFERENCE.sub(rf"url(#{name}-\1)", value)
