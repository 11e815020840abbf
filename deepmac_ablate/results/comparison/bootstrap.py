"""The bootstrap over images and seeds: how far would a difference move with others of both?

Images and seeds are crossed, as every trial scores the same images. Each resample draws both anew,
independently of each other (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 1, 2007,
386-411; for means it errs a little to the safe side), and all trials share the draw of images.
Intervals are percentiles of the differences (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 13).

Of n seeds n - 1 are drawn: over n draws the variance of a mean would come out (n - 1) / n of what
it is, a half for two seeds, and this removes exactly that (Rao and Wu, Journal of the American
Statistical Association 83, 1988, 231-241). Of one seed nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmac_ablate.progress import track
from deepmac_ablate.results.comparison.scored_images import ByClass


class Draws(NamedTuple):
    """What both sides come to in each of B resamples, by class.

    Attributes:
        a: [B, C] mean over the drawn seeds, in [0, 1]; NaN where no instance was drawn.
        b: [B, C] of the other side.
    """

    a: np.ndarray
    b: np.ndarray


def bootstrap(
    side_a: Sequence[ByClass],
    side_b: Sequence[ByClass],
    paired: bool,
    images: int,
    resamples: int,
    seed: int,
) -> Draws:
    """Return the numbers of both sides in resamples of images and seeds.

    Args:
        side_a: One for each trial, see `ScoredImages.by_class`.
        side_b: Of the other side.
        paired: Whether the trials at one place have one seed, so that they are drawn together.
        images: How many there are.
        resamples: How many to draw.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    a, b = [], []
    for _ in track(range(resamples), resamples, "Resampling"):
        weights = np.bincount(rng.integers(images, size=images), minlength=images)
        seeds_a = _seeds(rng, len(side_a))
        seeds_b = seeds_a if paired else _seeds(rng, len(side_b))
        a.append(_mean(side_a, seeds_a, weights))
        b.append(_mean(side_b, seeds_b, weights))
    return Draws(np.array(a), np.array(b))


def group_means(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the means over a group of classes; classes without a value do not count.

    Args:
        values: [..., C].
        members: [C] bool.

    Returns:
        [...], NaN where no class has a value.
    """
    chosen = values[..., members]
    known = ~np.isnan(chosen)
    with np.errstate(invalid="ignore"):
        return np.where(known, chosen, 0.0).sum(axis=-1) / known.sum(axis=-1)


def percentile_interval(
    draws: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval that holds a share of the draws, as many left as right.

    Args:
        draws: [B, N]; NaN does not count.
        confidence: The share, in (0, 1).

    Returns:
        [N] and [N], NaN where there is no draw.
    """
    low, high = np.full((2, draws.shape[1]), np.nan)
    known = ~np.isnan(draws).all(axis=0)
    tail = (1 - confidence) / 2
    low[known], high[known] = np.nanquantile(draws[:, known], [tail, 1 - tail], axis=0)
    return low, high


def p_values(draws: np.ndarray) -> np.ndarray:
    """Return twice the share of resamples on the rarer side of 0, at least 2 / (B + 1).

    The p value whose test rejects where the percentile interval excludes 0, with one added above
    and below (Davison and Hinkley, Bootstrap Methods and their Application, 1997, ch. 4).

    Args:
        draws: [B, N] differences; NaN does not count.

    Returns:
        [N] in (0, 1], NaN where there is no draw.
    """
    known = (~np.isnan(draws)).sum(axis=0)
    rarer = np.minimum((draws <= 0).sum(axis=0), (draws >= 0).sum(axis=0))
    return np.where(known > 0, np.minimum(1.0, 2 * (rarer + 1) / (known + 1)), np.nan)


def false_discoveries(p: np.ndarray) -> np.ndarray:
    """Return p values corrected for how many there are, by Benjamini and Hochberg.

    Where all that are below q are believed, a share q of them is expected to be wrong (Benjamini
    and Hochberg, Journal of the Royal Statistical Society B 57, 1995, 289-300).

    Args:
        p: [N]; NaN where nothing was tested, which stays NaN and does not count.
    """
    corrected = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        from scipy.stats import false_discovery_control

        corrected[known] = false_discovery_control(p[known])
    return corrected


def _seeds(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return how often each of n seeds is drawn."""
    return np.ones(1) if n == 1 else np.bincount(rng.integers(n, size=n - 1), minlength=n)


def _mean(side: Sequence[ByClass], times: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over drawn seeds; those that were not drawn are not computed."""
    drawn = [n * by_class(weights) for n, by_class in zip(times, side, strict=True) if n]
    return np.sum(drawn, axis=0) / times.sum()
