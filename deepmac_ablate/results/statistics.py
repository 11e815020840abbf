"""Intervals over seeds, differences paired by seed, Holm's correction, and the power of n seeds.

All tests and intervals use Student's t distribution over seeds (Student, Biometrika 6, 1908), which
assumes that a metric is normally distributed over seeds.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deepmac_ablate.errors import UserError

# Decimals of a difference of fractions; further ones are rounding errors.
_DIGITS = 12

# The search for the number of seeds that are needed ends here.
MOST_SEEDS = 1000


class Interval(NamedTuple):
    """A mean over seeds and its confidence interval.

    Attributes:
        mean: The mean of the values; NaN if there are none.
        low: The lower end of the confidence interval; None for fewer than two values.
        high: The upper end of the confidence interval; None for fewer than two values.
        n: The number of values.
        sd: The standard deviation, with n - 1 in the denominator; None for fewer than two values.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    sd: float | None


class Difference(NamedTuple):
    """A mean difference over the seeds that both sides share.

    Attributes:
        mean: The mean of the differences; NaN if no seed is shared.
        low: The lower end of the confidence interval; None for fewer than two seeds.
        high: The upper end of the confidence interval; None for fewer than two seeds.
        n: The number of seeds that both sides have.
        sd: The standard deviation of the differences; None for fewer than two seeds.
        p: The p value of the paired two-sided t test; None for fewer than two seeds, or if all
            differences are 0, as where a frozen part gives every arm the same boxes.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    sd: float | None
    p: float | None


def check_confidence(confidence: float) -> None:
    """Check that a confidence is in (0, 1).

    Raises:
        UserError: If it is not.
    """
    if not 0.0 < confidence < 1.0:
        raise UserError(
            f"The confidence must be between 0 and 1, such as 0.95, got {confidence:g}.")


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, evaluated_per_trained: float = 0.0
) -> Interval:
    """Return the mean of values with its t interval, mean ± t · sd · √(1/n + r).

    Args:
        values: One finite number per seed, or per random split of the same images.
        confidence: The confidence of the interval, in (0, 1).
        evaluated_per_trained: The ratio r: 0 for independent values. Values of random splits of the
            same images are correlated; with the number of evaluated images per image trained on,
            the interval allows for that (Nadeau and Bengio, Machine Learning 52, 2003).
    """
    n = len(values)
    if n == 0:
        return Interval(math.nan, None, None, 0, None)
    mean = statistics.fmean(values)
    if n == 1:
        return Interval(mean, None, None, 1, None)
    sd = statistics.stdev(values)
    error = sd * math.sqrt(1 / n + evaluated_per_trained)
    half = _t_quantile(n - 1, 0.5 + confidence / 2) * error if sd else 0.0
    return Interval(mean, mean - half, mean + half, n, sd)


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95
) -> Difference:
    """Return the mean difference to the baseline, paired by seed.

    Args:
        values: Finite fractions by seed.
        baseline: The fractions to subtract, by seed.
        confidence: The confidence of the interval, in (0, 1).
    """
    shared = [seed for seed in values if seed in baseline]
    return mean_difference([values[seed] - baseline[seed] for seed in shared], confidence)


def mean_difference(
    differences: Sequence[float], confidence: float = 0.95, evaluated_per_trained: float = 0.0
) -> Difference:
    """Return the mean of differences with its t interval and t test against 0.

    Args:
        differences: Finite differences, as the values of `mean_interval`.
        confidence: The confidence of the interval, in (0, 1).
        evaluated_per_trained: As for `mean_interval`; it also corrects the test.
    """
    rounded = [round(difference, _DIGITS) for difference in differences]
    mean, low, high, n, sd = mean_interval(rounded, confidence, evaluated_per_trained)
    p = None if sd is None else _p_value(mean, sd, 1 / n + evaluated_per_trained, n - 1)
    return Difference(mean, low, high, n, sd, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values with Holm's correction for their number (Scand. J. Statist. 6, 1979).

    Args:
        p_values: Uncorrected p values; None marks a missing test, which stays None and is not
            counted.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = corrected[place] = min(1.0, max(largest, (len(tested) - rank) * p))
    return corrected


def detectable_difference(
    sd: float, n: int, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Return the smallest true difference that a paired t test over n seeds detects.

    With T from the non-central t distribution of n - 1 degrees of freedom and non-centrality δ, it
    is δ · sd / √n where P(T > t(1 - alpha / 2)) = power (Cohen, Statistical Power Analysis for the
    Behavioral Sciences, 1988, ch. 2). Rejections in the wrong direction are ignored; for a power of
    at least one half their probability is below 10^-4.

    Args:
        sd: The standard deviation of the paired differences.
        n: The number of seeds.
        power: The probability of detecting the difference, in [0.5, 1).
        alpha: The significance level of the two-sided test, in (0, 1).

    Returns:
        The difference; None for fewer than two seeds.
    """
    if n < 2:
        return None
    # Not statsmodels: its solver is 83 % off for two seeds at alpha = 0.01, without a warning,
    # because the power that it searches is NaN at some differences.
    from scipy.special import nctdtrinc

    centre = nctdtrinc(n - 1, 1 - power, _t_quantile(n - 1, 1 - alpha / 2))
    return float(centre) * sd / math.sqrt(n)


def seeds_needed(
    difference: float, sd: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the smallest number of seeds whose paired t test detects a true difference.

    Args:
        difference: The true difference, of either sign.
        sd: The standard deviation of the paired differences.
        power: The probability of detecting the difference, in [0.5, 1).
        alpha: The significance level of the two-sided test, in (0, 1).

    Returns:
        At least 2; None for more than `MOST_SEEDS`, and for a difference of zero.
    """
    def is_enough(n: int) -> bool:
        return detectable_difference(sd, n, power, alpha) <= abs(difference)

    if difference == 0.0:
        return None
    # More seeds detect smaller differences, so a binary search works.
    fewest = bisect.bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=is_enough)
    return fewest if fewest <= MOST_SEEDS else None


def _t_quantile(degrees_of_freedom: int, probability: float) -> float:
    # scipy.stats has the same function but takes seconds to import.
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, probability))


def _p_value(
    mean: float, sd: float, variances: float, degrees_of_freedom: int
) -> float | None:
    if sd == 0.0:
        return 0.0 if mean else None
    from scipy.special import stdtr

    return float(2.0 * stdtr(degrees_of_freedom, -abs(mean) / (sd * math.sqrt(variances))))
