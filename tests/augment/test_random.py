import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from augment import _random


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 2.0])
def test_beta_draws_follow_the_distribution(alpha):
    uniform = _random.random_uniform([3, 1], (20_000,), "test")
    draws = _random.uniform_to_beta(uniform, alpha).numpy()
    # Below and above 1/2 apart: with a small alpha over 1 % of the draws are nearer to 1 than
    # float64 can tell, and count as 1; near 0 it can.
    low, high = draws[draws < 0.5], draws[draws >= 0.5]
    assert stats.binomtest(low.size, draws.size, 0.5).pvalue > 0.001
    distribution = stats.beta(alpha, alpha)
    assert stats.kstest(low, lambda value: 2 * distribution.cdf(value)).pvalue > 0.001
    high = high[high < 1 - 1e-9]
    below = distribution.cdf(1 - 1e-9) - 0.5
    law = stats.kstest(high, lambda value: (distribution.cdf(value) - 0.5) / below)
    assert law.pvalue > 0.001
    assert draws.min() >= 0
    assert draws.max() <= 1
    # Moments in closed form: mean 1/2, variance 1 / (4 (2 alpha + 1)).
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(variance / draws.size)
    assert abs(draws.var() / variance - 1) < 0.05


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_table_of_quantiles_is_evenly_spaced_in_probability(alpha):
    quantiles = _random.beta_quantiles(alpha)
    steps = np.diff(stats.beta(alpha, alpha).cdf(quantiles[: quantiles.size // 2]))
    np.testing.assert_allclose(steps, 1 / quantiles.size, rtol=1e-6)
    np.testing.assert_allclose(quantiles + quantiles[::-1], 1, rtol=1e-12)
    median = (quantiles[quantiles.size // 2 - 1] + quantiles[quantiles.size // 2]) / 2
    assert median == 0.5


def test_uniform_draws_are_uniform_and_independent():
    rows = _random.random_uniform([3, 1], (10_000, 4), "test").numpy()
    for column in rows.T:
        assert stats.kstest(column, "uniform").pvalue > 0.001
    correlation = np.corrcoef(rows.T)
    assert np.abs(correlation - np.eye(4)).max() < 0.04


def test_integers_are_uniform_below_the_limit():
    uniform = _random.random_uniform([5, 2], (9_000,), "test")
    counts = np.bincount(_random.uniform_to_integer(uniform, 9).numpy(), minlength=9)
    assert counts.size == 9
    assert stats.chisquare(counts).pvalue > 0.001
    largest = tf.constant(1 - 2.0**-32, tf.float64)
    assert _random.uniform_to_integer(largest, 2**20).numpy() == 2**20 - 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (([1, 2], "flip"), ([1, 2], "crop")),
        (([1, 2], "flip"), ([1, 3], "flip")),
        (([1, 2], "flip"), ([2, 2], "flip")),
        (([1, 2], "flip"), ([2, 1], "flip")),
    ],
)
def test_other_names_and_seeds_give_unrelated_draws(first, second):
    draws = [
        _random.random_uniform(seed, (10_000,), name).numpy() for seed, name in (first, second)
    ]
    assert abs(np.corrcoef(draws)[0, 1]) < 0.04


def test_consecutive_steps_are_uniform_and_uncorrelated():
    steps = tf.data.Dataset.range(2000)
    draws = steps.map(lambda step: _random.random_uniform(tf.stack([0, step]), (), "test"))
    draws = np.array(list(draws.as_numpy_iterator()))
    assert stats.kstest(draws, "uniform").pvalue > 0.001
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.09


def test_draws_of_an_image_do_not_depend_on_the_size_of_the_batch():
    long = _random.random_uniform([1, 1], (128, 5), "test").numpy()
    short = _random.random_uniform([1, 1], (7, 5), "test").numpy()
    np.testing.assert_array_equal(short, long[:7])


def test_draws_are_the_same_bits_under_xla():
    def draw(seed):
        uniform = _random.random_uniform(seed, (500, 3), "test")
        keys = _random.random_bits(seed, (4,), "keys")
        return uniform, _random.uniform_to_beta(uniform, 0.2), _random.noise_bytes(keys, 100)

    eager = draw(tf.constant([-5, 2]))
    compiled = tf.function(draw, jit_compile=True)(tf.constant([-5, 2]))
    for one, other in zip(eager, compiled, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32"])
def test_seeds_of_any_integer_dtype_are_the_same(dtype):
    draws = _random.random_bits(np.array([1, 2], dtype), (8,), "test").numpy()
    np.testing.assert_array_equal(draws, _random.random_bits([1, 2], (8,), "test").numpy())


def test_fold_seed_keeps_numbers_apart():
    folded = {tuple(_random.fold_seed([1, 2], number).numpy()) for number in range(20)}
    assert len(folded) == 20
    assert (1, 2) not in folded
    draws = [_random.random_uniform(_random.fold_seed([1, 2], 1), (10_000,), "test").numpy()]
    draws.append(_random.random_uniform([1, 2], (10_000,), "test").numpy())
    assert abs(np.corrcoef(draws)[0, 1]) < 0.04


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(counter, key, expected):
    key, first = tf.constant(key, tf.uint32), tf.constant(counter[:1], tf.uint32)
    words = _random.threefry(key, first, np.uint32(counter[1]))
    assert tuple(int(word[0]) for word in words) == expected


def test_large_and_negative_seeds_differ():
    seeds = ([1, 2], [1 + 2**32, 2], [1, 2 + 2**40], [-1, 2], [2**32 - 1, 2], [2, 1])
    draws = {_random.random_bits(seed, (), "test").numpy() for seed in seeds}
    assert len(draws) == len(seeds)


@pytest.mark.parametrize("seed", [1, [1], [1, 2, 3], [1.0, 2.0], [[1, 2]]])
def test_seeds_of_another_shape_or_dtype_are_refused(seed):
    with pytest.raises(ValueError, match="seed must be two integers"):
        _random.check_seed(seed)


def test_noise_bytes_are_the_top_of_the_finaliser_of_murmurhash():
    # fmix32(1) = 0x514E28B7 and fmix32(0) = 0, as published.
    keys = tf.constant([1, 0], tf.uint32)
    np.testing.assert_array_equal(_random.noise_bytes(keys, 1), [[0x51], [0]])


def test_noise_bytes_look_random():
    keys = _random.random_bits([1, 0], (64,), "test")
    noise = _random.noise_bytes(keys, 3000).numpy()
    assert stats.chisquare(np.bincount(noise.ravel(), minlength=256)).pvalue > 0.001
    flat = noise.astype(float)
    assert abs(np.corrcoef(flat[:, 1:].ravel(), flat[:, :-1].ravel())[0, 1]) < 0.01
    assert np.abs(np.corrcoef(flat) - np.eye(64)).max() < 0.1
