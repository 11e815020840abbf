"""Write the tables and figures of ``docs/study.md`` and README from ``analysis/study``.

::

    python -m analysis.study_page
    python -m analysis.study_page --masks runs/study

The tables go between the marks ``<!-- NAME -->`` and ``<!-- end -->`` of the pages. The second form
draws the masks of the heads as well, for which the workdir of part A has to be there.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from analysis import study, study_figures, study_tables
from docs import make_pictures

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "study.md", ROOT / "README.md")
PICTURES = ROOT / "docs" / "pictures"
# The seeds that were planned at first, and those that were added later.
STAGES = {"seeds 0 to 3": "seed < 4", "seeds 4 to 7": "seed >= 4"}


def page_parts(folder: Path = study.RESULTS) -> tuple[dict[str, str], dict[str, Figure | None]]:
    """Return the tables of the page by the name of their mark, and its figures by file name."""
    parts = study.load_parts(folder)
    contrasts = [contrast for part in parts.values() for contrast in part.contrasts]
    mask_ap = [contrast for part in parts.values() for contrast in part.mask_ap]
    shapes, detectors = parts["A"].frame, parts["B"].frame
    halves = study.load_halves(folder)
    staged = ((study.shapes_contrasts, shapes), (study.detectors_contrasts, detectors))
    stages = {
        title: [contrast for contrasts_of, frame in staged
                for contrast in contrasts_of(frame.query(seeds))]
        for title, seeds in STAGES.items()}
    tables = {
        "answers": study_tables.answer_rows(contrasts),
        "contrasts": study_tables.contrast_rows(contrasts, mask_ap),
        "stages": study_tables.stage_rows(stages),
        "halves": study_tables.stage_rows({
            f"masks for `{half}`": study.shapes_contrasts(halves[halves["seen"] == half])
            for half in study.HALVES}),
        "unplanned": study_tables.interval_rows(study.unplanned_contrasts(shapes, detectors)),
        "classes": study_tables.class_rows(study.load_novel_classes(folder)),
        "short": study_tables.short_rows(contrasts),
        "time": study_tables.minutes_text(parts),
        "heads": study_tables.score_rows(
            shapes, ["mask_head", "box_source", "weak_losses", "masks"]),
        "detectors": study_tables.score_rows(detectors, ["mask_head", "detector"]),
        "reruns": study_tables.rerun_rows(shapes, study.load_shapes(folder, "reruns"))}
    if "C" in parts:
        pictures = parts["C"].frame
        tables |= {
            "pictures": study_tables.score_rows(
                pictures, ["mask_head", "box_source", "weak_losses"], study.EVALUATED_PER_TRAINED),
            "instances": study_tables.interval_rows(
                study.pictures_contrasts(pictures, f"{study.METRIC}_instances")),
            "ranks": study_tables.rank_rows(shapes, pictures)}
    return tables, {
        "study_contrasts.png": study_figures.draw_contrasts(contrasts),
        "study_heads.png": study_figures.draw_heads(shapes)}


def with_parts(page: str, parts: Mapping[str, str]) -> str:
    """Return a page with the text between ``<!-- NAME -->`` and ``<!-- end -->`` replaced."""
    for name, text in parts.items():
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(\n<!-- end -->)",
            lambda found, text=text: f"{found[1]}\n{text}\n{found[2]}", page, flags=re.DOTALL)
    return page


def main() -> None:
    """Write the tables and figures of the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--masks", metavar="WORKDIR", help="draw masks, too, of this workdir")
    args = parser.parse_args()
    tables, figures = page_parts()
    if args.masks:
        figures["study_masks.png"] = study_figures.draw_masks(args.masks)
    for page in PAGES:
        page.write_text(with_parts(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
    for name, figure in figures.items():
        if figure is not None:
            make_pictures.save(figure, PICTURES / name)


if __name__ == "__main__":
    main()
