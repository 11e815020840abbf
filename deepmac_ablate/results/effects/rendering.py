"""Effects as people read them, in cells, and as programs do, in records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from deepmac_ablate.results import number_format
from deepmac_ablate.results.effects.axis_effects import POWER, Effect, Effects
from deepmac_ablate.results.formats import Document, Section
from deepmac_ablate.results.statistics import MOST_SEEDS
from deepmac_ablate.results.tables import rendering

_NO_LEVEL = "none"


def document(effects: Effects) -> Document:
    """Return effects for all formats.

    Its records have the keys `metric`, `on` ("novel" or "seen"), `axis`, `level`, `against`, the
    same of a second change as `by_axis`, `by_level`, `by_against` (null unless it is an
    interaction), `mean`, `low`, `high`, `n`, `sd`, `p`, `p_holm`, `detectable`, `seeds_needed` and
    `combinations`; numbers are fractions, and what is not known is null.
    """
    title = number_format.metric_title(effects.metric)
    sections = [Section(f"effects on {title}", *_cells(effects.rows))]
    if effects.interactions:
        sections.append(Section(f"interactions on {title}", *_cells(effects.interactions)))
    return Document(
        sections, list(_sentences(effects)),
        [_record(effects.metric, effect) for effect in (*effects.rows, *effects.interactions)])


def _cells(effects: Sequence[Effect]) -> tuple[list[str], list[list[str]]]:
    heads = ["change", "classes", "effect", "n", "over", "p", "sd", "finds", "needs"]
    rows = []
    for effect in effects:
        found = effect.difference
        needs = number_format.NOTHING
        if found.sd is not None and found.mean:
            needs = str(effect.seeds_needed or f">{MOST_SEEDS}")
        rows.append([
            changes(effect), effect.on, number_format.difference(found), str(found.n),
            str(effect.combinations), number_format.p_value(effect.p_holm),
            number_format.percent(found.sd), number_format.percent(effect.detectable), needs])
    if all(effect.difference.n < 2 for effect in effects):
        return heads[:5], [row[:5] for row in rows]
    return heads, rows


def changes(effect: Effect) -> str:
    """Return "head: a -> b"; of interactions, which are wide, only what there is afterwards."""
    if len(effect.changes) > 1:
        return " x ".join(f"{it.axis}={it.level or _NO_LEVEL}" for it in effect.changes)
    [change] = effect.changes
    return f"{change.axis}: {change.against or _NO_LEVEL} -> {change.level or _NO_LEVEL}"


def _sentences(effects: Effects) -> Iterator[str]:
    yield "In percent. effect: how much the metric changes, by seed, while other axes stay."
    yield from _design(effects)
    if effects.split is not None:
        yield rendering.of_split(effects.split)
    if effects.apart:
        yield (
            "No effect between arms whose novel classes are not the same ones; --split takes the "
            "same for all.")
    if effects.interactions:
        yield (
            "interaction: how much the second change alters the effect of the first; 0 where they "
            "add up.")
    both = (*effects.rows, *effects.interactions)
    if not any(effect.difference.n for effect in both):
        yield "No two trials of one seed that differ in one axis have finished yet."
    elif all(effect.difference.n < 2 for effect in both):
        yield "One seed only: nobody knows how much is chance."
    else:
        yield from _tests(effects)
    if effects.left_out:
        yield (
            "Left out, as they are of another sweep, or share an arm's name but not its steps, or "
            f"have a seed that is there already: {rendering.names(effects.left_out)}.")


def _tests(effects: Effects) -> Iterator[str]:
    counts = [
        f"{number} {what}" for what, of_kind in (
            ("effects", effects.rows), ("interactions", effects.interactions))
        if (number := sum(effect.difference.p is not None for effect in of_kind))]
    yield (
        f"±: {rendering.percent(effects.confidence)} t interval over seeds: holds training's "
        "randomness, not the choice of images or classes.")
    yield f"p: paired t test, Holm over {' and, apart from them, over '.join(counts)}."
    yield (
        f"sd: of the differences. finds: the smallest difference that n seeds find at "
        f"{rendering.percent(POWER)} power. needs: seeds to find one of the size observed. Both "
        "without Holm's correction.")


def _design(effects: Effects) -> Iterator[str]:
    if effects.design == "one at a time":
        yield "Each arm differs from the baseline in one axis: nothing is known of interactions."
        if effects.missing:
            yield f"{effects.missing} arms have no finished trial yet."
        return
    yield (
        "An effect is a mean over the combinations of the other axes' levels in which both sides "
        "have finished (over: how many), and over the seeds that have finished in all of these "
        "(n).")
    if effects.design == "incomplete grid" or effects.missing:
        yield (
            f"The grid is not complete: {effects.missing} combinations of levels have no finished "
            "trial, so not all effects are means over the same combinations.")


def _record(metric: str, effect: Effect) -> dict[str, Any]:
    first, *second = effect.changes
    by = second[0] if second else (None, None, None)
    return {
        "metric": metric, "on": effect.on, **first._asdict(),
        **dict(zip(("by_axis", "by_level", "by_against"), by, strict=True)),
        **effect.difference._asdict(), "p_holm": effect.p_holm, "detectable": effect.detectable,
        "seeds_needed": effect.seeds_needed, "combinations": effect.combinations,
    }
