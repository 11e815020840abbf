"""Bootstrap over images and seeds.

Images and seeds are crossed, because every trial scores the same images. Each resample draws both
independently (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 1, 2007, 386-411; for
means it is slightly conservative), and all trials share the draw of images. Intervals are
percentiles of the differences (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
ch. 13).

Each resample draws n - 1 of n seeds: with n draws the variance of a mean would be too small by a
factor of (n - 1) / n, one half for two seeds, and n - 1 draws correct exactly that (Rao and Wu,
Journal of the American Statistical Association 83, 1988, 231-241). A single seed is not resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deepmac_ablate.progress import track
from deepmac_ablate.results.comparison.scored_images import ByClass


class Draws(NamedTuple):
    """The metric of both sides in each of B resamples, for each of C classes.

    Attributes:
        a: [B, C] means of the first side over the drawn seeds, in [0, 1]; NaN if no instance of the
            class was drawn.
        b: [B, C] means of the second side.
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
    """Return the metric of both sides in resamples of images and seeds.

    Args:
        side_a: The function `ScoredImages.by_class` of each trial of the first side.
        side_b: The functions of the second side.
        paired: True if trials at the same position have the same seed, so that they are drawn
            together.
        images: The number of images.
        resamples: The number of resamples.
        seed: The seed of the draws.
    """
    rng = np.random.default_rng(seed)
    a, b = [], []
    for _ in track(range(resamples), resamples, "Resampling"):
        weights = np.bincount(rng.integers(images, size=images), minlength=images)
        seeds_a = _draw_seeds(rng, len(side_a))
        seeds_b = seeds_a if paired else _draw_seeds(rng, len(side_b))
        a.append(_mean_over_seeds(side_a, seeds_a, weights))
        b.append(_mean_over_seeds(side_b, seeds_b, weights))
    return Draws(np.array(a), np.array(b))


def group_means(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return the means over a group of classes, ignoring classes without a value.

    Args:
        values: [..., C] values, NaN if missing.
        members: [C] bool, true for the classes of the group.

    Returns:
        [...] means, NaN if no class of the group has a value.
    """
    chosen = values[..., members]
    known = ~np.isnan(chosen)
    with np.errstate(invalid="ignore"):
        return np.where(known, chosen, 0.0).sum(axis=-1) / known.sum(axis=-1)


def percentile_interval(
    draws: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the central interval that contains a share of the draws.

    Args:
        draws: [B, N] draws; NaN is ignored.
        confidence: The share, in (0, 1).

    Returns:
        The lower ends [N] and the upper ends [N], NaN if there is no draw.
    """
    low, high = np.full((2, draws.shape[1]), np.nan)
    known = ~np.isnan(draws).all(axis=0)
    tail = (1 - confidence) / 2
    low[known], high[known] = np.nanquantile(draws[:, known], [tail, 1 - tail], axis=0)
    return low, high


def p_values(draws: np.ndarray) -> np.ndarray:
    """Return two-sided p values: twice the share of resamples on the rarer side of 0.

    The test rejects when the percentile interval excludes 0. One is added to numerator and
    denominator (Davison and Hinkley, Bootstrap Methods and their Application, 1997, ch. 4), so that
    the smallest p value is 2 / (B + 1).

    Args:
        draws: [B, N] differences; NaN is ignored.

    Returns:
        [N] p values in (0, 1], NaN if there is no draw.
    """
    known = (~np.isnan(draws)).sum(axis=0)
    rarer = np.minimum((draws <= 0).sum(axis=0), (draws >= 0).sum(axis=0))
    return np.where(known > 0, np.minimum(1.0, 2 * (rarer + 1) / (known + 1)), np.nan)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Return p values corrected for their number by controlling the false discovery rate.

    If every class with a value below q is taken as different, an expected share q of them is not
    (Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995, 289-300).

    Args:
        p: [N] p values; NaN marks a missing test, which stays NaN and is not counted.

    Returns:
        [N] corrected p values in (0, 1].
    """
    corrected = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        from scipy.stats import false_discovery_control

        corrected[known] = false_discovery_control(p[known])
    return corrected


def _draw_seeds(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return the number of times that each of n seeds is drawn."""
    return np.ones(1) if n == 1 else np.bincount(rng.integers(n, size=n - 1), minlength=n)


def _mean_over_seeds(
    side: Sequence[ByClass], counts: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mean over drawn seeds, without computing the metric of the others."""
    drawn = [n * by_class(weights) for n, by_class in zip(counts, side, strict=True) if n]
    return np.sum(drawn, axis=0) / counts.sum()
