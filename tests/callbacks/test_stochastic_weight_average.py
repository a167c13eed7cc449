"""StochasticWeightAverage followed by hand on a model of one weight, and with statistics."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import EarlyStopping, StochasticWeightAverage, Validation


def _mean(epochs):
    """The mean of the weights 1 - 0.5**t at the ends of these epochs, in plain Python."""
    return sum(1 - 0.5**epoch for epoch in epochs) / len(epochs)


@pytest.mark.parametrize(
    ("start", "every", "taken"), [(1, 1, [1, 2, 3, 4, 5]), (3, 1, [3, 4, 5]), (1, 2, [1, 3, 5])]
)
def test_ends_on_the_mean_of_epoch_ends(line_model, start, every, taken):
    model, x, y = line_model
    average = StochasticWeightAverage(start, every=every)
    model.fit(x, y, epochs=5, verbose=0, callbacks=[average])
    assert model.get_weights()[0][0, 0] == pytest.approx(_mean(taken), rel=1e-6)
    assert average.averaged == len(taken)


def test_validates_on_the_average_and_trains_on_the_raw_weights(line_model):
    model, x, y = line_model
    history = model.fit(
        x,
        y,
        validation_data=(x, y),
        epochs=4,
        verbose=0,
        callbacks=[StochasticWeightAverage(2)],
    ).history
    expected = [0.5, 1 - _mean([2]), 1 - _mean([2, 3]), 1 - _mean([2, 3, 4])]
    assert history["val_mae"] == pytest.approx(expected, rel=1e-6)
    assert history["mae"] == pytest.approx([1, 0.5, 0.25, 0.125])
    # Training ended on what the last validation saw.
    assert model.evaluate(x, y, verbose=0)[1] == pytest.approx(history["val_mae"][-1], rel=1e-6)


def test_an_end_before_the_start_leaves_the_raw_weights(line_model):
    model, x, y = line_model
    average = StochasticWeightAverage(9)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[average])
    assert (model.get_weights()[0][0, 0], average.averaged) == (0.75, 0)


def test_another_fit_begins_again(line_model):
    model, x, y = line_model
    average = StochasticWeightAverage(2)
    for epochs, weight in ((3, _mean([2, 3])), (1, 0.5)):
        model.set_weights([np.zeros((1, 1))])
        model.fit(x, y, epochs=epochs, verbose=0, callbacks=[average])
        assert model.get_weights()[0][0, 0] == pytest.approx(weight, rel=1e-6)
    assert average.averaged == 0


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_half_precision_is_averaged_in_float32(policy):
    line = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype=policy)
    model = keras.Sequential([keras.layers.Input((1,)), line])
    model.compile(keras.optimizers.SGD(0.25), loss="mse")
    ones, average = np.ones((1, 1)), StochasticWeightAverage(1)
    model.fit(ones, ones, epochs=3, verbose=0, callbacks=[average])
    (kept,) = average.state()[1]
    assert (kept.dtype, kept[0, 0]) == ("float32", pytest.approx(_mean([1, 2, 3]), rel=1e-6))
    assert model.get_weights()[0][0, 0] == kept.astype(model.get_weights()[0].dtype)[0, 0]


@pytest.fixture
def normalized():
    """Return a compiled model with batch normalisation, and data of two classes."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.Dense(3, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss)
    x = np.random.default_rng(0).normal(size=(24, 2)).astype("float32")
    return model, x, (x[:, 0] > 0).astype(int)


class _Kernels(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model.layers[0].get_weights()[0])


def test_statistics_belong_to_the_averaged_weights(normalized):
    model, x, y = normalized
    kernels = _Kernels()
    average = StochasticWeightAverage(2, [x[:12], x[12:]])
    model.fit(x, y, epochs=4, batch_size=12, verbose=0, callbacks=[average, kernels])
    kernel = np.mean(np.asarray(kernels.seen, np.float64)[1:], axis=0)
    np.testing.assert_allclose(model.layers[0].get_weights()[0], kernel, rtol=1e-5, atol=1e-7)
    _, _, mean, variance = model.layers[1].get_weights()
    np.testing.assert_allclose(mean, (x @ kernel).mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, (x @ kernel).var(axis=0), rtol=1e-4)


def test_early_stopping_restores_the_average_that_was_measured(normalized, script):
    model, x, y = normalized
    average = StochasticWeightAverage(1, [x])
    validation = Validation(tf.data.Dataset.from_tensors(x), y, average=average)
    stopping = EarlyStopping("measure", average=average, mode="min", added=["measure"])
    losses = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            losses.append(logs["val_loss"])

    ours = [average, validation, Look(), script("measure", [3.0, 1.0, 2.0]), stopping]
    model.fit(x, y, epochs=3, verbose=0, callbacks=ours)
    assert stopping.best_epoch == 2
    assert model.evaluate(x, y, verbose=0) == pytest.approx(losses[1], rel=1e-5)


def test_a_resumed_run_ends_on_the_same_weights(normalized):
    model, x, y = normalized
    start = model.get_weights()

    def fit(average, first, last):
        model.fit(
            x, y, initial_epoch=first, epochs=last, verbose=0, shuffle=False, callbacks=[average]
        )

    whole = StochasticWeightAverage(1, [x])
    fit(whole, 0, 4)
    expected = model.get_weights()

    model.set_weights(start)

    class Kill(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.raw = self.model.get_weights()

    kill, half = Kill(), StochasticWeightAverage(1, [x])
    model.fit(x, y, epochs=2, verbose=0, shuffle=False, callbacks=[half, kill])
    values, arrays = half.state()
    model.set_weights(kill.raw)
    again = StochasticWeightAverage(1, [x])
    again.restore(json.loads(json.dumps(values)), arrays)
    fit(again, 2, 4)
    for now, then in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(now, then)


def test_batch_normalisation_needs_data(normalized):
    model, x, y = normalized
    with pytest.raises(ValueError, match="data must be given"):
        model.fit(x, y, verbose=0, callbacks=[StochasticWeightAverage(1)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"start": 0}, "start"), ({"every": 0}, "every"), ({"batches": 0}, "batches")],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        StochasticWeightAverage(**{"start": 1, **arguments})
