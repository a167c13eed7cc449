import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import initializer, normalization_layer

SHAPE = (3, 3, 64, 96)
FAN_IN, FAN_OUT = 9 * 64, 9 * 96

VARIANCES = {
    "he": 2 / FAN_IN,
    "he_fan_in": 2 / FAN_IN,
    "he_fan_out": 2 / FAN_OUT,
    "he_normal": 2 / FAN_IN,
    "xavier": 2 / (FAN_IN + FAN_OUT),
    "lecun": 1 / FAN_IN,
    # A normal distribution cut at two deviations keeps 0.7737 of its variance.
    "truncated_normal": 0.02**2 * 0.7737,
    "orthogonal": 1 / FAN_IN,
    "zeros": 0,
}


@pytest.mark.parametrize("kind", VARIANCES)
def test_variance(kind):
    values = np.asarray(initializer(kind, seed=0)(SHAPE), "float64")
    np.testing.assert_allclose(values.var(), VARIANCES[kind], rtol=0.03)
    assert abs(values.mean()) < 5 * np.sqrt(VARIANCES[kind] / values.size) + 1e-12


@pytest.mark.parametrize(("kind", "factor"), [("he", 2), ("he_fan_out", 2), ("xavier", 1)])
def test_depthwise_kernels_count_one_channel(kind, factor):
    values = np.asarray(initializer(kind, depthwise=True, seed=0)((5, 5, 512, 1)), "float64")
    np.testing.assert_allclose(values.var(), factor / 25, rtol=0.05)


def test_he_keeps_the_size_of_activations_through_many_layers():
    x = np.random.default_rng(0).normal(size=(64, 256))
    for layer in range(30):
        kernel = np.asarray(initializer("he", seed=layer)((256, 256)))
        x = np.maximum(x @ kernel, 0)
    assert 0.2 < np.mean(x**2) / 1.0 < 5


def test_seed():
    first, second = (np.asarray(initializer("he", seed=5)(SHAPE)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (np.asarray(initializer("he", seed=6)(SHAPE)) != first).any()


def test_he_normal_is_that_of_keras():
    expected = np.asarray(keras.initializers.HeNormal(seed=3)(SHAPE))
    np.testing.assert_array_equal(initializer("he_normal", seed=3)(SHAPE), expected)
    # Cut at two deviations, which are of 0.8796 of the deviation that is left.
    assert np.abs(expected).max() < 2 / 0.879 * np.sqrt(2 / FAN_IN)
    assert np.abs(initializer("he", seed=3)(SHAPE)).max() > 3 * np.sqrt(2 / FAN_IN)


def test_unknown_name():
    with pytest.raises(ConfigError, match="did you mean 'xavier'"):
        initializer("xavierr")


def test_momentum_and_epsilon_of_a_normalization():
    layer = normalization_layer("batch", channels=2, momentum=0.5, epsilon=0.25)
    images = np.array([0.0, 0.0, 2.0, 2.0], "float32").reshape(2, 1, 2, 1).repeat(2, -1)
    expected = (images - 1) / np.sqrt(1 + 0.25)
    np.testing.assert_allclose(layer(images, training=True), expected, atol=1e-6)
    np.testing.assert_allclose(layer.moving_mean.value, [0.5, 0.5])


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "group", "channel"])
def test_zero_gamma(kind):
    layer = normalization_layer(kind, channels=4, groups=2, zero_gamma=True)
    np.testing.assert_array_equal(layer(np.random.normal(size=(2, 3, 3, 4))), 0)
    assert normalization_layer("none", channels=4) is None
