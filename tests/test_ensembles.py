"""`ensemble` against the mean of probabilities in NumPy; saved, converted, judged."""

import keras
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from callbacks import CosineCycles, SnapshotEnsemble
from recipes import ConfigError, ensemble, evaluate, load_classifier
from recipes.layers import CalibratedSoftmax


def _model(seed, *, end="logits", classes=3, name=None, names=("a", "b", "c")):
    layers = keras.layers
    kernel = keras.initializers.RandomNormal(seed=seed)
    stack = [
        layers.Input((4, 4, 1)),
        layers.Flatten(),
        layers.Dense(
            classes,
            activation="softmax" if end == "softmax" else None,
            kernel_initializer=kernel,
        ),
    ]
    if end == "calibrated":
        stack.append(CalibratedSoftmax(2.0, class_names=names))
    if end == "unknown":
        stack.append(layers.Rescaling(0.5))
    return keras.Sequential(stack, name=name)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (5, 4, 4, 1)).astype("float32")


@pytest.mark.parametrize("end", ["logits", "softmax"])
@pytest.mark.parametrize("members", [1, 2, 3])
def test_identical_members_equal_the_single_model(end, members, images):
    model = _model(1, end=end)
    outputs = model.predict(images, verbose=0)
    expected = softmax(outputs, axis=1) if end == "logits" else outputs
    mixed = ensemble([model] * members)
    np.testing.assert_allclose(mixed.predict(images, verbose=0), expected, atol=1e-6)


def test_probabilities_are_averaged_not_logits(images, tmp_path):
    models = [_model(1, name="same"), _model(2, name="same"), _model(3, end="calibrated")]
    outputs = [np.asarray(model(images), np.float64) for model in models]
    expected = (softmax(outputs[0], axis=1) + softmax(outputs[1], axis=1) + outputs[2]) / 3
    mixed = ensemble(models, name="three")
    np.testing.assert_allclose(np.asarray(mixed(images)), expected, atol=1e-6)
    wrong = softmax((outputs[0] + outputs[1]) / 2, axis=1)
    assert abs(wrong - (softmax(outputs[0], axis=1) + softmax(outputs[1], axis=1)) / 2).max() > 0.01

    mixed.save(tmp_path / "three.keras")
    classifier = load_classifier(tmp_path / "three.keras")
    np.testing.assert_allclose(classifier.predict(images), expected, atol=1e-6)
    assert classifier.class_names == ("a", "b", "c")

    # A member that trains on does not move the ensemble.
    models[0].set_weights([weight + 1 for weight in models[0].get_weights()])
    np.testing.assert_allclose(np.asarray(mixed(images)), expected, atol=1e-6)


@pytest.mark.slow
def test_tflite_gives_the_same_probabilities(images, tmp_path):
    from tuning.tflite import export_tflite

    mixed = ensemble([_model(1), _model(2)])
    path = tmp_path / "mixed.tflite"
    export_tflite(mixed, path)
    whole = np.rint(images).astype("uint8")
    found = load_classifier(path).predict(whole)
    np.testing.assert_allclose(found, np.asarray(mixed(whole.astype("float32"))), atol=1e-5)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (list, "received none"),
        (lambda: [_model(1), _model(1, classes=4)], r"models\[1\] \(4, 4, 1\) to 4"),
        (lambda: [_model(1, end="unknown")], "ends in Rescaling"),
        (
            lambda: [
                _model(1),
                _model(1, end="calibrated"),
                _model(1, end="calibrated", names=("b", "a", "c")),
            ],
            r"same order: models\[1\] knows a, b, c, ..., models\[2\] b, a, c",
        ),
        (lambda: ["model.keras"], r"models\[0\] must be a built Keras model"),
    ],
)
def test_what_cannot_be_joined(models, message):
    with pytest.raises(ConfigError, match=message):
        ensemble(models())


def test_a_softmax_that_is_an_operation_is_seen(images):
    inputs = keras.Input((4, 4, 1))
    logits = keras.layers.Dense(3, kernel_initializer=_kernel(1))(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.ops.softmax(logits))
    np.testing.assert_allclose(ensemble([model, model])(images), model(images), atol=1e-6)


def test_what_cannot_be_seen_can_be_said(images):
    model = _model(1, end="unknown")
    expected = softmax(np.asarray(model(images)), axis=1)
    mixed = ensemble([model, model], from_logits=True)
    np.testing.assert_allclose(np.asarray(mixed(images)), expected, atol=1e-6)


def test_snapshots_of_one_run_are_joined_and_judged(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = generator.normal(labels[:, None, None, None] * 60 + 60, 40, (60, 4, 4, 1))
    images = np.clip(images, 0, 255).astype("float32")
    inputs = keras.Input((4, 4, 1))
    outputs = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    outputs = keras.layers.Dense(16, "relu", kernel_initializer=_kernel(1))(outputs)
    outputs = keras.layers.Dense(3, "softmax", kernel_initializer=_kernel(2))(outputs)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(CosineCycles(0.5, 6)), "sparse_categorical_crossentropy")
    snapshots = SnapshotEnsemble(tmp_path, epochs=2)
    model.fit(images, labels, batch_size=20, epochs=6, verbose=0, callbacks=[snapshots])

    members = [keras.models.load_model(path) for path in snapshots.members]
    expected = np.mean([np.asarray(member(images)) for member in members], axis=0)
    judged = evaluate(ensemble(members), (images, labels), bootstrap=0)
    assert len(members) == 3
    accuracy = (expected.argmax(axis=1) == labels).mean()
    assert judged["accuracy"] == pytest.approx(accuracy)
    assert judged["nll"] == pytest.approx(log_loss(labels, expected), rel=1e-5)
    # The same as judging the files as a list.
    listed = evaluate([str(path) for path in snapshots.members], (images, labels), bootstrap=0)
    assert listed["nll"] == pytest.approx(judged["nll"], rel=1e-5)


def _kernel(seed):
    return keras.initializers.GlorotUniform(seed=seed)
