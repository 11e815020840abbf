"""Figures as files: SVG inside a page, SVG and PDF for a paper; the same bytes every time."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from deepmac_ablate.results.report.figures import style

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_PIXELS_PER_POINT = 96 / 72
# Verdana is as wide as DejaVu Sans, for which matplotlib has laid the figure out.
_FONTS = "'DejaVu Sans', Verdana, sans-serif"
# Rules of a style sheet would hold for the whole page; theirs are put in the root's attribute.
_UNWANTED = (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def pdf(figure: Figure) -> bytes:
    """Return a figure as a PDF file, its fonts embedded."""
    return _saved(figure, "pdf", {"pdf.fonttype": 42}, {"CreationDate": None})


def svg(figure: Figure) -> bytes:
    """Return a figure as an SVG file whose letters are outlines, the same on every machine."""
    settings = {"svg.fonttype": "path", "svg.hashsalt": "deepmac_ablate"}
    return _saved(figure, "svg", settings, {"Date": None})


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an <svg> element of a page.

    Letters stay text, to be searched and copied; axes and text take the colour of the text around.

    Args:
        figure: The figure.
        name: Letters, digits and hyphens; no other figure of the page has it, as ids begin with it.
        description: What is to be seen, for who cannot see it.
    """
    settings = {"svg.fonttype": "none", "svg.hashsalt": name}
    root = ElementTree.fromstring(_saved(figure, "svg", settings, {"Date": None}))
    for parent in list(root.iter()):
        for unwanted in [it for it in parent if it.tag in _UNWANTED]:
            parent.remove(unwanted)
    for element in root.iter():
        # In HTML, elements have no name spaces and the link's attribute no prefix.
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        attributes = {key: _adapted(key, value, name) for key, value in element.attrib.items()}
        if (link := attributes.pop(_LINK, None)) is not None:
            attributes["href"] = f"#{name}-{link.removeprefix('#')}"
        element.attrib = attributes
    width = float(root.attrib.pop("width").removesuffix("pt")) * _PIXELS_PER_POINT
    del root.attrib["height"]
    look = f"width: {width:.0f}px; stroke-linejoin: round; stroke-linecap: butt"
    root.attrib |= {"role": "img", "aria-label": description, "style": look}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _saved(
    figure: Figure, form: str, settings: dict[str, object], metadata: dict[str, None]
) -> bytes:
    import matplotlib as mpl

    file = io.BytesIO()
    with style.applied(), mpl.rc_context(settings):
        figure.savefig(file, format=form, metadata=metadata)
    return file.getvalue()


def _adapted(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "style":
        value = value.replace(style.INK, "currentColor").replace("'DejaVu Sans'", _FONTS)
    return _REFERENCE.sub(rf"url(#{name}-\1)", value)
