"""Effects as a document: cells and notes for people, records for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from deepmac_ablate.errors import count_noun, inflect
from deepmac_ablate.results import number_format
from deepmac_ablate.results.class_split import split_note
from deepmac_ablate.results.effects.axis_effects import POWER, Effect, Effects
from deepmac_ablate.results.formats import Document, Section, join_names
from deepmac_ablate.results.statistics import MOST_SEEDS

_NO_LEVEL = "none"


def render_effects(effects: Effects) -> Document:
    """Return effects for all formats.

    Its records have the keys `metric`, `on` ("novel" or "seen"), `axis`, `level`, `against`, for an
    interaction also `by_axis`, `by_level`, `by_against` of the second change (else null), `mean`,
    `low`, `high`, `n`, `sd`, `p`, `p_holm`, `detectable`, `seeds_needed` and `combinations`.
    Numbers are fractions; unknown values are null.
    """
    title = number_format.metric_title(effects.metric)
    sections = [Section(f"effects on {title}", *_cells(effects.rows), ["classes"])]
    if effects.interactions:
        interactions = _cells(effects.interactions)
        sections.append(Section(f"interactions on {title}", *interactions, ["classes"]))
    return Document(
        sections, list(_notes(effects)),
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
            change_text(effect), effect.on, number_format.difference(found), str(found.n),
            str(effect.combinations), number_format.p_value(effect.p_holm),
            number_format.percent(found.sd), number_format.percent(effect.detectable), needs])
    if all(effect.difference.n < 2 for effect in effects):
        return heads[:5], [row[:5] for row in rows]
    return heads, rows


def change_text(effect: Effect) -> str:
    """Return "head: a -> b", or for an interaction "head=b x size=d"."""
    if len(effect.changes) > 1:
        return " x ".join(
            f"{change.axis}={change.level or _NO_LEVEL}" for change in effect.changes)
    [change] = effect.changes
    return f"{change.axis}: {change.against or _NO_LEVEL} -> {change.level or _NO_LEVEL}"


def _notes(effects: Effects) -> Iterator[str]:
    yield "Values in percent. effect: change of the metric, paired by seed, with other axes fixed."
    yield from _design_notes(effects)
    yield from effects.image_notes
    if effects.split is not None:
        yield split_note(effects.split)
    if effects.apart:
        yield (
            "No effects between arms with different novel classes; --split applies the same "
            "classes to all arms.")
    if effects.interactions:
        yield (
            "interaction: change of the first effect that the second change causes; 0 if the two "
            "effects are additive.")
    both = (*effects.rows, *effects.interactions)
    if not any(effect.difference.n for effect in both):
        yield "No two trials with the same seed that differ in one axis have finished yet."
    elif all(effect.difference.n < 2 for effect in both):
        yield number_format.ONE_SEED_NOTE
    else:
        yield from _test_notes(effects)
    if effects.left_out:
        yield (
            "Dropped, from another sweep, with another number of steps or a duplicate seed: "
            f"{join_names(effects.left_out)}.")


def _test_notes(effects: Effects) -> Iterator[str]:
    kinds = ("effect", effects.rows), ("interaction", effects.interactions)
    counts = [
        count_noun(count, kind) for kind, of_kind in kinds
        if (count := sum(effect.difference.p is not None for effect in of_kind))]
    yield number_format.interval_note(effects.confidence)
    yield f"p: paired t test, Holm-corrected over {' and separately over '.join(counts)}."
    yield (
        "sd: standard deviation of the differences. finds: the smallest difference that n seeds "
        f"detect with {number_format.percent_with_sign(POWER)} power. needs: seeds to detect a "
        "difference of the size observed. Both without Holm's correction.")


def _design_notes(effects: Effects) -> Iterator[str]:
    if effects.design == "one at a time":
        yield "Each arm differs from the baseline in one axis, so interactions are unknown."
        if effects.missing:
            yield f"{count_noun(effects.missing, 'arm has', 'arms have')} no finished trial yet."
        return
    yield (
        "Effects are means over the combinations of the other axes' levels with finished trials "
        "on both sides (over: their number), and over the seeds that finished in all of these (n).")
    if effects.design == "incomplete grid" or effects.missing:
        yield (
            "The grid is incomplete: "
            f"{count_noun(effects.missing, 'combination')} of levels "
            f"{inflect(effects.missing, 'has', 'have')} no finished trial, so effects may be means "
            "over different combinations.")


def _record(metric: str, effect: Effect) -> dict[str, Any]:
    first, *second = effect.changes
    by = second[0] if second else (None, None, None)
    return {
        "metric": metric, "on": effect.on, **first._asdict(),
        **dict(zip(("by_axis", "by_level", "by_against"), by, strict=True)),
        **effect.difference._asdict(), "p_holm": effect.p_holm, "detectable": effect.detectable,
        "seeds_needed": effect.seeds_needed, "combinations": effect.combinations,
    }
