"""Which loss goes with the end of a model and the form of its labels."""

import keras
import numpy as np
import pytest
from keras import layers

from recipes.errors import DataError
from tuning._fine_tuning import find_objective


def classifier(*last, units=3):
    return keras.Sequential([keras.Input((4,)), layers.Dense(units), *last])


def averaged(*last):
    """Two networks, the outputs of which are averaged: its last layer has no activation."""
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Average()([classifier(*last)(inputs) for _ in range(2)]))


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
