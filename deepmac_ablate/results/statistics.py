"""Intervals over seeds, differences paired by seed, Holm's correction, and the power of n seeds.

Everything rests on Student's t distribution over seeds (Student, Biometrika 6, 1908), which takes
the numbers of a few trainings to be normally distributed around their mean.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deepmac_ablate.errors import UserError

# Digits of a difference of fractions; what is beyond comes from the arithmetic.
_DIGITS = 12

# More seeds than anybody trains.
MOST_SEEDS = 1000


class Interval(NamedTuple):
    """A mean over seeds, and where the mean over all seeds would be.

    Attributes:
        mean: Of the values; NaN where there is none.
        low: Lower end of the confidence interval; None for fewer than two values.
        high: Upper end.
        n: How many values there are.
        sd: Their standard deviation, with n - 1 in the denominator; None for fewer than two.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    sd: float | None


class Difference(NamedTuple):
    """A mean difference over the seeds that both sides have.

    Attributes:
        mean: Of the differences; NaN where no seed is shared.
        low: Lower end of the confidence interval; None for fewer than two seeds.
        high: Upper end.
        n: How many seeds both have.
        sd: The standard deviation of the differences; None for fewer than two seeds.
        p: Of the paired two-sided t test that there is no difference; None for fewer than two.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    sd: float | None
    p: float | None


def check_confidence(confidence: float) -> None:
    """Raise unless a confidence is a share.

    Raises:
        UserError: If it is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise UserError(
            f"A confidence of {confidence:g} makes no sense; it must be between 0 and 1, such as "
            "0.95.")


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent values with its t interval, mean ± t · sd / √n.

    Args:
        values: Finite numbers, one for each seed.
        confidence: How often such an interval holds what the values scatter around, in (0, 1).
    """
    n = len(values)
    if n == 0:
        return Interval(math.nan, None, None, 0, None)
    mean = statistics.fmean(values)
    if n == 1:
        return Interval(mean, None, None, 1, None)
    sd = statistics.stdev(values)
    half = _t_quantile(n - 1, 0.5 + confidence / 2) * sd / math.sqrt(n) if sd else 0.0
    return Interval(mean, mean - half, mean + half, n, sd)


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95
) -> Difference:
    """Return values minus the baseline's, by seed: two trials of one seed share their luck.

    Args:
        values: Finite fractions by seed.
        baseline: What to subtract, by seed.
        confidence: Of the interval, in (0, 1).
    """
    shared = [seed for seed in values if seed in baseline]
    return mean_difference([values[seed] - baseline[seed] for seed in shared], confidence)


def mean_difference(differences: Sequence[float], confidence: float = 0.95) -> Difference:
    """Return the mean of independent differences with its t interval and t test against 0."""
    rounded = [round(difference, _DIGITS) for difference in differences]
    mean, low, high, n, sd = mean_interval(rounded, confidence)
    return Difference(mean, low, high, n, sd, None if sd is None else _p_value(mean, sd, n))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for how many there are (Holm, Scand. J. Statist. 6, 1979).

    Args:
        p_values: None where nothing was tested, which stays None and does not count.
    """
    tested = [p for p in p_values if p is not None]
    if len(tested) < 2:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    corrected = iter(multipletests(tested, method="holm")[1].tolist())
    return [None if p is None else next(corrected) for p in p_values]


def detectable_difference(
    sd: float, n: int, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Return the smallest true difference that a paired t test over n seeds finds.

    With T from the non-central t distribution of n - 1 degrees of freedom and non-centrality δ, it
    is δ · sd / √n where P(T > t(1 - alpha / 2)) = power (Cohen, Statistical Power Analysis for the
    Behavioral Sciences, 1988, ch. 2). That the test errs to the wrong side is left out: for powers
    of one half and more it is rarer than 10^-4.

    Args:
        sd: Of the paired differences.
        n: How many seeds there are.
        power: How often it is to be found, in [0.5, 1).
        alpha: How often the test may find a difference where there is none, in (0, 1).

    Returns:
        None for fewer than two seeds, which find nothing.
    """
    if n < 2:
        return None
    # Not statsmodels: without a warning its solver is 83 % off for two seeds at alpha = 0.01, since
    # the power that it searches is NaN at some differences.
    from scipy.special import nctdtrinc

    centre = nctdtrinc(n - 1, 1 - power, _t_quantile(n - 1, 1 - alpha / 2))
    return float(centre) * sd / math.sqrt(n)


def seeds_needed(
    difference: float, sd: float, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the fewest seeds whose paired t test finds a true difference of this size.

    Args:
        difference: The true difference, of either sign.
        sd: Of the paired differences.
        power: How often it is to be found, in [0.5, 1).
        alpha: How often the test may find a difference where there is none, in (0, 1).

    Returns:
        At least 2; None for more than `MOST_SEEDS`, as for no difference at all.
    """
    def enough(n: int) -> bool:
        return detectable_difference(sd, n, power, alpha) <= abs(difference)

    if difference == 0.0:
        return None
    # With more seeds, smaller differences are found.
    fewest = bisect.bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=enough)
    return fewest if fewest <= MOST_SEEDS else None


def _t_quantile(freedom: int, share: float) -> float:
    # scipy.stats has the same number and takes seconds to import.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _p_value(mean: float, sd: float, n: int) -> float:
    if sd == 0.0:
        return 0.0 if mean else 1.0
    from scipy.special import stdtr

    return float(2.0 * stdtr(n - 1, -abs(mean) / (sd / math.sqrt(n))))
