"""Intervals, paired tests, corrections and power against scipy, statsmodels and hand results."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import warnings

import pytest
import scipy.integrate
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from deepmac_ablate.errors import UserError
from deepmac_ablate.results.statistics import (
    MOST_SEEDS,
    check_confidence,
    detectable_difference,
    holm,
    mean_difference,
    mean_interval,
    paired_difference,
    seeds_needed,
)

VALUES = [0.512, 0.548, 0.531, 0.529]


def test_an_interval_by_hand():
    """The values 1, 2, 3 have sd 1 and t(0.975, 2) = 4.303, so 2 ± 4.303 / sqrt(3)."""
    mean, low, high, n, sd = mean_interval([1.0, 2.0, 3.0])
    assert (2.0, 3, 1.0) == (mean, n, sd)
    assert (2.0 - 2.4842, 2.0 + 2.4842) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_an_interval_agrees_with_scipy(confidence):
    """Intervals are those of `scipy.stats.t.interval` with the standard error."""
    expected = scipy.stats.t.interval(
        confidence, len(VALUES) - 1, scipy.stats.tmean(VALUES), scipy.stats.sem(VALUES))
    assert expected == pytest.approx(mean_interval(VALUES, confidence)[1:3], abs=1e-12)


def test_one_seed_or_none_has_no_interval():
    """One value has a mean but no interval; no value has the mean NaN."""
    assert (0.5, None, None, 1, None) == mean_interval([0.5])
    mean, *rest = mean_interval([])
    assert math.isnan(mean)
    assert [None, None, 0, None] == rest


def test_identical_values_have_an_interval_of_no_width():
    """Identical values give zero-width intervals, and no test where all are 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (0.5, 0.5, 0.5, 3, 0.0) == mean_interval([0.5, 0.5, 0.5])
        assert (0.0, 0.0, 0.0, 2, 0.0, None) == mean_difference([0.0, 0.0])
        certain = paired_difference({0: 0.4, 1: 0.5, 2: 0.7}, {0: 0.3, 1: 0.4, 2: 0.6})
    assert (0.1, 0.1, 0.1, 3, 0.0, 0.0) == pytest.approx(certain, abs=1e-15)


@pytest.mark.parametrize("seeds", [3, 5])
def test_95_percent_of_intervals_contain_the_mean(seeds):
    """Of 2,000 simulated intervals 95 % contain the true mean, within three sigma (1.5 %)."""
    draw = random.Random(seeds)
    intervals = [
        mean_interval([draw.gauss(0.5, 0.02) for _ in range(seeds)]) for _ in range(2000)]
    held = sum(interval.low <= 0.5 <= interval.high for interval in intervals) / len(intervals)
    assert 0.95 == pytest.approx(held, abs=0.015)


def test_no_effect_is_found_as_often_as_alpha_says():
    """Of 2,000 pairs of equal arms with noise per seed, 5 % have p < 0.05."""
    draw = random.Random(1)
    found = 0
    for _ in range(2000):
        noise = [draw.gauss(0.5, 0.1) for _ in range(4)]
        a, b = (
            {seed: value + draw.gauss(0, 0.01) for seed, value in enumerate(noise)} for _ in "ab")
        found += paired_difference(a, b).p < 0.05
    assert 0.05 == pytest.approx(found / 2000, abs=0.015)


def test_differences_use_the_shared_seeds():
    """The shared seeds 1 and 3 differ by 0.1 and 0.3, so t = 2 with one degree of freedom."""
    difference = paired_difference(
        {0: 0.9, 1: 0.5, 3: 0.8}, {1: 0.4, 3: 0.5, 4: 0.1}, confidence=0.95)
    half = 12.7062 * math.sqrt(0.02) / math.sqrt(2)
    assert (0.2, 0.2 - half, 0.2 + half, 2, math.sqrt(0.02)) == pytest.approx(
        difference[:5], abs=1e-4)
    # The t distribution of one degree of freedom is Cauchy's.
    assert 1 - 2 * math.atan(2.0) / math.pi == pytest.approx(difference.p, abs=1e-12)
    assert 0 == paired_difference({0: 0.5}, {1: 0.5}).n


def test_a_paired_test_agrees_with_scipy():
    """Intervals and p values are those of `scipy.stats.ttest_rel`."""
    others = [0.502, 0.541, 0.535, 0.500]
    expected = scipy.stats.ttest_rel(VALUES, others)
    found = paired_difference(dict(enumerate(VALUES)), dict(enumerate(others)))
    assert expected.pvalue == pytest.approx(found.p, abs=1e-12)
    assert tuple(expected.confidence_interval()) == pytest.approx(found[1:3], abs=1e-12)


def test_holm_by_hand():
    """Corrected values are 0.01 · 3, 0.02 · 2, and 0.03 · 1 raised to the one before."""
    assert [0.04, 0.03, None, 0.04] == pytest.approx(holm([0.03, 0.01, None, 0.02]))
    assert [0.03, None] == holm([0.03, None])
    assert [] == holm([])


@pytest.mark.slow
def test_holm_agrees_with_statsmodels():
    """Unsorted and equal p values get the same correction as in statsmodels."""
    p_values = [0.2, 0.001, 0.04, 0.5, 0.012, 0.04, 0.9, 0.0]
    assert list(multipletests(p_values, method="holm")[1]) == holm(p_values)


@pytest.mark.parametrize("seeds", [2, 3, 5, 30])
def test_the_detectable_difference_agrees_with_statsmodels(seeds):
    """The detectable difference is that of the power of a paired t test in statsmodels."""
    found = detectable_difference(0.013, seeds, power=0.8, alpha=0.05)
    expected = TTestPower().solve_power(nobs=seeds, power=0.8, alpha=0.05) * 0.013
    assert expected == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_the_detectable_difference_has_the_requested_power(seeds, alpha):
    """The power integrated numerically over the estimated sd is the requested one."""
    shift = detectable_difference(1.0, seeds, power=0.8, alpha=alpha) * math.sqrt(seeds)
    quantile = scipy.stats.t.ppf(1 - alpha / 2, seeds - 1)
    scatter = scipy.stats.chi(seeds - 1, scale=1 / math.sqrt(seeds - 1))
    found, _ = scipy.integrate.quad(
        lambda s: scatter.pdf(s) * scipy.stats.norm.cdf(shift - quantile * s), 0, 12,
        points=[shift / quantile, 1.0], limit=400)
    assert 0.8 == pytest.approx(found, abs=1e-5)


def test_one_seed_detects_nothing():
    """One seed detects no difference; two seeds without noise detect any."""
    assert detectable_difference(0.1, 1) is None
    assert detectable_difference(0.0, 2) == 0.0


@pytest.mark.parametrize(("difference", "sd"), [(0.02, 0.01), (-0.01, 0.02), (0.05, 0.01)])
def test_the_seeds_that_a_difference_needs(difference, sd):
    """The number of seeds is the first at which the power in statsmodels reaches 80 %."""
    expected = next(
        n for n in range(2, 100)
        if TTestPower().power(abs(difference) / sd, n, 0.05) >= 0.8)
    assert expected == seeds_needed(difference, sd)


def test_small_differences_need_too_many_seeds():
    """Differences that need more than `MOST_SEEDS` seeds have no number of seeds."""
    assert seeds_needed(0.0, 0.1) is None
    assert seeds_needed(0.0001, 0.1) is None
    assert 2 == seeds_needed(0.1, 0.0)
    assert MOST_SEEDS == seeds_needed(detectable_difference(0.1, MOST_SEEDS), 0.1)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, -0.5])
def test_a_confidence_out_of_range_is_refused(confidence):
    """A confidence outside (0, 1), such as a percentage, is refused with an example."""
    with pytest.raises(UserError, match=r"must be between 0 and 1, such as 0\.95, got"):
        check_confidence(confidence)


def test_one_seed_per_arm_imports_no_heavy_library():
    """Without intervals scipy, which takes a second, is not imported."""
    code = """
import sys
from deepmac_ablate.results import statistics
statistics.mean_interval([0.5]); statistics.paired_difference({0: 0.5}, {0: 0.4})
statistics.holm([None, None, 0.1])
print("scipy" in sys.modules)"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False" == run.stdout.strip()
