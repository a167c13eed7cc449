"""Temperature scaling that lives in the model's weights, and the monitor of calibration."""

import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import brier_score_loss, log_loss

from callbacks import CalibrationMonitor, TemperatureScaling, WeightAverage, scale_logits
from callbacks.calibration import fit_temperature, softmax

ENDS = {
    "logits": [keras.layers.Dense(3)],
    "softmax": [keras.layers.Dense(3, activation="softmax")],
    "dense then softmax": [keras.layers.Dense(3), keras.layers.Softmax()],
    "lifted": [keras.layers.Dense(3), keras.layers.Activation("linear", dtype="float32")],
}


def make(end):
    layers = [keras.layers.Dense(8, activation="relu")]
    layers += [layer.__class__.from_config(layer.get_config()) for layer in ENDS[end]]
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.layers.Input((4,)), *layers])


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 4)).astype("float32")
    y = (x[:, 0] + generator.normal(size=90) > 0).astype(int) + (x[:, 1] > 0.8)
    return x, y


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.sampled(1)
def test_predictions_are_calibrated_wherever_the_model_goes(end, images, tmp_path):
    x, y = images
    model = make(end)
    from_logits = "softmax" not in end
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    model.compile(keras.optimizers.Adam(0.05), loss)
    scaling = TemperatureScaling(
        tf.data.Dataset.from_tensor_slices(x[60:]).batch(8), y[60:], from_logits=from_logits
    )
    reference = Reference()
    model.fit(x[:60], y[:60], epochs=20, verbose=0, callbacks=[reference, scaling])
    outputs = reference.outputs(x)
    logits = outputs if from_logits else np.log(outputs)
    fit = fit_temperature(logits[60:].astype(np.float64), y[60:])
    assert scaling.fit.temperature == pytest.approx(fit.temperature, rel=1e-4)
    expected = softmax(logits, fit.temperature)
    found = model.predict(x, verbose=0)
    found = softmax(found) if from_logits else found
    np.testing.assert_allclose(found, expected, atol=2e-6)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").predict(x, verbose=0)
    np.testing.assert_allclose(softmax(again) if from_logits else again, expected, atol=2e-6)


class Reference(keras.callbacks.Callback):
    """Keep the model as it is before the callbacks after it change it."""

    __test__ = False

    def on_train_end(self, logs=None):
        self.copy = keras.models.clone_model(self.model)
        self.copy.set_weights(self.model.get_weights())

    def outputs(self, x):
        return self.copy.predict(x, verbose=0)


def test_the_average_is_what_is_calibrated(images):
    x, y = images
    model = make("logits")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    reference = Reference()
    scaling = TemperatureScaling(tf.data.Dataset.from_tensors(x[60:]), y[60:])
    model.fit(
        x[:60], y[:60], epochs=3, verbose=0, callbacks=[WeightAverage(0.9), reference, scaling]
    )
    logits = reference.outputs(x[60:]).astype(np.float64)
    assert scaling.fit.temperature == pytest.approx(fit_temperature(logits, y[60:]).temperature)


def test_a_fit_at_its_bound_is_not_stored(images):
    x, _ = images
    model = make("logits")
    model.compile("sgd", "mse")
    labels = model.predict(x, verbose=0).argmax(axis=1)  # not one mistake to learn from
    before = model.get_weights()
    scaling = TemperatureScaling(tf.data.Dataset.from_tensors(x), labels)
    scaling.set_model(model)
    scaling.on_train_end()
    assert scaling.fit.at_bound
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_scale_and_shift_by_class(images):
    x, _ = images
    model = make("logits")
    before = model.predict(x, verbose=0)
    scale_logits(model, np.array([1.0, 2.0, 0.5]), [0.1, 0.0, -0.1])
    expected = before * [1.0, 2.0, 0.5] + [0.1, 0.0, -0.1]
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ([keras.layers.Dense(3, use_bias=False)], "Dense"),
        ([keras.layers.Dense(3, activation="relu")], "Dense"),
        ([keras.layers.Dense(3), keras.layers.Rescaling(2.0)], "Rescaling"),
    ],
)
def test_models_that_cannot_take_it(last, found, images):
    x, y = images
    model = keras.Sequential([keras.layers.Input((4,)), *last])
    model.compile("sgd", "mse")
    scaling = TemperatureScaling(tf.data.Dataset.from_tensors(x), y)
    with pytest.raises(ValueError, match=f"ends in Dense logits.*found {found}"):
        model.fit(x, np.eye(3)[y], verbose=0, callbacks=[scaling])


@pytest.mark.parametrize("end", ENDS)
def test_from_logits_must_be_true_of_the_model(end):
    softmax = "softmax" in end
    scaling = TemperatureScaling(None, [0, 1, 2], from_logits=softmax)
    scaling.set_model(keras.Sequential([keras.layers.Input((4,)), make(end)]))
    message = "probabilities: say from_logits=False" if softmax else "logits: say from_logits=True"
    with pytest.raises(ValueError, match=f"but the model gives {message}"):
        scaling.on_train_begin()


def test_no_images():
    with pytest.raises(ValueError, match="needs held-out images"):
        TemperatureScaling(tf.data.Dataset.from_tensors(np.zeros((0, 4))), [])


class TestMonitor:
    def test_measures_reach_the_logs(self):
        generator = np.random.default_rng(1)
        probabilities = generator.dirichlet([0.5] * 4, 200)
        labels = generator.integers(0, 4, 200)
        validation = types.SimpleNamespace(probabilities=probabilities, labels=labels)
        monitor, logs = CalibrationMonitor(validation, bins=10), {}
        monitor.on_epoch_end(0, logs)
        assert logs["val_nll"] == pytest.approx(log_loss(labels, probabilities))
        assert logs["val_brier"] == pytest.approx(brier_score_loss(labels, probabilities))
        fit = fit_temperature(np.log(probabilities), labels)
        assert logs["val_temperature"] == fit.temperature
        assert 0 < logs["val_ece_noise"] < logs["val_ece"] < 1
        again = CalibrationMonitor(validation)
        again.restore(*json.loads(json.dumps(monitor.state())))
        assert again.epochs == monitor.epochs

    def test_a_diverged_epoch(self):
        monitor = CalibrationMonitor(types.SimpleNamespace(probabilities=None, labels=[0]))
        logs = {}
        monitor.on_epoch_end(0, logs)
        assert np.isnan(list(logs.values())).all()
        assert len(logs) == 8
        assert monitor.epochs == [None]

    def test_bad_bins(self):
        with pytest.raises(ValueError, match="bins must be an integer of at least 1"):
            CalibrationMonitor(None, bins=0)
