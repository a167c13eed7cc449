"""Small backbones with statistics of their own, and images."""

import keras
import numpy as np
import pytest

from recipes.transfer import transfer_model

SHAPE = (16, 16, 3)


def _randomize(model, seed=0):
    """Give every weight a value that no initializer and no first step would give."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        low, high = (0.5, 1.5) if weight.path.endswith(("variance", "gamma")) else (-0.4, 0.4)
        weight.assign(generator.uniform(low, high, weight.shape))
    return model


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (24, *SHAPE)).astype("float32")


@pytest.fixture
def labels():
    return np.arange(24) % 3


@pytest.fixture
def small():
    """Return a function that builds a small transfer model of three classes."""

    def build(**arguments):
        keras.utils.set_random_seed(0)
        more = {"width": 4}
        arguments = {"input_shape": SHAPE, "weights": None, **arguments}
        model = transfer_model("resnet9", 3, backbone_arguments=more, **arguments)
        frozen = [(layer, layer.trainable) for layer in model.layers]
        _randomize(model)
        for layer, trainable in frozen:
            layer.trainable = trainable
        return model

    return build


@pytest.fixture
def own():
    """Return a backbone as users have them: normalisation and a nested model, stock layers."""
    inner = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.ReLU(name="relu"),
        ],
        name="inner",
    )
    inputs = keras.Input(SHAPE, name="photos")
    x = inner(keras.layers.Rescaling(1 / 255, name="scale")(inputs), training=False)
    y = keras.layers.Conv2D(4, 3, padding="same", name="conv")(x)
    outputs = keras.layers.BatchNormalization(name="last")(y + 2.0 * x)
    return _randomize(keras.Model(inputs, outputs, name="own"))


@pytest.fixture
def values():
    """Return a function that copies the weights of a model, by path."""
    return lambda model: {weight.path: weight.numpy() for weight in model.weights}


@pytest.fixture
def moved(values):
    """Return a function that names the weights that are no longer, to the bit, what they were."""

    def compare(model, before):
        now = values(model)
        return {path for path, value in now.items() if not np.array_equal(value, before[path])}

    return compare
