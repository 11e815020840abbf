"""The bootstrap over images and seeds, against hand calculations, statsmodels and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from deepmac_ablate.results.comparison.bootstrap import (
    benjamini_hochberg,
    bootstrap,
    group_means,
    p_values,
    percentile_interval,
)


def constant(*values):
    """Return a trial for each value, which is its metric on any sample of images."""
    return [lambda weights, value=value: np.array([value]) for value in values]


def differences(a, b, paired, images=1, resamples=2000, seed=0):
    draws = bootstrap(a, b, paired, images, resamples, seed)
    return np.round(draws.b - draws.a, 9)[:, 0]


def shares(values):
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), (counts / len(values)).tolist(), strict=True))


def test_pairs_of_seeds_are_drawn_together():
    """One of two pairs with the differences .1 and .3 is drawn, each in half of the resamples."""
    found = shares(differences(constant(0.2, 0.5), constant(0.3, 0.8), paired=True))
    assert pytest.approx({0.1: 0.5, 0.3: 0.5}, abs=0.04) == found


def test_unpaired_seeds_are_drawn_independently():
    """Each of the four combinations of unpaired seeds is drawn in a quarter of the resamples."""
    found = shares(differences(constant(0.2, 0.5), constant(0.3, 0.8), paired=False))
    assert pytest.approx({0.1: 0.25, 0.6: 0.25, -0.2: 0.25, 0.3: 0.25}, abs=0.04) == found


def test_a_single_seed_is_not_resampled():
    """A single seed is used in every resample, while the other side is resampled."""
    found = shares(differences(constant(0.2), constant(0.3, 0.8), paired=False))
    assert pytest.approx({0.1: 0.5, 0.6: 0.5}, abs=0.04) == found


@pytest.mark.parametrize("values", [(0.1, 0.4), (0.1, 0.4, 0.2), (0.1, 0.4, 0.2, 0.9, 0.3)])
def test_the_variance_over_seeds_is_that_of_a_mean(values):
    """The variance of the draws is s^2 / n with n - 1 in s^2, even for two seeds."""
    found = differences(constant(*[0] * len(values)), constant(*values), True, resamples=8000)
    assert pytest.approx(np.var(values, ddof=1) / len(values), rel=0.06) == found.var()


def test_both_sides_share_the_images_of_a_resample():
    """Variation between images that both sides share does not change the difference."""
    values = np.random.default_rng(0).random(20)
    side = [lambda weights: np.array([weights @ values / weights.sum()])]
    draws = bootstrap(side, side, True, 20, 200, 0)
    assert (draws.a == draws.b).all()
    assert draws.a.std() > 0.01


def test_draws_follow_the_seed():
    """Equal seeds give equal draws, and different seeds different ones."""
    values = np.arange(9.0)
    trial = [lambda weights: np.array([weights @ values])]
    runs = [bootstrap(trial, trial, True, 9, 100, seed).a for seed in (3, 3, 4)]
    assert (runs[0] == runs[1]).all()
    assert (runs[0] != runs[2]).any()


@pytest.mark.slow
def test_intervals_over_images_have_their_coverage():
    """The 95 % interval of a ratio contains the true difference for about 190 of 200 datasets.

    Each of 60 images has one to four objects with a common noise term, and the second side is .02
    better on average.
    """
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        counts = rng.integers(1, 5, 60)
        better = counts * rng.normal(0.02, 0.05, 60) + np.sqrt(counts) * rng.normal(0, 0.05, 60)
        a = [lambda weights: np.zeros(1)]
        b = [lambda weights, s=better, n=counts: np.array([weights @ s / (weights @ n)])]
        draws = bootstrap(a, b, True, 60, 200, int(rng.integers(1 << 30)))
        low, high = percentile_interval(draws.b - draws.a, 0.95)
        held += bool(low[0] <= 0.02 <= high[0])
    assert 0.91 <= held / 200 <= 0.98


def test_percentile_intervals_are_central():
    """The central 90 % of 0..200 is 10..190, and missing draws are ignored."""
    draws = np.stack([np.arange(201.0), np.full(201, np.nan)], axis=1)
    draws = np.concatenate([draws, np.full((50, 2), np.nan)])
    low, high = percentile_interval(draws, 0.9)
    np.testing.assert_allclose([low, high], [[10, np.nan], [190, np.nan]])


def test_p_values_count_the_rarer_side():
    """With 1 of 19 draws at most 0, p is 2 (1 + 1) / (19 + 1); p is at most 1."""
    draws = np.ones((19, 4))
    draws[0, 0], draws[:, 2], draws[:, 3] = -1, 0, np.nan
    np.testing.assert_allclose(p_values(draws), [0.2, 0.1, 1, np.nan])


def test_false_discovery_rates_agree_with_statsmodels():
    """Corrected p values are those of statsmodels, and missing ones are not counted."""
    p = np.array([0.001, np.nan, 0.04, 0.03, 0.5])
    expected = multipletests(p[[0, 2, 3, 4]], method="fdr_bh")[1]
    found = benjamini_hochberg(p)
    np.testing.assert_allclose(found[[0, 2, 3, 4]], expected)
    assert np.isnan(found[1])


def test_group_means_ignore_undefined_classes():
    """Means over a group ignore undefined classes, and are NaN if all are undefined."""
    values = np.array([[0.2, np.nan, 0.6, 1.0], [np.nan, np.nan, np.nan, 1.0]])
    members = np.array([True, True, True, False])
    np.testing.assert_allclose(group_means(values, members), [0.4, np.nan])
