import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import (
    FusedBatchNormalization,
    MonteCarloDropout,
    monte_carlo_samples,
    with_monte_carlo_dropout,
)

IMAGES = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype("float32")
ONES = np.ones((8, 16, 16, 32), "float32")


@pytest.mark.parametrize(
    "arguments",
    [{"rate": 0.3, "seed": 1}, {"rate": 0.4, "by_channel": True, "seed": 7}, {"rate": 0}],
)
def test_layer(check_layer, arguments):
    check_layer(MonteCarloDropout, arguments, images=IMAGES)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_values_are_dropped_and_the_mean_stays(rate):
    outputs = MonteCarloDropout(rate, seed=0)(ONES).numpy()
    np.testing.assert_allclose(np.unique(outputs), [0, 1 / (1 - rate)], rtol=1e-6)
    # Six standard deviations of the mean of as many draws.
    tolerance = 6 * np.sqrt(rate * (1 - rate) / ONES.size)
    assert abs((outputs == 0).mean() - rate) < tolerance
    assert abs(outputs.mean() - 1) < tolerance / (1 - rate)


def test_whole_channels_are_dropped():
    outputs = MonteCarloDropout(0.5, by_channel=True, seed=0)(ONES).numpy()
    by_channel = outputs.reshape(8, 256, 32)
    assert (by_channel == by_channel[:, :1]).all()
    assert len({tuple(row) for row in by_channel[:, 0]}) == 8, "each image draws for itself"


def test_draws_anew_in_each_call_and_repeats_by_seed():
    layers = [MonteCarloDropout(0.5, seed=3) for _ in range(2)]
    first, second = ([layer(ONES).numpy() for _ in range(2)] for layer in layers)
    assert (first[0] != first[1]).any()
    np.testing.assert_array_equal(first, second)


@pytest.fixture
def model():
    inputs = keras.Input((8, 8, 4), name="images")
    x = keras.layers.Conv2D(6, 3, name="conv")(inputs)
    x = FusedBatchNormalization(name="bn")(x)
    x = keras.layers.SpatialDropout2D(0.3, name="channels")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="head")(x))


def test_nothing_else_is_in_training_mode(model):
    """The batch normalisation must neither use the statistics of the batch nor move its own."""
    copy = with_monte_carlo_dropout(model)
    before = [weight.numpy() for weight in copy.weights]
    samples = monte_carlo_samples(copy, IMAGES, 5)
    for weight, old in zip(copy.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert samples.shape == (5, 3, 3)
    assert (samples.std(0) > 1e-4).all()
    # Without the dropping, what is left is the model itself.
    for layer in copy.layers:
        if isinstance(layer, MonteCarloDropout):
            layer.rate = 0.0
    np.testing.assert_allclose(copy(IMAGES), model(IMAGES, training=False), atol=1e-6)
    # The way that is often seen does move the statistics.
    model(IMAGES, training=True)
    moved = [np.abs(w - old).max() for w, old in zip(model.weights, before, strict=True)]
    assert max(moved) > 1e-3


def test_copy_of_a_model(model):
    # A loss and a layer of the user's own, which no configuration holds; here and in a model.
    same = [keras.layers.Lambda(lambda x: x * 1.0, name=name) for name in ("same", "inner")]
    nested = keras.Sequential([keras.Input((3,)), same[1]], name="nested")
    model = keras.Model(model.input, nested(same[0](model.output)))
    model.compile("sgd", lambda labels, outputs: keras.ops.sum(outputs, -1))
    copy = with_monte_carlo_dropout(model)
    assert [layer.name for layer in copy.layers] == [layer.name for layer in model.layers]
    drops = {layer.name: layer for layer in copy.layers if isinstance(layer, MonteCarloDropout)}
    assert {name: (layer.rate, layer.by_channel) for name, layer in drops.items()} == {
        "channels": (0.3, True),
        "drop": (0.5, False),
    }
    assert type(model.get_layer("drop")) is keras.layers.Dropout
    for new, old in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert not copy.compiled


def test_mean_of_many_samples_is_the_expectation():
    # Of a linear model the expectation over the draws is the model without dropout.
    inputs = keras.Input((6,))
    dense = keras.layers.Dense(2)
    model = keras.Model(inputs, dense(MonteCarloDropout(0.5, seed=0)(inputs)))
    images = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    samples = monte_carlo_samples(model, np.repeat(images, 500, 0), 4, batch_size=2000)
    samples = samples.reshape(4, 4, 500, 2).transpose(1, 0, 2, 3).reshape(4, 2000, 2)
    error = np.abs(samples.mean(1) - dense(images))
    assert (error < 6 * samples.std(1) / 2000**0.5).all()


def test_noise_of_a_shape_is_refused():
    inputs = keras.Input((4, 4, 8))
    model = keras.Model(inputs, keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, 8))(inputs))
    with pytest.raises(ConfigError, match="has the noise_shape .*SpatialDropout2D"):
        with_monte_carlo_dropout(model)


def test_model_without_dropout():
    inputs = keras.Input((4,))
    with pytest.raises(ConfigError, match="no dropout layer"):
        with_monte_carlo_dropout(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"rate": 1}, r"rate must be in \[0, 1\)"), ({"rate": 0.5, "by_channel": 2}, "by_channel")],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MonteCarloDropout(**arguments)


def test_wrong_samples(model):
    with pytest.raises(ConfigError, match="samples must be a positive integer, received: 0"):
        monte_carlo_samples(model, IMAGES, 0)
