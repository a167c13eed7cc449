"""Teachers see what their students see, and stay as they are; students learn from both."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss

from callbacks import EarlyStopping, Validation, WeightAverage
from recipes.ensembles import ensemble
from recipes.errors import ConfigError, DataError, RunError
from recipes.layers import CalibratedSoftmax
from tuning import DistillationLoss, distill, distillation_model
from tuning._distillation_model import fit_images, resize_matrix

layers = keras.layers
CLASSES = 3


def network(width, *ending, size=8, channels=1, classes=CLASSES):
    """A small convolutional classifier with all that behaves otherwise in training."""
    inputs = keras.Input((size, size, channels))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(width, 3, strides=2, padding="same", name="conv")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(momentum=0.5)(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D(name="pool")(x))
    for layer in ending or (layers.Dense(classes),):
        x = layer(x)
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def teacher(images):
    keras.utils.set_random_seed(1)
    model = network(6)
    for weight in model.weights:
        # Batch statistics and logits as after a training.
        weight.assign(weight + np.random.default_rng(0).uniform(0, 1, weight.shape))
    bias = model.layers[-1].bias
    bias.assign(bias - model.predict(images, verbose=0).mean(axis=0))
    return model


@pytest.fixture(scope="module")
def images():
    pictures = np.random.default_rng(2).integers(0, 256, (12, 8, 8, 1))
    # Dark ones to bright ones, which the teacher tells apart.
    return (pictures * np.linspace(0, 1, 12)[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def labels(teacher, images):
    found = teacher.predict(images, verbose=0).argmax(axis=1)
    assert len(set(found)) > 1
    return found


@pytest.fixture(scope="module")
def data(images, labels):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)


def taught_row(model, images):
    return np.asarray(model(images, training=True))[:, 1]


class Spy(layers.Layer):
    """Writes down what it gets."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def call(self, inputs):
        self.seen.append(np.asarray(inputs))
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape


class TestModel:
    def test_both_see_the_same_augmented_images(self, teacher, images, labels):
        spy = Spy()
        inputs = keras.Input((8, 8, 1))
        logits = layers.Dense(CLASSES)(layers.Flatten()(spy(inputs)))
        taught = []

        def note(batch):
            taught.append(np.asarray(batch))
            return batch

        model = distillation_model(keras.Model(inputs, logits), teacher, teacher_preprocessing=note)
        pictures = tf.data.Dataset.from_tensor_slices((images, labels)).repeat()
        flipped = pictures.map(
            lambda image, label: (tf.image.random_flip_left_right(image, seed=3), label)
        )
        model.compile("sgd", DistillationLoss(), run_eagerly=True)
        spy.seen.clear()
        model.fit(flipped.batch(4), epochs=2, steps_per_epoch=3, verbose=0, shuffle=False)
        assert len(taught) == len(spy.seen) == 6
        np.testing.assert_array_equal(np.concatenate(taught), np.concatenate(spy.seen))
        epochs = np.concatenate(taught).reshape(2, 12, 8, 8, 1)
        assert not np.array_equal(*epochs), "flipped anew in each epoch"
        model.predict(images, verbose=0)
        assert len(taught) == 6, "nobody asks the teacher after training"

    def test_step_is_that_of_a_tape(self, teacher, images, labels):
        inputs = keras.Input((8, 8, 1))
        x = layers.Conv2D(2, 3, strides=2, padding="same", name="own")(inputs)
        student = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))
        model = distillation_model(student, teacher, hints={"own": "relu"})
        view = keras.Model(teacher.input, [teacher.output, teacher.get_layer("relu").output])
        own = keras.Model(inputs, [student.output, model.get_layer("hint_own").output])
        batch = images.astype(np.float32) / 255
        taught, features = (tensor.numpy() for tensor in view(batch, training=False))
        with tf.GradientTape() as tape:
            logits, projected = own(batch, training=True)
            hard = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            ratio = tf.nn.softmax(taught / 3) / tf.nn.softmax(logits / 3)
            soft = tf.reduce_sum(tf.nn.softmax(taught / 3) * tf.math.log(ratio), axis=1)
            error = tf.reduce_mean((projected - features) ** 2, axis=(1, 2, 3))
            loss = tf.reduce_mean(0.2 * hard + 0.8 * 9 * soft + 0.7 * error)
        gradients = tape.gradient(loss, own.trainable_variables)
        expected = {
            variable.path: variable.numpy() - 0.1 * gradient.numpy()
            for variable, gradient in zip(own.trainable_variables, gradients, strict=True)
        }
        model.compile(keras.optimizers.SGD(0.1), DistillationLoss(3.0, 0.2, 0.7))
        found = model.train_on_batch(batch, labels)
        assert float(found) == pytest.approx(float(loss), rel=1e-5)
        assert len(model.trainable_variables) == len(expected)
        for variable in model.trainable_variables:
            np.testing.assert_allclose(variable, expected[variable.path], atol=1e-5)

    def test_weights_are_those_of_the_student(self, teacher):
        student = network(2)
        plain = distillation_model(student, teacher)
        assert {id(w) for w in plain.weights} == {id(w) for w in student.weights}
        hinted = distillation_model(student, teacher, hints={"relu": "relu", "pool": "pool"})
        more = {w.path for w in hinted.weights} - {w.path for w in student.weights}
        assert more == {f"hint_{x}/{y}" for x in ("relu", "pool") for y in ("kernel", "bias")}

    @pytest.mark.parametrize(
        "kind", ["calibrated", "activation", "dense", "nested", "ensemble", "sequential"]
    )
    def test_logits_of_teachers_that_give_probabilities(self, kind, teacher, images):
        logits = np.asarray(teacher(images, training=False))
        head = {
            "calibrated": CalibratedSoftmax(3.0),
            "nested": CalibratedSoftmax(3.0),
            "activation": layers.Activation("softmax"),
            "sequential": layers.Softmax(),
            "ensemble": layers.Softmax(),
        }.get(kind)
        if kind == "dense":
            other = network(6, layers.Dense(CLASSES, activation="softmax"))
            other.set_weights(teacher.get_weights())
        elif kind == "sequential":
            other = keras.Sequential([keras.Input((8, 8, 1)), teacher, head])
        else:
            other = keras.Model(teacher.input, head(teacher.output))
        if kind == "nested":
            inputs = keras.Input((8, 8, 1))
            other = keras.Model(inputs, layers.Identity()(other(inputs)))
        if kind == "ensemble":
            other = ensemble([other, other])
        row = taught_row(distillation_model(network(2), other), images)
        # By the logarithm, up to a constant for each image.
        expected, found = (x - x.mean(axis=1, keepdims=True) for x in (logits, row))
        np.testing.assert_allclose(found, expected, atol=1e-4)

    def test_student_that_ends_with_a_softmax(self, teacher, images):
        head = layers.Activation("softmax")
        student = network(2, layers.Dense(CLASSES), head)
        model = distillation_model(student, teacher)
        logits = model.predict(images, verbose=0)
        probabilities = tf.nn.softmax(logits).numpy()
        np.testing.assert_allclose(student.predict(images, verbose=0), probabilities, atol=1e-6)
        assert not np.allclose(logits.sum(axis=1), 1)

    def test_student_and_teacher_of_other_images(self, images):
        large = network(6, size=12, channels=3)
        row = taught_row(distillation_model(network(2), large), images)
        resized = tf.repeat(tf.image.resize(images.astype(np.float32), (12, 12)), 3, axis=3)
        np.testing.assert_allclose(row, large(resized, training=False), atol=1e-5)
        scaled = distillation_model(
            network(2), large, teacher_preprocessing=layers.Rescaling(2.0, offset=1.0)
        )
        expected = large(2 * resized + 1, training=False)
        np.testing.assert_allclose(taught_row(scaled, images), expected, atol=1e-5)

    @pytest.mark.parametrize(("size", "wanted"), [(5, 9), (9, 5), (28, 32), (28, 7)])
    def test_resizing_is_that_of_tensorflow(self, size, wanted):
        pictures = np.random.default_rng(0).uniform(0, 255, (2, size, 6, 3)).astype(np.float32)
        expected = tf.image.resize(pictures, (wanted, 6), antialias=True)
        found = fit_images(tf.constant(pictures), (None, wanted, 6, 3))
        np.testing.assert_allclose(found, expected, atol=1e-3)
        np.testing.assert_allclose(resize_matrix(size, wanted).sum(axis=1), 1, atol=1e-6)

    def test_it_is_not_saved(self, teacher, tmp_path):
        model = distillation_model(network(2), teacher)
        with pytest.raises(ConfigError, match="cannot be saved or cloned; save the student"):
            model.save(tmp_path / "model.keras")


class TestMistakes:
    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (lambda: network(2, classes=4), "has 3 classes, teacher .* has 4: expected the same"),
            (lambda: network(2, layers.Dense(3, "sigmoid")), "ends with sigmoid, expected logits"),
            (lambda: network(2, layers.Dense(1)), "has one output, expected one a class"),
            (lambda: network(2, channels=4), r"takes images of shape \(None, 8, 8, 4\)"),
            (lambda: "resnet50", r"distillation \(teacher\) takes a Keras model"),
            (
                lambda: keras.Model(*(lambda x: (x, [x, x]))(keras.Input((3,)))),
                "teacher must have one input and one output",
            ),
        ],
    )
    def test_teachers(self, other, message):
        with pytest.raises(ConfigError, match=message):
            distillation_model(network(2), other())

    def test_classes_in_another_order(self):
        student, other = (
            network(2, layers.Dense(3), CalibratedSoftmax(class_names=names))
            for names in (["cat", "dog", "owl"], ["cat", "owl", "dog"])
        )
        with pytest.raises(ConfigError, match="class 1 of the student is 'dog', of the teacher"):
            distillation_model(student, other)

    def test_shared_weights(self, teacher):
        with pytest.raises(ConfigError, match="student and teacher share weights"):
            distillation_model(keras.Model(teacher.inputs, teacher.outputs), teacher)

    def test_augmentation_inside(self, teacher):
        student = keras.Sequential([keras.Input((8, 8, 1)), layers.RandomFlip(), network(2)])
        with pytest.raises(ConfigError, match="student augments images inside.*random_flip"):
            distillation_model(student, teacher)

    @pytest.mark.parametrize(
        ("hints", "message"),
        [
            ({"rellu": "relu"}, "student has no layer 'rellu'; did you mean 'relu'"),
            ({"relu": "no"}, "teacher has no layer 'no'"),
            ({"relu": "pool"}, "expected the same height and width"),
        ],
    )
    def test_hints(self, hints, message, teacher):
        with pytest.raises(ConfigError, match=message):
            distillation_model(network(2), teacher, hints=hints)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"epochs": 0}, "epochs must be a whole number"),
            ({"optimizer": "adamm"}, "optimizer must be one of .* did you mean 'adam'"),
            ({"learning_rate": -1}, "learning_rate must be above 0, received: -1"),
            ({"alpha": 2}, r"alpha must be in \[0, 1\]"),
        ],
    )
    def test_arguments(self, arguments, message, teacher, data):
        with pytest.raises(ConfigError, match=message):
            distill(network(2), teacher, data, **arguments)

    def test_data(self, teacher, data):
        with pytest.raises(DataError, match=r"\.batch\(\) is missing"):
            distill(network(2), teacher, data.unbatch())

    def test_run_directory(self, teacher, data, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RunError, match="cannot write"):
            distill(network(2), teacher, data, run_directory=tmp_path / "file" / "run")


class TestDistill:
    def test_returns_a_trained_copy(self, teacher, data, images, tmp_path):
        student = network(2, layers.Dense(CLASSES, name="logits"), layers.Softmax())
        before = [model.get_weights() for model in (student, teacher)]
        trainable = [layer.trainable for layer in teacher.layers]
        taught = distill(
            student,
            teacher,
            data,
            hints={"relu": "relu"},
            epochs=2,
            learning_rate=0.01,
            validation_data=data,
            run_directory=tmp_path,
        )
        for model, weights in zip((student, teacher), before, strict=True):
            for weight, old in zip(model.get_weights(), weights, strict=True):
                np.testing.assert_array_equal(weight, old)
        assert [layer.trainable for layer in teacher.layers] == trainable
        assert [layer.name for layer in taught.layers] == [layer.name for layer in student.layers]
        moved = [
            not np.array_equal(weight, old)
            for weight, old in zip(taught.get_weights(), before[0], strict=True)
        ]
        assert all(moved), "batch statistics too"
        np.testing.assert_allclose(taught.predict(images, verbose=0).sum(axis=1), 1, atol=1e-5)
        record = json.loads((tmp_path / "distillation.json").read_text())
        assert record["finished"]
        assert (record["temperature"], record["hints"]) == (4.0, {"relu": "relu"})
        assert record["teacher_accuracy_on_first_batch"] == 1
        assert [epoch["loss"] for epoch in record["epochs_run"]] == taught.history.history["loss"]
        assert set(taught.history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
        taught.save(tmp_path / "student.keras")
        loaded = keras.models.load_model(tmp_path / "student.keras")
        np.testing.assert_array_equal(loaded.get_weights()[0], taught.get_weights()[0])

    def test_callbacks_see_the_student(self, teacher, images, labels, data):
        average = WeightAverage(0.5)
        validation = Validation(
            tf.data.Dataset.from_tensor_slices(images).batch(4), labels, average=average
        )
        stopping = EarlyStopping("val_loss", average=average)
        rare = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: logs.update({"rare": 7.0} if epoch == 1 else {})
        )
        taught = distill(
            network(2),
            teacher,
            data,
            epochs=2,
            optimizer=keras.optimizers.SGD(0.05),
            callbacks=[average, validation, stopping, rare],
        )
        assert taught.history.history["rare"] == [7.0]
        logits = taught.predict(images, verbose=0).astype(np.float64)
        probabilities = tf.nn.softmax(logits).numpy()
        expected = log_loss(labels, probabilities, labels=range(CLASSES))
        assert stopping.best == pytest.approx(expected, rel=1e-5)
        assert min(taught.history.history["val_loss"]) == pytest.approx(stopping.best)

    def test_an_epoch_has_the_steps_asked_for(self, teacher, data):
        steps = []
        counting = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: steps.append(int(counting.model.optimizer.iterations))
        )
        asked = {"epochs": 2, "steps_per_epoch": 5, "steps_per_execution": 2}
        distill(network(2), teacher, data, callbacks=[counting], **asked)
        assert steps == [5, 10]

    @pytest.mark.slow
    def test_compiled_otherwise_it_is_the_same(self, teacher, data):
        rescaling, flatten, dense = (
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(CLASSES),
        )
        student = keras.Sequential([keras.Input((8, 8, 1)), rescaling, flatten, dense])
        plain, compiled = (
            distill(student, teacher, data, epochs=2, **arguments).get_weights()
            for arguments in ({}, {"jit_compile": True, "steps_per_execution": 3})
        )
        for one, other in zip(plain, compiled, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)

    @pytest.mark.slow
    def test_half_precision(self, teacher, data, images):
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            student = network(2)
        finally:
            keras.config.set_dtype_policy(policy)
        taught = distill(student, teacher, data, epochs=1, hints={"relu": "relu"})
        assert taught.get_layer("conv").compute_dtype == "bfloat16"
        assert np.isfinite(taught.history.history["loss"]).all()
        model = distillation_model(taught, teacher)
        assert model(images, training=True).dtype == tf.float32
        # A float32 teacher is not rounded.
        expected = teacher(images, training=False)
        np.testing.assert_allclose(taught_row(model, images), expected, atol=1e-6)

    def test_says_when_the_teacher_knows_nothing(self, teacher, images, labels, caplog):
        wrong = tf.data.Dataset.from_tensor_slices((images, (labels + 1) % CLASSES)).batch(12)
        with caplog.at_level(logging.WARNING, "keras_recipes.distill"):
            # The images are uint8; preprocessing gets the numbers that a model does.
            distill(network(2), teacher, wrong, epochs=1, teacher_preprocessing=lambda x: x / 1.0)
        assert "the teacher finds 0% of the labels of the first batch" in caplog.text
