"""One page about a sweep that needs nothing but a browser, and its figures for a paper."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from etils import epath

from deepmac_ablate import results, storage
from deepmac_ablate.errors import UserError
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.class_split import apply_split
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report import gallery as selection
from deepmac_ablate.results.report.figures import rendering
from deepmac_ablate.results.report.sections import design, differences, main_table, origins, plots
from deepmac_ablate.results.report.sections import gallery as exhibition
from deepmac_ablate.results.report.sections import origins as failures
from deepmac_ablate.results.report.sections.plots import Plot
from deepmac_ablate.results.tables.arm_table import DEFAULT_METRICS, arm_table, default_metrics

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup


_MOST_DIFFERENCES = 40


class Options(NamedTuple):
    """How a report is made.

    Attributes:
        metric: `<reading>/<metric>`; None: the first of `tables.DEFAULT_METRICS` that there is.
        split: Name of a class split, or class ids and names with commas; None: as in training.
        data: The prefix of the evaluated dataset; None: where the trials found it.
        figures: A folder for the figures as PDF and SVG; None: none are written.
        images: Objects in each group of the gallery.
        seed: Of the objects that are drawn at random.
    """

    metric: str | None = None
    split: str | None = None
    data: str | None = None
    figures: str | None = None
    images: int = 6
    seed: int = 0


def write(workdirs: Sequence[str], output: str | None, options: Options) -> list[str]:
    """Write a report.

    Args:
        workdirs: What `results.load` takes, at least one.
        output: The page's file; None: report.html in the first workdir.
        options: How.

    Returns:
        The files that were written.

    Raises:
        UserError: If there is no such workdir, metric or dataset, something that is needed is
            broken, or a file cannot be written.
    """
    if options.images < 0:
        raise UserError(f"--images {options.images} makes no sense; it must be at least 0.")
    page = epath.Path(output) if output else _beside(workdirs[0])
    files = render(workdirs, options)
    written = []
    try:
        for name, content in files.figures.items():
            folder = epath.Path(options.figures)
            folder.mkdir(parents=True, exist_ok=True)
            storage.write(folder / name, content)
            written.append(str(folder / name))
        storage.write(page, files.page)
    except OSError as error:
        raise UserError(f"Cannot write the report: {error}.") from error
    return [str(page), *written]


class Files(NamedTuple):
    """A page as HTML, and figures by the names of their files."""

    page: str
    figures: Mapping[str, bytes]


def render(workdirs: Sequence[str], options: Options) -> Files:
    """Return a report's files.

    Raises:
        UserError: As `write`.
    """
    frame = results.load(*workdirs)
    classes = results.per_class(frame)
    frame, split = apply_split(frame, classes, options.split)
    # Where nothing has finished, there is none yet.
    metric = options.metric or [*default_metrics(frame), DEFAULT_METRICS[0]][0]
    table = arm_table(frame, [metric], per_class=classes, split=split)
    arms = group_by_arm(frame).arms
    in_gallery = selection.telling(arms, metric, exhibition.MOST_ARMS)
    # Before the figures, for which a mistake should not wait.
    gallery = exhibition.make(in_gallery.arms, options.images, options.seed, options.data)
    subject = plots.subject_of(frame, classes, metric, split)
    drawn = [make(subject) for make in plots.PLOTS.values()]
    compared = selection.telling(arms, metric, _MOST_DIFFERENCES)
    known = design.plans(workdirs, frame)
    context = {
        "title": ", ".join(dict.fromkeys(filter(None, frame["sweep"]))) or "trials",
        "metric": metric,
        "metric_title": metric_title(metric),
        "designs": design.designs(frame, known),
        "table": main_table.make(table),
        "plots": [(plot, _inline(plot)) for plot in drawn],
        "gallery": gallery,
        "gallery_note": in_gallery.note,
        "differences": differences.of_arms(compared.arms, known),
        "differences_note": compared.note,
        "causes": failures.causes(frame),
        "origins": origins.read(frame, workdirs),
    }
    return Files(_page(context), _figures(drawn) if options.figures else {})


def _beside(workdir: str) -> epath.Path:
    folder = epath.Path(workdir)
    if workdir.startswith("wandb:") or folder.is_file():
        raise UserError(
            f"{workdir} is no folder to write report.html into; name a file with --output.")
    return folder / "report.html"


def _figures(drawn: Sequence[Plot]) -> dict[str, bytes]:
    there = [plot for plot in drawn if plot.figure is not None]
    files = {f"{plot.name}.pdf": rendering.pdf(plot.figure) for plot in there}
    return files | {f"{plot.name}.svg": rendering.svg(plot.figure) for plot in there}


def _inline(plot: Plot) -> str:
    if plot.figure is None:
        return ""
    return rendering.inline_svg(plot.figure, plot.name, f"{plot.title}. {plot.caption}")


def _page(context: Mapping[str, Any]) -> str:
    script = source("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return render_template(
        "report.html.j2", **context, script=script, script_hash=f"sha256-{digest}",
        styles=source("gallery.css") + source("report.css"))


_PARTS = re.compile(r"[^+_,/=. -]*[+_,/=. -]?")


def render_template(name: str, **context: Any) -> str:  # noqa: ANN401 - what the template needs
    """Return a template with its variables filled in, each of which must be given."""
    return _environment().get_template(name).render(**context)


def source(name: str) -> str:
    """Return a file that lies beside the templates, as it is."""
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
    """Return a name, escaped, that may be broken behind its punctuation."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in _PARTS.findall(name))
