"""Self-contained HTML report of a sweep, and its figures for a paper."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from etils import epath

from deepmac_ablate import results
from deepmac_ablate.data.drawing import OUTCOMES
from deepmac_ablate.errors import BrokenFileWarning, UserError, count_noun, inflect
from deepmac_ablate.results.arms import group_by_arm
from deepmac_ablate.results.class_split import apply_split
from deepmac_ablate.results.number_format import metric_title
from deepmac_ablate.results.report.figures import figure_files, style
from deepmac_ablate.results.report.sections import design, origins
from deepmac_ablate.results.report.sections.answer import find_answer
from deepmac_ablate.results.report.sections.differences import compare_with_baselines
from deepmac_ablate.results.report.sections.gallery import MAX_ARMS, make_gallery
from deepmac_ablate.results.report.sections.main_table import make_main_table
from deepmac_ablate.results.report.sections.plots import PLOTS, Plot, make_plot_data
from deepmac_ablate.results.report.selection import most_informative_arms
from deepmac_ablate.results.tables.arm_table import DEFAULT_METRICS, arm_table, default_metrics
from deepmac_ablate.safe_text import visible
from deepmac_ablate.storage import file_io

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup
    from matplotlib.figure import Figure

_MAX_DIFFERENCES = 40
# Parts of a name, each with the punctuation behind it, after which a browser may break the line.
_NAME_PARTS = re.compile(r"[^+_,/=. -]*[+_,/=. -]?")


class ReportOptions(NamedTuple):
    """Options of a report.

    Attributes:
        metric: `<box source>/<metric>`; None takes the first of `DEFAULT_METRICS` that the trials
            have.
        split: Name of a class split, or class ids and names separated by commas; None takes the
            split of training.
        data: Prefix of the evaluated dataset; None takes the one that the trials recorded.
        figures: Folder for the figures as PDF and SVG; None writes none.
        images: Number of objects in each group of the gallery, at least 0.
        seed: Seed of the random objects.
    """

    metric: str | None = None
    split: str | None = None
    data: str | None = None
    figures: str | None = None
    images: int = 6
    seed: int = 0


class ReportFiles(NamedTuple):
    """Content of a report.

    Attributes:
        page: HTML of the page.
        figures: PDF and SVG files by name.
    """

    page: str
    figures: Mapping[str, bytes]


def write_report(
    workdirs: Sequence[str], output: str | None, options: ReportOptions
) -> list[str]:
    """Write a report.

    Args:
        workdirs: Sources that `results.load` accepts, at least one.
        output: File of the page; None writes report.html into the first workdir.
        options: Options of the report.

    Returns:
        The paths of the written files, the page first.

    Raises:
        UserError: If a workdir, the metric or the dataset does not exist, a required file is
            broken, or a file cannot be written.
    """
    if options.images < 0:
        raise UserError(f"--images must be at least 0, got {options.images}.")
    page = epath.Path(output) if output else _default_output(workdirs[0])
    files = render_report(workdirs, options)
    written = []
    try:
        for name, content in files.figures.items():
            folder = epath.Path(options.figures)
            folder.mkdir(parents=True, exist_ok=True)
            file_io.write(folder / name, content)
            written.append(str(folder / name))
        file_io.write(page, files.page)
    except OSError as error:
        raise UserError(f"Cannot write the report: {error}.") from error
    return [str(page), *written]


def render_report(workdirs: Sequence[str], options: ReportOptions) -> ReportFiles:
    """Return the files of a report without writing them.

    Raises:
        UserError: As `write_report`.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BrokenFileWarning)
        context, plots = _read_context(workdirs, options)
    broken = dict.fromkeys(
        str(each.message) for each in caught if issubclass(each.category, BrokenFileWarning))
    for sentence in broken:
        warnings.warn(sentence, BrokenFileWarning, stacklevel=2)
    if context["gallery"].missing:
        warnings.warn(context["gallery"].missing, BrokenFileWarning, stacklevel=2)
    context = {**context, "broken": list(broken)}
    return ReportFiles(_render_page(context), _figure_files(plots) if options.figures else {})


def _read_context(
    workdirs: Sequence[str], options: ReportOptions
) -> tuple[dict[str, Any], list[Plot]]:
    """Return the variables of the page's template, and the figures."""
    frame = results.load(*workdirs)
    classes = results.per_class(frame)
    frame, split = apply_split(frame, classes, options.split)
    # Before the first trial has finished, no metric is known.
    metric = options.metric or [*default_metrics(frame), DEFAULT_METRICS[0]][0]
    table = arm_table(frame, [metric], per_class=classes, split=split)
    answer = find_answer(table)
    arms = group_by_arm(frame).arms
    gallery_arms = most_informative_arms(arms, metric, MAX_ARMS)
    # Before the figures, so that a wrong dataset is reported at once.
    gallery = make_gallery(gallery_arms.arms, options.images, options.seed, options.data)
    data = make_plot_data(frame, classes, metric, split)
    plots = [draw(data) for draw in PLOTS.values()]
    compared_arms = most_informative_arms(arms, metric, _MAX_DIFFERENCES)
    plans = design.read_plans(workdirs, frame)
    return {
        "title": ", ".join(dict.fromkeys(filter(None, frame["sweep"]))) or "trials",
        "metric": metric,
        "metric_title": metric_title(metric),
        "as_trained": split is None,
        "answer": answer,
        "answer_svg": _inline_svg(answer.figure, "answer", answer.headline),
        "key": [
            (_inline_svg(style.draw_sign(signs), f"key-{place}", "sign"), meaning)
            for place, (meaning, signs) in enumerate(style.KEY)],
        "designs": design.sweep_designs(frame, plans),
        "table": make_main_table(table),
        "plots": [
            (plot, _inline_svg(plot.figure, plot.name, f"{plot.title}. {plot.caption}"))
            for plot in plots],
        "gallery": gallery,
        "gallery_note": gallery_arms.note,
        "differences": compare_with_baselines(compared_arms.arms, plans),
        "differences_note": compared_arms.note,
        "failures": design.group_failures(frame),
        "origins": origins.read_origins(frame, workdirs),
    }, plots


def render_template(name: str, **context: Any) -> str:  # noqa: ANN401 - what the template needs
    """Return a template with its variables filled in, each of which must be given."""
    return _environment().get_template(name).render(**context)


def read_template(name: str) -> str:
    """Return the text of a file in the folder of templates."""
    return _environment().loader.get_source(_environment(), name)[0]


def read_styles(*names: str) -> str:
    """Return style sheets, with the colours of figures and pictures as variables."""
    colors = {role: signs["color"] for role, signs in style.ROLES.items()}
    colors |= {name: "#{:02x}{:02x}{:02x}".format(*color) for name, color in OUTCOMES.items()}
    variables = "".join(f"--{name}: {color}; " for name, color in colors.items())
    return f":root {{ {variables}}}\n" + "".join(map(read_template, names))


def _default_output(workdir: str) -> epath.Path:
    folder = epath.Path(workdir)
    if workdir.startswith("wandb:") or folder.is_file():
        raise UserError(
            f"{workdir} is not a folder that report.html can be written to; pass a file with "
            "--output.")
    return folder / "report.html"


def _figure_files(plots: Sequence[Plot]) -> dict[str, bytes]:
    drawn = [plot for plot in plots if plot.figure is not None]
    files = {f"{plot.name}.pdf": figure_files.to_pdf(plot.figure) for plot in drawn}
    return files | {f"{plot.name}.svg": figure_files.to_svg(plot.figure) for plot in drawn}


def _inline_svg(figure: Figure | None, name: str, description: str) -> str:
    return "" if figure is None else figure_files.to_inline_svg(figure, name, description)


def _render_page(context: Mapping[str, Any]) -> str:
    script = read_template("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return visible(render_template(
        "report.html.j2", **context, script=script, script_hash=f"sha256-{digest}",
        styles=read_styles("gallery.css", "report.css")))


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepmac_ablate.results.report"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(breakable=_breakable, count_noun=count_noun, inflect=inflect)
    return environment


def _breakable(name: str) -> Markup:
    """Return an escaped name in which lines may break after punctuation."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in _NAME_PARTS.findall(name))
