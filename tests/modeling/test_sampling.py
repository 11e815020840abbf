"""Counts, fairness and repeatability of the random draws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from deepmac_ablate.modeling import sampling

SEEDS = 2000


def draw(positive: np.ndarray, negative: np.ndarray, wanted: int, share: float, seed: int):
    """One row's sample mask."""
    priorities = sampling.balanced_priorities(
        tf.constant(positive[np.newaxis]), tf.constant(negative[np.newaxis]), wanted, share,
        tf.constant([seed, 0]))
    return sampling.sample_mask(priorities, wanted)[0].numpy()


def candidates(num_positive: int, num_negative: int, num_other: int) -> tuple:
    """Positives, negatives and neither, in a fixed shuffled order."""
    kind = np.repeat([1, -1, 0], [num_positive, num_negative, num_other])
    kind = np.random.default_rng(0).permutation(kind)
    return kind == 1, kind == -1


@pytest.mark.parametrize(
    ("num_positive", "num_negative", "wanted", "share"),
    list(itertools.product([0, 1, 3, 10], [0, 2, 20], [1, 8, 16, 64], [0.0, 0.25, 0.5, 1.0])))
def test_counts_follow_the_rule(
    num_positive: int, num_negative: int, wanted: int, share: float
) -> None:
    """Positives up to their share, rounded down; negatives fill; others are never drawn."""
    positive, negative = candidates(num_positive, num_negative, num_other=5)
    drawn = draw(positive, negative, wanted, share, seed=1)
    expected_positives = min(num_positive, int(wanted * share))
    assert expected_positives == (drawn & positive).sum()
    assert min(num_negative, wanted - expected_positives) == (drawn & negative).sum()
    assert not (drawn & ~positive & ~negative).any()


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_filling_comes_last(share: float) -> None:
    """An exact number of indices holds the sample first, then surplus positives, then others."""
    positive, negative = candidates(10, 4, 6)
    priorities = sampling.balanced_priorities(
        tf.constant(positive[np.newaxis]), tf.constant(negative[np.newaxis]), 16, share,
        tf.constant([1, 2]))
    index = sampling.sample_indices(priorities, 16)[0].numpy()
    kinds = np.where(positive, "p", np.where(negative, "n", "-"))[index]
    most = int(16 * share)
    expected = "p" * most + "n" * 4 + "p" * (10 - most) + "-" * 2
    assert expected == "".join(kinds)
    assert len(set(index)) == 16


def test_every_candidate_is_drawn_equally_often() -> None:
    """Over many seeds each positive and each negative is drawn in proportion (chi-square)."""
    positive, negative = candidates(12, 30, 5)
    tiled = [tf.constant(np.tile(x, (SEEDS, 1))) for x in (positive, negative)]
    priorities = sampling.balanced_priorities(*tiled, 16, 0.25, tf.constant([4, 2]))
    counts = tf.reduce_sum(tf.cast(sampling.sample_mask(priorities, 16), tf.int32), axis=0).numpy()
    for members, expected_total in ((positive, 4 * SEEDS), (negative, 12 * SEEDS)):
        expected = expected_total / members.sum()
        assert expected_total == counts[members].sum()
        chi_square = ((counts[members] - expected) ** 2 / expected).sum()
        # Draws without replacement spread less than the chi-square law; four of its standard
        # deviations above its mean are far out.
        degrees = members.sum() - 1
        assert chi_square < degrees + 4 * np.sqrt(2 * degrees)


def test_rows_are_drawn_independently() -> None:
    """Equal rows of one batch do not get equal samples."""
    positive, negative = (np.tile(x, (2, 1)) for x in candidates(20, 60, 0))
    priorities = sampling.balanced_priorities(
        tf.constant(positive), tf.constant(negative), 16, 0.5, tf.constant([0, 1]))
    first, second = sampling.sample_mask(priorities, 16).numpy()
    assert (first != second).any()


def test_the_seed_decides() -> None:
    """The same seed draws the same sample, another seed another one."""
    positive, negative = candidates(20, 60, 0)
    first, again, other = (draw(positive, negative, 16, 0.5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.slow
def test_xla_draws_the_same_numbers() -> None:
    """A trial draws the same on an accelerator as on a laptop, whatever seed a step brings."""
    def numbers(seed: tf.Tensor) -> tf.Tensor:
        return sampling.uniform([100], sampling.fold_in(seed, 3))

    for seed in ([1, 2], [0, 0], [-5, 2**31 - 1]):
        expected = numbers(tf.constant(seed)).numpy()
        for compiled in (False, True):
            actual = tf.function(numbers, jit_compile=compiled)(tf.Variable(seed))
            np.testing.assert_array_equal(expected, actual)


def test_numbers_are_a_function_of_position_and_seed() -> None:
    """In plain Python integers: the hash of the position, mixed with two words of the seed."""
    def mix(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ x >> 16

    first = mix((mix(7) + 11) % 2**32)
    second = mix((first + 0x9E3779B9) % 2**32)
    expected = [((mix((mix(i ^ first) + second) % 2**32) >> 9) + 0.5) / 2**23 for i in range(6)]
    actual = sampling.uniform(tf.constant([2, 3]), tf.constant([7, 11]))
    np.testing.assert_array_equal(np.reshape(expected, (2, 3)), actual)


def test_numbers_are_uniform_and_independent() -> None:
    """Kolmogorov-Smirnov over 100,000 numbers; no correlation along positions or seeds."""
    seeds = [(0, 0), (0, 1), (1, 0), (1, 1), (3, 2), (1000, 7)]
    draws = np.stack([sampling.uniform([100_000], tf.constant(seed)) for seed in seeds])
    assert 0.0 < draws.min() < draws.max() < 1.0
    for row in draws:
        assert stats.kstest(row, "uniform").pvalue > 1e-4
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 0.015
    correlations = np.corrcoef(draws)[np.triu_indices(len(seeds), k=1)]
    assert np.abs(correlations).max() < 0.015


def test_folded_seeds_draw_apart() -> None:
    """Neither another number, the seed itself, nor a neighbouring seed gives the same draws."""
    seeds = [tf.constant([first, second]) for first in (3, 4, 5) for second in (5, 6)]
    seeds += [sampling.fold_in(seed, number) for seed in seeds for number in range(4)]
    draws = {tuple(sampling.uniform([8], each).numpy().tolist()) for each in seeds}
    assert len(draws) == len(seeds) == 6 + 24


def test_an_image_draws_the_same_in_any_batch() -> None:
    """Given a seed for each image; so devices may share a batch, and images may change places."""
    seeds = tf.constant([[3, 0], [3, 1], [3, 2]])
    together = sampling.uniform([3, 2, 5], seeds).numpy()
    for index in (2, 0):
        alone = sampling.uniform([1, 2, 5], seeds[index : index + 1]).numpy()
        np.testing.assert_array_equal(together[index : index + 1], alone)
        np.testing.assert_array_equal(
            sampling.uniform([2, 5], seeds[index]).numpy(), together[index])
    assert 3 * 2 * 5 == len(np.unique(together))
    folded = sampling.uniform([3, 4], sampling.fold_in(seeds, 1)).numpy()
    np.testing.assert_array_equal(
        folded[2], sampling.uniform([4], sampling.fold_in(seeds[2], 1)).numpy())
