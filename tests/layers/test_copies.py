"""Copies of layers that hold what Keras cannot find again by its name."""

import keras
import numpy as np
import pytest
from keras import layers

from recipes.errors import ConfigError
from recipes.layers._copies import carry_variables, copy_layer

IMAGES = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")


class Convolution(layers.Conv2D):
    """Of a user's own, and not registered."""


class Around(layers.Layer):
    """Holds a layer, and stores it as it should be."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        is_layer = isinstance(inner, layers.Layer)
        self.inner = inner if is_layer else keras.saving.deserialize_keras_object(inner)

    def call(self, inputs):
        return self.inner(inputs)

    def get_config(self):
        stored = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": stored}


class Holding(Around):
    """Stores the layer itself."""

    def get_config(self):
        return {**super().get_config(), "inner": self.inner}


def halved(values):
    return values / 2


@pytest.mark.parametrize(
    "build",
    [
        lambda: Around(Convolution(2, 1)),
        lambda: layers.TimeDistributed(layers.Dense(2, activation=halved)),
        lambda: keras.Sequential([layers.Lambda(halved), layers.Dense(2)]),
    ],
)
def test_what_a_layer_holds_is_copied_too(build):
    layer = build()
    expected = np.array(layer(IMAGES))
    copy = copy_layer(layer)
    copy(IMAGES)
    carry_variables(layer, copy)
    np.testing.assert_array_equal(copy(IMAGES), expected)
    for variable in copy.variables:
        variable.assign(variable + 1.0)
    np.testing.assert_array_equal(layer(IMAGES), expected)


def test_a_layer_that_hands_its_own_on_is_named():
    layer = Holding(Convolution(2, 1), name="holding")
    layer(IMAGES)
    with pytest.raises(ConfigError, match="holding of class Holding shares its weights"):
        carry_variables(layer, copy_layer(layer))


class Odd(Convolution):
    """Does not say how many filters it has."""

    def get_config(self):
        return layers.Layer.get_config(self)


def test_of_two_tries_the_first_error_is_told():
    """Keras' own says what to do: the second is that of a makeshift."""
    layer = layers.TimeDistributed(Odd(2, 1), name="around")
    with pytest.raises(ConfigError, match="around of .* configuration: Could not locate class 'O"):
        copy_layer(layer)
