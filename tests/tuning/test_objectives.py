"""Which loss goes with the end of a model and the form of its labels; copies of models."""

import keras
import numpy as np
import pytest
from keras import layers

from recipes.errors import ConfigError, DataError
from tuning._fine_tuning import find_objective, plain_copy


def classifier(*last, units=3):
    return keras.Sequential([keras.Input((4,)), layers.Dense(units), *last])


def averaged(*last, average=None, units=3):
    """Two networks, the outputs of which are averaged: its last layer has no activation."""
    inputs = keras.Input((4,))
    outputs = [classifier(*last, units=units)(inputs) for _ in range(2)]
    return keras.Model(inputs, (average or layers.Average())(outputs))


def by_function(outputs):
    return (outputs[0] + outputs[1]) / 2


NUMBERS = np.array([0, 1, 2])
ONE_HOT = np.eye(3)


@pytest.mark.parametrize(
    ("model", "labels", "expected"),
    [
        (lambda: classifier(), NUMBERS, ("sparse", True)),
        (lambda: classifier(layers.Softmax()), NUMBERS, ("sparse", False)),
        (lambda: classifier(layers.Softmax()), ONE_HOT, ("categorical", False)),
        (lambda: classifier(layers.Activation("sigmoid")), ONE_HOT, ("binary", False)),
        (lambda: classifier(units=1), np.array([0, 1, 1]), ("binary", True)),
        (lambda: averaged(layers.Softmax()), NUMBERS, ("sparse", False)),
        (lambda: averaged(), NUMBERS, ("sparse", True)),
        (lambda: averaged(layers.Activation("sigmoid")), ONE_HOT, ("binary", False)),
        (lambda: averaged(layers.Activation("sigmoid"), units=1), NUMBERS > 0, ("binary", False)),
        (lambda: averaged(layers.Softmax(), average=by_function), NUMBERS, ("sparse", False)),
        (lambda: averaged(average=by_function), NUMBERS, ("sparse", True)),
        (lambda: classifier(layers.BatchNormalization()), ONE_HOT, ("categorical", True)),
    ],
)
def test_the_loss_that_goes_with_a_model(model, labels, expected):
    objective = find_objective(model(), (np.zeros((3, 4)), labels))
    assert (objective.kind, objective.from_logits) == expected


def test_sigmoids_want_labels_of_their_form():
    model = classifier(layers.Activation("sigmoid"))
    with pytest.raises(DataError, match=r"expected labels of shape \(n, 3\) of 0 and 1"):
        find_objective(model, (np.zeros((3, 4)), NUMBERS))


def test_sigmoids_that_the_graph_does_not_tell_are_not_taken_for_logits():
    model = averaged(layers.Activation("sigmoid"), average=by_function)
    with pytest.raises(ConfigError, match="cannot tell .* lie between 0 and 1 and do not sum to 1"):
        find_objective(model, (np.zeros((3, 4)), ONE_HOT))


class Scaled(layers.Layer):
    """A layer of a user's own, which Keras does not find by its name."""

    def __init__(self, start, **kwargs):
        super().__init__(**kwargs)
        self.start = start
        self.factor = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return self.start * self.factor * inputs

    def get_config(self):
        return {**super().get_config(), "start": self.start}


def test_copies_hold_layers_of_ones_own_and_share_no_weights():
    normalization = layers.Normalization()
    normalization.adapt(np.arange(8.0).reshape(2, 4))
    shared, inner = layers.Dense(4, name="shared"), classifier(Scaled(2.0, name="mine"), units=4)
    inner.layers[0].trainable = False
    inputs = keras.Input((4,), name="pictures")
    x = shared(inner(shared(normalization(inputs))))
    model = keras.Model(inputs, layers.Lambda(lambda tensor: tensor + 1)(x))
    model.get_layer(inner.name).layers[1].factor.assign(3.0)
    copy = plain_copy(model)
    images = np.linspace(-1, 1, 12).reshape(3, 4)
    np.testing.assert_array_equal(copy(images), model(images))
    assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in model.weights}
    for one in (copy, model):
        assert one.layers[0].name == "pictures"
        trained = [weight.path.split("/")[-2] for weight in one.trainable_weights]
        assert sorted(trained) == ["mine", "shared", "shared"]


def test_a_layer_that_cannot_be_copied_is_named():
    class Odd(Scaled):
        def get_config(self):
            return layers.Layer.get_config(self)

    with pytest.raises(ConfigError, match="odd of class Odd cannot be copied from its config") as e:
        plain_copy(classifier(Odd(2.0, name="odd")))
    assert "\n" not in str(e.value)
