"""Intervals, paired tests, corrections and power against scipy, statsmodels and a pencil."""

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
    """Of 1, 2, 3: sd 1, t(0.975, 2) = 4.303 as in every table, so 2 ± 4.303 / sqrt(3)."""
    mean, low, high, n, sd = mean_interval([1.0, 2.0, 3.0])
    assert (2.0, 3, 1.0) == (mean, n, sd)
    assert (2.0 - 2.4842, 2.0 + 2.4842) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_an_interval_is_scipys(confidence):
    """`scipy.stats.t.interval` with the standard error."""
    expected = scipy.stats.t.interval(
        confidence, len(VALUES) - 1, scipy.stats.tmean(VALUES), scipy.stats.sem(VALUES))
    assert expected == pytest.approx(mean_interval(VALUES, confidence)[1:3], abs=1e-12)


def test_what_one_seed_or_none_says():
    """A mean without an interval; NaN."""
    assert (0.5, None, None, 1, None) == mean_interval([0.5])
    mean, *rest = mean_interval([])
    assert math.isnan(mean)
    assert [None, None, 0, None] == rest


def test_identical_values_have_an_interval_of_no_width():
    """And nothing is warned of; a difference is then certain, or certainly none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (0.5, 0.5, 0.5, 3, 0.0) == mean_interval([0.5, 0.5, 0.5])
        assert (0.0, 0.0, 0.0, 2, 0.0, 1.0) == mean_difference([0.0, 0.0])
        certain = paired_difference({0: 0.4, 1: 0.5, 2: 0.7}, {0: 0.3, 1: 0.4, 2: 0.6})
    assert (0.1, 0.1, 0.1, 3, 0.0, 0.0) == pytest.approx(certain, abs=1e-15)


@pytest.mark.parametrize("seeds", [3, 5])
def test_95_percent_of_intervals_hold_the_mean(seeds):
    """Of 2,000 simulated arms around 0.5, within what chance allows (1.5 %: three sigma)."""
    draw = random.Random(seeds)
    intervals = [
        mean_interval([draw.gauss(0.5, 0.02) for _ in range(seeds)]) for _ in range(2000)]
    held = sum(it.low <= 0.5 <= it.high for it in intervals) / len(intervals)
    assert 0.95 == pytest.approx(held, abs=0.015)


def test_no_effect_is_found_as_often_as_alpha_says():
    """Of 2,000 pairs of equal arms that share the luck of their seeds, 5 % have p < 0.05."""
    draw = random.Random(1)
    found = 0
    for _ in range(2000):
        luck = [draw.gauss(0.5, 0.1) for _ in range(4)]
        a, b = ({s: it + draw.gauss(0, 0.01) for s, it in enumerate(luck)} for _ in "ab")
        found += paired_difference(a, b).p < 0.05
    assert 0.05 == pytest.approx(found / 2000, abs=0.015)


def test_differences_are_of_the_seeds_that_both_have():
    """By hand: seeds 1 and 3 are shared, with 0.1 and 0.3: t = 2 at one degree of freedom."""
    difference = paired_difference(
        {0: 0.9, 1: 0.5, 3: 0.8}, {1: 0.4, 3: 0.5, 4: 0.1}, confidence=0.95)
    half = 12.7062 * math.sqrt(0.02) / math.sqrt(2)
    assert (0.2, 0.2 - half, 0.2 + half, 2, math.sqrt(0.02)) == pytest.approx(
        difference[:5], abs=1e-4)
    # The t distribution of one degree of freedom is Cauchy's.
    assert 1 - 2 * math.atan(2.0) / math.pi == pytest.approx(difference.p, abs=1e-12)
    assert 0 == paired_difference({0: 0.5}, {1: 0.5}).n


def test_a_paired_test_is_scipys():
    """`scipy.stats.ttest_rel`, its interval included."""
    others = [0.502, 0.541, 0.535, 0.500]
    expected = scipy.stats.ttest_rel(VALUES, others)
    found = paired_difference(dict(enumerate(VALUES)), dict(enumerate(others)))
    assert expected.pvalue == pytest.approx(found.p, abs=1e-12)
    assert tuple(expected.confidence_interval()) == pytest.approx(found[1:3], abs=1e-12)


def test_holm_by_hand():
    """0.01 · 3, 0.02 · 2, and 0.03 · 1, which must not be less than the one before."""
    assert [0.04, 0.03, None, 0.04] == pytest.approx(holm([0.03, 0.01, None, 0.02]))
    assert [0.03, None] == holm([0.03, None])
    assert [] == holm([])


def test_holm_is_statsmodels():
    """Whatever the order."""
    p_values = [0.2, 0.001, 0.04, 0.5, 0.012, 0.9]
    assert list(multipletests(p_values, method="holm")[1]) == holm(p_values)


@pytest.mark.parametrize("seeds", [2, 3, 5, 30])
def test_the_smallest_difference_that_is_found(seeds):
    """`statsmodels`' power of a paired t test, which knows the same noncentral t distribution."""
    found = detectable_difference(0.013, seeds, power=0.8, alpha=0.05)
    expected = TTestPower().solve_power(nobs=seeds, power=0.8, alpha=0.05) * 0.013
    assert expected == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_the_smallest_difference_is_found_as_often_as_asked(seeds, alpha):
    """The probability of t beyond its quantile, integrated over the estimate of the scatter."""
    shift = detectable_difference(1.0, seeds, power=0.8, alpha=alpha) * math.sqrt(seeds)
    quantile = scipy.stats.t.ppf(1 - alpha / 2, seeds - 1)
    scatter = scipy.stats.chi(seeds - 1, scale=1 / math.sqrt(seeds - 1))
    found, _ = scipy.integrate.quad(
        lambda s: scatter.pdf(s) * scipy.stats.norm.cdf(shift - quantile * s), 0, 12,
        points=[shift / quantile, 1.0], limit=400)
    assert 0.8 == pytest.approx(found, abs=1e-5)


def test_one_seed_detects_nothing():
    """And without scatter, two detect everything."""
    assert detectable_difference(0.1, 1) is None
    assert detectable_difference(0.0, 2) == 0.0


@pytest.mark.parametrize(("difference", "sd"), [(0.02, 0.01), (-0.01, 0.02), (0.05, 0.01)])
def test_the_seeds_that_a_difference_needs(difference, sd):
    """The first number at which `statsmodels`' power is 80 %, searched one by one."""
    expected = next(
        n for n in range(2, 100)
        if TTestPower().power(abs(difference) / sd, n, 0.05) >= 0.8)
    assert expected == seeds_needed(difference, sd)


def test_some_differences_need_more_seeds_than_there_will_be():
    """Nothing is promised then."""
    assert seeds_needed(0.0, 0.1) is None
    assert seeds_needed(0.0001, 0.1) is None
    assert 2 == seeds_needed(0.1, 0.0)
    # The least that a thousand find.
    assert MOST_SEEDS == seeds_needed(detectable_difference(0.1, MOST_SEEDS), 0.1)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, -0.5])
def test_a_confidence_is_a_share(confidence):
    """Percent is refused with an example."""
    with pytest.raises(UserError, match=r"it must be between 0 and 1, such as 0\.95"):
        check_confidence(confidence)


def test_one_seed_an_arm_needs_no_heavy_library():
    """Neither scipy nor statsmodels, whose imports take seconds."""
    code = """
import sys
from deepmac_ablate.results import statistics
statistics.mean_interval([0.5]); statistics.paired_difference({0: 0.5}, {0: 0.4})
statistics.holm([None, None, 0.1])
print([name for name in ("scipy", "statsmodels") if name in sys.modules])"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == run.stdout.strip()
