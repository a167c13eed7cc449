"""Losses of knowing nothing or everything, against Keras and SciPy."""

import keras
import numpy as np
import pytest
from scipy import optimize, stats

from recipes.diagnosis import targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_the_floor_is_the_loss_of_the_best_predictions(smoothing):
    rows = np.random.default_rng(0).dirichlet(np.ones(5), 12)
    weights = np.linspace(0.5, 2, 12)
    smoothed = rows * (1 - smoothing) + smoothing / 5
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    expected = float(loss(rows, smoothed, sample_weight=weights))
    assert targets.loss_floor(rows, weights, smoothing) == pytest.approx(expected, rel=1e-5)


def test_chance_is_the_loss_of_constant_predictions():
    labels = np.array([0, 0, 0, 1, 2, 2])
    uniform, prior = targets.chance_loss(np.eye(3)[labels], None)
    assert uniform == pytest.approx(np.log(3))
    assert prior == pytest.approx(stats.entropy(np.bincount(labels)))


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_two_softmaxes_stick_where_a_search_ends(classes):
    def loss(share):
        logits = np.full(classes, (1 - share) / (classes - 1))
        logits[0] = share
        return np.log(np.exp(logits).sum()) - share

    found = optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded")
    assert targets.double_softmax_floor(classes) == pytest.approx(found.fun, rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sparse_categorical_crossentropy", ("sparse", False, 0.0, False)),
        (keras.losses.categorical_crossentropy, ("categorical", False, 0.0, False)),
        (keras.losses.BinaryCrossentropy(True, 0.2), ("binary", True, 0.2, False)),
        (keras.losses.SparseCategoricalCrossentropy(True), ("sparse", True, 0.0, False)),
        (keras.losses.CategoricalCrossentropy(reduction="sum"), ("categorical", False, 0.0, True)),
        (keras.losses.CategoricalFocalCrossentropy(), (None, None, 0.0, False)),
        (lambda true, predicted: 0.0, (None, None, 0.0, False)),
    ],
)
def test_describes_losses(loss, expected):
    facts = targets.describe_loss(loss)
    assert (facts.kind, facts.from_logits, facts.smoothing, facts.summed) == expected


@pytest.mark.parametrize(
    ("labels", "width", "expected"),
    [
        ([[1], [0]], 2, [[0, 1], [1, 0]]),
        ([1, 0], 1, [[0, 1], [1, 0]]),
        ([[0.5, 0.5]], 2, [[0.5, 0.5]]),
        ([2, 0], 2, None),
        ([0.5, 0], 2, None),
        ([np.nan, 0], 2, None),
        ([[1, 0, 0]], 2, None),
    ],
)
def test_rows(labels, width, expected):
    found = targets.as_rows(np.array(labels), width)
    np.testing.assert_array_equal(found, expected) if expected else None
    assert (found is None) == (expected is None)
