"""The templates of the report, filled; all that is filled in is escaped."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

_PARTS = re.compile(r"[^+_,/=. -]*[+_,/=. -]?")


def render(name: str, **context: Any) -> str:  # noqa: ANN401 - whatever the template asks for
    """Returns a template with its variables filled in, each of which must be given."""
    return _environment().get_template(name).render(**context)


def source(name: str) -> str:
    """Returns a file that lies beside the templates, as it is."""
    return _environment().loader.get_source(_environment(), name)[0]


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepmac_ablate.results.report"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(name: str) -> Markup:
    """Returns a name, escaped, that may be broken behind its punctuation."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in _PARTS.findall(name))
