"""Streaming measures against the ones over all images, alone and inside `compile`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import brier_score_loss

from callbacks import BrierScore, ExpectedCalibrationError
from callbacks.calibration import brier_score, expected_calibration_error, softmax

METRICS = {ExpectedCalibrationError: expected_calibration_error, BrierScore: brier_score}


@pytest.fixture(scope="module")
def predictions():
    generator = np.random.default_rng(7)
    logits = generator.normal(0, 2, (300, 5)).astype("float32")
    # Some confidences exactly on the edges of bins, and some exactly 1.
    probabilities = softmax(logits).astype("float32")
    probabilities[:3] = [0.6, 0.4, 0, 0, 0]
    probabilities[3:6] = [1, 0, 0, 0, 0]
    return logits, probabilities, generator.integers(0, 5, 300)


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("one_hot", [False, True])
def test_batches_add_up(predictions, kind, one_hot):
    _, probabilities, labels = predictions
    metric = kind()
    targets = np.eye(5)[labels] if one_hot else labels
    for start in range(0, 300, 70):
        metric.update_state(targets[start : start + 70], probabilities[start : start + 70])
    expected = METRICS[kind](probabilities.astype(np.float64), labels)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-12)
    metric.reset_state()
    assert float(metric.result()) == 0


def test_brier_is_scikit_learns(predictions):
    _, probabilities, labels = predictions
    metric = BrierScore()
    metric.update_state(labels, probabilities)
    rows = probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    assert float(metric.result()) == pytest.approx(brier_score_loss(labels, rows), abs=1e-6)


@pytest.mark.parametrize("kind", METRICS)
def test_weights_count_images(predictions, kind):
    _, probabilities, labels = predictions
    counts = np.random.default_rng(0).integers(0, 4, 300)
    metric = kind()
    metric.update_state(labels, probabilities, sample_weight=counts)
    repeated = np.repeat(probabilities, counts, axis=0).astype(np.float64)
    expected = METRICS[kind](repeated, np.repeat(labels, counts))
    assert float(metric.result()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_inside_compile(predictions, policy):
    logits, _, labels = predictions
    inputs = keras.Input((5,))
    layer = keras.layers.Activation("linear", dtype=keras.DTypePolicy(policy))
    model = keras.Model(inputs, layer(inputs))
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[kind(from_logits=True) for kind in METRICS],
    )
    found = model.evaluate(logits, labels, batch_size=64, verbose=0, return_dict=True)
    outputs = model.predict(logits, verbose=0)
    for kind, reference in METRICS.items():
        expected = reference(softmax(np.asarray(outputs, np.float64)), labels)
        assert found[kind().name] == pytest.approx(expected, abs=1e-6)


def test_distributed(predictions):
    _, probabilities, labels = predictions
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        metric = ExpectedCalibrationError()
    strategy.run(lambda: metric.update_state(labels, probabilities))
    expected = expected_calibration_error(probabilities.astype(np.float64), labels)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", METRICS)
def test_configuration(kind):
    metric = kind(from_logits=True, name="mine")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.get_config() == metric.get_config()


def test_bad_input():
    with pytest.raises(ValueError, match="bins must be an integer of at least 1, received: 0"):
        ExpectedCalibrationError(bins=0)
    with pytest.raises(ValueError, match=r"brier needs predictions of shape .* received \(3,\)"):
        BrierScore().update_state([0, 1, 1], [0.1, 0.2, 0.3])
