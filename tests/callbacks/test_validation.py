"""Validation against scikit-learn on logits that a fixed model gives."""

import types

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss, recall_score

from callbacks import TemperatureScaling, Validation
from callbacks.validation import recall_by_class


def test_measures_against_scikit_learn():
    generator = np.random.default_rng(3)
    logits = generator.standard_normal((50, 4)).astype("float32") * 2
    labels = generator.integers(0, 4, 50)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Activation("linear")])
    validation = Validation(tf.data.Dataset.from_tensor_slices(logits).batch(16), labels)
    validation.set_model(model)
    logs = {"loss": 1.0}
    validation.on_epoch_end(0, logs)
    probabilities = np.exp(logits.astype("float64"))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    assert logs["val_loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-9)
    assert logs["val_accuracy"] == accuracy_score(labels, predicted)
    assert 0 <= logs["val_ece"] <= 1
    assert validation.recall == pytest.approx(recall_score(labels, predicted, average=None))
    assert logs["val_worst_recall"] == recall_score(labels, predicted, average=None).min()


def test_a_diverged_model_gives_nan_and_no_warning():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Activation("linear")])
    images = tf.data.Dataset.from_tensors(tf.fill((3, 2), float("nan")))
    validation = Validation(images, [0, 1, 1])
    validation.set_model(model)
    logs = {}
    validation.on_epoch_end(0, logs)
    assert all(np.isnan(value) for value in logs.values())
    assert set(logs) == {"val_loss", "val_accuracy", "val_ece", "val_worst_recall"}
    assert validation.recall == [None, None]


def test_a_wrong_number_of_labels():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Activation("linear")])
    validation = Validation(tf.data.Dataset.from_tensors(tf.zeros((3, 2))), [0, 1])
    validation.set_model(model)
    with pytest.raises(ValueError, match="2 labels for 3 images"):
        validation.on_epoch_end(0, {})


def test_recall_of_a_class_without_images():
    assert recall_by_class(np.array([0, 0]), np.array([0, 1]), 3) == [1.0, 0.0, None]


def giving(outputs, **arguments):
    """Return a `Validation` of a model that gives these outputs for labels 0, 1, 2."""
    validation = Validation(None, [0, 1, 2], **arguments)
    model = types.SimpleNamespace(predict=lambda images, verbose: outputs)
    validation.set_model(model)
    return validation


def test_probabilities_are_not_logits():
    shares = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], "float32")
    halves = [shares.astype(kind) for kind in (ml_dtypes.bfloat16, "float16")]
    # Also where a layer behind the softmax has made them float32.
    for outputs in (shares, *halves, *(half.astype("float32") for half in halves)):
        with pytest.raises(ValueError, match="gives probabilities: say from_logits=False"):
            giving(outputs).on_epoch_end(0, {})


def test_probabilities_of_half_precision_are_scaled():
    shares = np.array([[0.6, 0.2, 0.2], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]], ml_dtypes.bfloat16)
    assert abs(shares.astype("f8").sum(axis=1) - 1).max() > 1e-3
    exact = shares.astype("f8") / shares.astype("f8").sum(axis=1, keepdims=True)
    for outputs in (shares, shares.astype("float32")):
        logs = {}
        giving(outputs, from_logits=False).on_epoch_end(0, logs)
        assert logs["val_loss"] == pytest.approx(log_loss([0, 1, 2], exact), rel=1e-9)


def test_logits_that_half_precision_cannot_hold():
    logs = {}
    giving(np.eye(3, dtype="float32") * 1.1e5).on_epoch_end(0, logs)
    assert logs["val_loss"] == 0


@pytest.mark.parametrize("kind", [Validation, TemperatureScaling])
def test_labels_are_looked_at_before_training(kind):
    for labels in (np.eye(3), [[0], [1]], [0.0, 1.0]):
        with pytest.raises(ValueError, match="labels must be integers of shape .images,."):
            kind(None, labels)
    for width, message in (
        (3, "labels must lie in 0 to 2, received 1 to 3"),
        (1, "the model's outputs must have shape .images, classes. .*received shape .3, 1."),
    ):
        callback = kind(None, [1, 2, 3])
        callback.set_model(keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(width)]))
        with pytest.raises(ValueError, match=message):
            callback.on_train_begin()
