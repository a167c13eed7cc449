"""WeightAverage followed by hand on a model of one weight."""

import keras
import numpy as np
import pytest

from callbacks import StochasticWeightAverage, WeightAverage


def _expected(decay, steps):
    """The average after some steps of w = 1 - 0.5**t, in plain Python."""
    average = 0.0
    for step in range(steps):
        kept = min(decay, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * (1 - 0.5 ** (step + 1))
    return average


@pytest.mark.parametrize(("decay", "steps"), [(0.0, 3), (0.5, 4), (0.99, 6)])
def test_ends_on_the_average(line_model, decay, steps):
    model, x, y = line_model
    model.fit(x, y, epochs=steps, verbose=0, callbacks=[WeightAverage(decay)])
    assert model.get_weights()[0][0, 0] == pytest.approx(_expected(decay, steps), rel=1e-5)


# Half a unit in the last place, since the average is kept in float32.
@pytest.mark.parametrize(
    ("policy", "rounding"), [("bfloat16", 2**-9), ("float16", 2**-12), ("float64", 1e-7)]
)
def test_other_precisions(policy, rounding):
    line = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype=policy)
    model = keras.Sequential([keras.layers.Input((1,)), line])
    model.compile(keras.optimizers.SGD(0.25), loss="mse")
    ones = np.ones((1, 1))
    average = WeightAverage(0.5)
    model.fit(ones, ones, epochs=4, verbose=0, callbacks=[average])
    expected = _expected(0.5, 4)
    assert float(model.get_weights()[0][0, 0]) == pytest.approx(expected, abs=rounding)
    assert average.state()[1][0][0, 0] == pytest.approx(expected, rel=1e-6)


def test_another_fit_begins_again(line_model):
    model, x, y = line_model
    average = WeightAverage(0.5)
    for epochs in (4, 2):
        model.set_weights([np.zeros((1, 1))])
        model.fit(x, y, epochs=epochs, verbose=0, callbacks=[average])
        assert model.get_weights()[0][0, 0] == pytest.approx(_expected(0.5, epochs), rel=1e-5)


def test_validates_on_the_average_and_trains_on_the_raw_weights(line_model):
    model, x, y = line_model
    history = model.fit(
        x, y, validation_data=(x, y), epochs=4, verbose=0, callbacks=[WeightAverage(0.9)]
    ).history
    expected = [abs(1 - _expected(0.9, steps)) for steps in range(1, 5)]
    assert history["val_mae"] == pytest.approx(expected, rel=1e-5)
    assert history["mae"] == pytest.approx([1, 0.5, 0.25, 0.125])


def test_batch_norm_statistics_are_averaged_and_counters_are_not():
    model = keras.Sequential(
        [
            keras.layers.Input((2,)),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer="sgd", loss="mse")
    x = np.array([[0.0, 4.0], [2.0, 8.0]], "float32")
    model.fit(x, x[:, :1], epochs=1, verbose=0, callbacks=[WeightAverage(0.99)])
    moved = 0.5 * x.mean(axis=0)  # the moving mean after one step from 0
    assert model.layers[0].moving_mean.numpy() == pytest.approx(0.9 * moved, rel=1e-5)


def test_swapped_in_puts_the_raw_weights_back(line_model):
    model, x, y = line_model
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with average.swapped_in():
                seen.append(float(model.get_weights()[0][0, 0]))
            seen.append(float(model.get_weights()[0][0, 0]))

    average = WeightAverage(0.5)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[average, Look()])
    assert seen == pytest.approx([_expected(0.5, 1), 0.5, _expected(0.5, 2), 0.75], rel=1e-5)


def test_several_steps_an_execution_decay_as_often(line_model):
    model, x, y = line_model
    model.compile(optimizer=keras.optimizers.SGD(0.25), loss="mse", steps_per_execution=2)
    x, y = np.repeat(x, 4, axis=0), np.repeat(y, 4, axis=0)
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[WeightAverage(0.5)])
    # Two executions of two steps: weights 0.75 and 0.9375 are taken in with the decay of two steps.
    first = 0.1 * 2 / 11
    second = 3 / 12 * 4 / 13
    expected = second * (1 - first) * 0.75 + (1 - second) * 0.9375
    assert model.get_weights()[0][0, 0] == pytest.approx(expected, rel=1e-5)


def test_decay_out_of_range():
    with pytest.raises(ValueError, match="decay"):
        WeightAverage(1.0)


@pytest.mark.parametrize("make", [lambda: WeightAverage(0.5), lambda: StochasticWeightAverage(1)])
def test_another_fit_after_a_validation_that_was_cut_short(line_model, make):
    model, inputs, outputs = line_model
    average = make()

    def cut(batch, logs):
        raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback()
    stop.on_test_batch_end = cut
    given = {"validation_data": (inputs, outputs), "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        model.fit(inputs, outputs, callbacks=[average, stop], **given)
    model.set_weights([np.full((1, 1), 9.0)])
    raw = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: raw.append(float(model.get_weights()[0][0, 0]))
    )
    model.fit(inputs, outputs, epochs=3, callbacks=[average, look], **given)
    # Half of its way to 1 in each epoch, of one step.
    assert raw == [9, 5, 3]
