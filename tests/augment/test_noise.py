import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import augment
from augment import noise


def key(number):
    return tf.constant(number, tf.uint32)


@pytest.fixture(scope="module")
def normal():
    """Two million numbers of the normal distribution, drawn as noise of deviation 1."""
    zeros = tf.fill((1000, 1000, 2), 128.0)
    return (noise.add_gaussian_noise(zeros, 1.0, key(12345)).numpy() - 128).astype(float)


def test_gaussian_noise_has_the_moments_of_the_normal_distribution(normal):
    """The sum of four bytes, which it is made from, has a fourth moment of 2.7."""
    expected = {1: 0, 2: 1, 3: 0, 4: 3, 5: 0, 6: 15}
    for power, moment in expected.items():
        # Deviation of the mean of z**power over n numbers, from the moments of the distribution.
        spread = np.sqrt((stats.norm.moment(2 * power) - moment**2) / normal.size)
        assert abs((normal**power).mean() - moment) < 4 * spread + 1e-4


def test_gaussian_noise_has_the_normal_distribution(normal):
    # 0.0006 that it is off by, as stated, and 0.0014 by chance.
    assert stats.kstest(normal.ravel(), "norm").statistic < 0.002
    edges = stats.norm.ppf(np.arange(1, 40) / 40)
    counts = np.bincount(np.searchsorted(edges, normal.ravel()[:200_000]), minlength=40)
    assert stats.chisquare(counts).pvalue > 0.001
    for deviations, margin in ((2, 0.02), (3, 0.08), (4, 0.5)):
        share = (np.abs(normal) > deviations).mean()
        assert share == pytest.approx(2 * stats.norm.sf(deviations), rel=margin)


def test_gaussian_noise_is_independent_from_value_to_value(normal):
    other = noise.add_gaussian_noise(tf.fill((1000, 1000, 2), 128.0), 1.0, key(12346)).numpy() - 128
    flat = normal.ravel()
    for lag in (1, 2, 3, 256, 2000):
        assert abs((flat[lag:] * flat[:-lag]).mean()) < 0.004
    assert abs((normal * other).mean()) < 0.004
    assert abs((normal**2 * other**2).mean() - 1) < 0.02


def test_each_image_has_its_own_deviation_and_noise():
    images = np.full((8, 100, 100, 3), 128, np.uint8)
    arguments = {"deviation": (2, 20)}
    drawn = augment.random_gaussian_noise.operation(**arguments).draw([1, 2], images.shape, 1.0)[0]
    result = augment.random_gaussian_noise(images, [1, 2], **arguments).numpy() - 128.0
    # Rounding to whole levels adds a variance of 1/12.
    expected = np.sqrt(drawn["deviation"].numpy() ** 2 + 1 / 12)
    np.testing.assert_allclose(result.std((1, 2, 3)), expected, rtol=0.02)
    assert np.abs(result.mean((1, 2, 3)) / expected).max() < 0.03
    correlation = np.corrcoef(result.reshape(8, -1))
    assert np.abs(correlation - np.eye(8)).max() < 0.03


def drawn_counts(mean, photons=1000.0):
    """Return a million photon counts of one mean, got back from noisy values."""
    image = tf.fill((1000, 1000, 1), mean * 255.0 / photons)
    result = noise.add_shot_noise(image, photons**-0.5, key(777)).numpy().astype(float)
    counts = result.ravel() * photons / 255
    np.testing.assert_allclose(counts, counts.round(), atol=0.01)
    return counts.round().astype(int)


@pytest.mark.parametrize("mean", [0.02, 0.5, 1.0, 1.9])
def test_few_photons_are_poisson_exactly(mean):
    # The last of the classes holds all that is rarer than eight in a million.
    last = int(stats.poisson.isf(8e-6, mean))
    observed = np.bincount(np.minimum(drawn_counts(mean), last), minlength=last + 1)
    chances = stats.poisson.pmf(np.arange(last), mean)
    expected = 1e6 * np.append(chances, 1 - chances.sum())
    assert stats.chisquare(observed, expected).pvalue > 0.001


@pytest.mark.parametrize("mean", [2.0, 2.5, 4.0, 11.0, 50.0, 200.0])
def test_many_photons_are_poisson_within_what_is_stated(mean):
    counts = drawn_counts(mean)
    assert counts.mean() == pytest.approx(mean, rel=0.002 + 4 * (mean * 1e6) ** -0.5)
    assert counts.var() == pytest.approx(mean, rel=0.01)
    assert stats.skew(counts) == pytest.approx(mean**-0.5, abs=0.03)
    observed = np.bincount(counts)
    expected = stats.poisson.pmf(np.arange(len(observed)), mean) * 1e6
    by_chance = np.sqrt(expected * 2 / np.pi).sum() / 2
    assert np.abs(observed - expected).sum() / 2 < 0.007 * 1e6 + by_chance


def test_shot_noise_grows_with_the_root_of_the_light():
    levels = np.array([0, 20, 80, 180], np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (4, 90, 90, 3))
    result = augment.random_shot_noise(images, [0, 0], photons=100).numpy().astype(float)
    assert not result[0].any()
    np.testing.assert_allclose(result.mean((1, 2, 3)), levels, rtol=0.02)
    np.testing.assert_allclose(result.var((1, 2, 3)), levels * 2.55, rtol=0.05)


def test_salt_and_pepper_replace_whole_pixels():
    images = np.random.default_rng(0).integers(1, 255, (3, 100, 120, 3), dtype=np.uint8)
    result = augment.random_salt_and_pepper_noise(images, [0, 4], share=0.1, salt=0.3).numpy()
    white, black = (result == 255).all(-1), (result == 0).all(-1)
    np.testing.assert_array_equal(result[~(white | black)], images[~(white | black)])
    for place, chance in ((white, 0.03), (black, 0.07)):
        for one in place:
            assert stats.binomtest(int(one.sum()), one.size, chance).pvalue > 1e-4
    # Other pixels in each image.
    assert (white[0] & white[1]).mean() < 0.003


@pytest.mark.parametrize(("share", "salt", "level"), [(1, 1, 255), (1, 0, 0), (0, 1, 9)])
def test_salt_and_pepper_at_the_ends_of_the_range(share, salt, level):
    for dtype in (tf.uint8, tf.float32):
        image = tf.fill((20, 20, 2), tf.constant(9, dtype))
        result = noise.add_salt_and_pepper_noise(image, share, salt, key(3))
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, np.full((20, 20, 2), level))


def test_no_strength_changes_nothing():
    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (9, 9, 3)), tf.float32)
    np.testing.assert_array_equal(noise.add_gaussian_noise(image, 0.0, key(1)), image)
    np.testing.assert_array_equal(noise.add_shot_noise(image, 0.0, key(1)), image)
    for operation in (
        augment.random_gaussian_noise,
        augment.random_shot_noise,
        augment.random_salt_and_pepper_noise,
    ):
        drawn = operation.operation().draw([0, 0], (50, 8, 8, 3), 0.0)[0]
        (magnitude,) = drawn.keys() - {"key", "selected"}
        np.testing.assert_array_equal(drawn[magnitude], np.zeros(50))


def test_values_stay_in_range():
    image = tf.constant(np.random.default_rng(0).choice([0.0, 255.0], (30, 30, 3)), tf.float32)
    for noisy in (
        noise.add_gaussian_noise(image, 60.0, key(2)),
        noise.add_shot_noise(image, 1.0, key(2)),
    ):
        assert noisy.numpy().min() == 0
        assert noisy.numpy().max() == 255


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        (augment.random_gaussian_noise, {"deviation": -1}, "deviation must be a number in"),
        (augment.random_gaussian_noise, {"deviation": (9, 3)}, "deviation must be in rising order"),
        (augment.random_shot_noise, {"photons": 0}, r"photons must be a number in \[1"),
        (augment.random_salt_and_pepper_noise, {"share": 1.5}, "share must be a number in"),
        (augment.random_salt_and_pepper_noise, {"salt": -0.1}, "salt must be a number in"),
    ],
)
def test_bad_arguments(operation, arguments, message):
    with pytest.raises(ValueError, match=message):
        operation(np.zeros((1, 4, 4, 3), np.uint8), [0, 0], **arguments)
