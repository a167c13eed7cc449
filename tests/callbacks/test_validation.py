"""Validation against scikit-learn on logits that a fixed model gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss, recall_score

from callbacks import Validation
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
