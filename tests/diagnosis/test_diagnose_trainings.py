"""The diagnosis of tiny trainings: each fault that is provoked is found, and none in sound ones."""

import keras
import numpy as np
import pytest

from recipes.diagnosis.diagnose import diagnose

pytestmark = pytest.mark.slow


def blobs(count, noise=1.0, seed=0, classes=3, width=8):
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(classes, width))
    labels = generator.integers(0, classes, count)
    images = centers[labels] + noise * generator.normal(size=(count, width))
    return images.astype("float32"), labels


def fit(
    train,
    validation,
    *,
    units=32,
    rate=0.01,
    epochs=12,
    dropout=0.0,
    batch=32,
    optimizer=None,
    callbacks=(),
):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(units, "relu")] if units else []
    layers += [keras.layers.Dropout(dropout)] if dropout else []
    model = keras.Sequential([keras.layers.Input((8,)), *layers, keras.layers.Dense(3)])
    model.compile(
        optimizer or keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model.fit(
        *train,
        validation_data=validation,
        epochs=epochs,
        batch_size=batch,
        verbose=0,
        callbacks=list(callbacks),
    )


class Rate(keras.callbacks.Callback):
    """Writes the learning rate into the logs."""

    def on_epoch_end(self, epoch, logs=None):
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def shuffled(data, seed=1):
    return data[0], np.random.default_rng(seed).permutation(data[1])


def overfitted():
    return fit(shuffled(blobs(64)), blobs(200, seed=1), units=128, rate=0.02, epochs=20)


def underfitted():
    return fit(shuffled(blobs(600)), shuffled(blobs(200, seed=1)), units=0, rate=0.005, epochs=8)


def unfinished():
    return fit(blobs(600, 0.5), blobs(200, 0.5, seed=1), units=0, rate=0.003, epochs=8)


def exploded():
    images, labels = blobs(200)
    return fit((images * 1e18, labels), blobs(50), optimizer=keras.optimizers.SGD(1e18), epochs=4)


def jumping():
    """A rate at which every batch throws the weights about."""
    optimizer = keras.optimizers.SGD(5.0)
    train, validation = blobs(64), blobs(40, seed=1)
    return fit(train, validation, units=0, batch=4, optimizer=optimizer, epochs=12)


def leaked():
    """Labels without sense, learned by heart under dropout; validated on the same images."""
    train = shuffled(blobs(24))
    return fit(train, train, units=512, dropout=0.9, batch=24, epochs=30)


TRAININGS = {
    "overfit": overfitted,
    "underfit": underfitted,
    "not_converged": unfinished,
    "diverged": exploded,
    "noisy": jumping,
    "leaking": leaked,
}


@pytest.mark.parametrize("name", sorted(TRAININGS))
def test_a_provoked_fault_is_found(name):
    history = TRAININGS[name]()
    found = diagnose(history)
    assert name in found, f"{found}\n{history.history}"


def test_a_rate_that_stands_is_found():
    """A rate too high for the noise of its batches keeps the loss up."""
    optimizer = keras.optimizers.SGD(2.0)
    history = fit(
        blobs(400, 2.0),
        blobs(200, 2.0, seed=1),
        units=0,
        optimizer=optimizer,
        epochs=20,
        batch=8,
        callbacks=[Rate()],
    )
    assert "learning_rate_plateau" in diagnose(history), history.history


SOUND = {
    "a linear model": lambda: fit(blobs(600, 0.7), blobs(300, 0.7, seed=1), units=0, rate=0.05),
    "one hidden layer": lambda: fit(blobs(600), blobs(300, seed=1), rate=0.005),
    "dropout": lambda: fit(blobs(600), blobs(300, seed=1), rate=0.005, dropout=0.3),
}


@pytest.mark.parametrize("name", sorted(SOUND))
def test_a_sound_training_has_no_findings(name):
    found = diagnose(SOUND[name]())
    assert not found.findings, str(found)
