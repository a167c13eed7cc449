"""Measures by class against scikit-learn, and the callback on scripted predictions."""

import json
import types

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, log_loss, precision_score, recall_score

from callbacks import PerClass
from callbacks.per_class import class_measures, confusion_drift


@pytest.fixture
def predictions():
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 4, 80)
    probabilities = generator.dirichlet([0.7] * 4, 80)
    return probabilities, labels


def test_against_scikit_learn(predictions):
    probabilities, labels = predictions
    predicted = probabilities.argmax(axis=1)
    measures = class_measures(probabilities, labels)
    assert measures["recall"] == pytest.approx(recall_score(labels, predicted, average=None))
    assert measures["precision"] == pytest.approx(precision_score(labels, predicted, average=None))
    assert measures["confusion"] == confusion_matrix(labels, predicted).tolist()
    for place in range(4):
        of_class = labels == place
        expected = log_loss(labels[of_class], probabilities[of_class], labels=range(4))
        assert measures["loss"][place] == pytest.approx(expected)


def test_classes_without_images_or_predictions():
    measures = class_measures([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1]], [0, 1])
    assert measures["recall"] == [1.0, 0.0, None]
    assert measures["precision"] == [0.5, None, None]
    assert measures["loss"][2] is None


def test_drift_counts_moved_images(predictions):
    probabilities, labels = predictions
    before = class_measures(probabilities, labels)["confusion"]
    moved = probabilities.copy()
    # Three images of one class change from one prediction to another.
    rows = np.flatnonzero((labels == 2) & (probabilities.argmax(axis=1) == 2))[:3]
    moved[rows] = [1, 0, 0, 0]
    after = class_measures(moved, labels)["confusion"]
    assert confusion_drift(before, after) == pytest.approx(3 / 80)
    assert confusion_drift(before, before) == 0
    assert confusion_drift([[2, 0], [0, 0]], [[0, 2], [0, 0]]) == 1


def test_epochs_and_resume(predictions):
    probabilities, labels = predictions
    validation = types.SimpleNamespace(labels=labels, probabilities=probabilities)
    classes = PerClass(validation, ["ant", "bee", "cow", "dog"])
    classes.on_epoch_end(0)
    validation.probabilities = None
    classes.on_epoch_end(1)
    values, arrays = classes.state()
    again = PerClass(validation)
    again.restore(json.loads(json.dumps(values)), arrays)
    validation.probabilities = np.roll(probabilities, 1, axis=1)
    again.on_epoch_end(2)
    first, second, third = again.epochs
    assert first["drift"] is None
    assert second is None
    assert third["drift"] == pytest.approx(confusion_drift(first["confusion"], third["confusion"]))
    assert first["worst"] == int(np.argmin(first["recall"]))
    lines = classes.summary().splitlines()
    assert lines[1].startswith(["ant", "bee", "cow", "dog"][first["worst"]])
    assert len(lines) == 5
    # A second `fit` of the same object.
    again.on_epoch_begin(0)
    again.on_epoch_end(0)
    assert [entry["drift"] for entry in again.epochs] == [None]
    # And `fit`s of the epochs from 3 on, resumed in between.
    for _ in range(2):
        for epoch in (3, 4):
            again.on_epoch_begin(epoch)
            again.on_epoch_end(epoch)
        assert [entry["drift"] for entry in again.epochs] == [None, 0, 0]
        again.restore(json.loads(json.dumps(again.state()[0])), [])
    # As old checkpoints say it.
    again.restore({"epochs": again.epochs}, [])
    again.on_epoch_begin(1)
    assert len(again.epochs) == 1


def test_nothing_to_sum_up():
    classes = PerClass(types.SimpleNamespace(labels=[0], probabilities=None))
    classes.on_epoch_end(0)
    assert classes.summary() == "no epoch with finite predictions"
