"""ReduceOnPlateau against the stock callback, and on a weight whose training is known by hand."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import Checkpoint, GradualUnfreezing, ReduceOnPlateau, Scaled, WarmupDecay
from callbacks._optimizers import configuration
from callbacks.plateau import Plateau, next_plateau

NAN, INF = float("nan"), float("inf")


def reductions(values, **arguments):
    """Return the epochs, counted from 0, after which the rate is lowered."""
    settings = {"mode": "min", "min_delta": 0.0, "patience": 2, "cooldown": 0, **arguments}
    plateau, found = Plateau(), []
    for epoch, value in enumerate(values):
        plateau, lower = next_plateau(plateau, value, **settings)
        found += [epoch] if lower else []
    return found


@pytest.mark.parametrize(
    ("values", "arguments", "expected"),
    [
        ([3, 2, 1, 0], {}, []),
        ([1, 1, 1, 1, 1], {}, [2, 4]),
        ([1, 1, 1, 1, 1, 1, 1, 1], {"cooldown": 1}, [2, 5]),
        ([1, 1, 1, 1, 1, 1, 1, 1], {"cooldown": 3}, [2, 7]),
        # Better in the cooldown becomes the best, which then is not reached again.
        ([3, 3, 3, 1, 2, 2, 2, 2], {"cooldown": 2}, [2, 6]),
        ([1, 2, 3, 3, 3], {"mode": "max"}, [4]),
        ([1, 0.95, 0.85, 0.84], {"min_delta": 0.1, "patience": 1}, [1, 3]),
        # Neither a number that is none nor an infinity improves anything, in either direction.
        ([NAN, NAN, 5, 4, NAN, INF], {}, [1, 5]),
        ([-INF, 5, 4, -INF, -INF], {}, [4]),
        ([INF, 5, INF, 5, 6], {"mode": "max"}, [3]),
        ([2, 2, 1, 1], {"patience": 1}, [1, 3]),
    ],
)
def test_plateaus_by_hand(values, arguments, expected):
    assert reductions(values, **arguments) == expected


@pytest.mark.parametrize(("cooldown", "seed"), [(0, 0), (1, 1), (3, 2)])
def test_a_plain_rate_as_the_stock_callback(line_model, cooldown, seed):
    values = np.random.default_rng(seed).uniform(0, 1, 40).round(2)
    values[:3] = (0.9, 0.5, 0.3)

    def rates(reduce):
        model, _, _ = line_model
        model.compile(keras.optimizers.SGD(0.5), "mse")
        reduce.set_model(model)
        reduce.on_train_begin()
        found = []
        for epoch, value in enumerate(values):
            reduce.on_epoch_end(epoch, {"val_loss": value})
            found.append(float(model.optimizer.learning_rate.numpy()))
        return found

    common = {"factor": 0.5, "patience": 3, "min_delta": 0.01}
    # The stock callback counts the last epoch of its cooldown.
    stock = keras.callbacks.ReduceLROnPlateau(
        cooldown=cooldown + 1 if cooldown else 0, min_lr=0.5 * 0.02, mode="min", **common
    )
    ours = ReduceOnPlateau(cooldown=cooldown, minimum=0.02, say=None, **common)
    expected = rates(stock)
    np.testing.assert_allclose(rates(ours), expected, rtol=1e-6)
    assert len(set(expected)) > 3
    assert ours.factor_now == pytest.approx(expected[-1] / 0.5)


def half(model, x, y, callbacks, epochs, **arguments):
    """Train; return the weight after each epoch."""
    weights = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(float(model.get_weights()[0][0, 0]))
    )
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=[*callbacks, note], **arguments)
    return weights


def distances(rates):
    """Return the weight after each step on the loss (w - 1)^2, from 0."""
    return 1 - np.cumprod([1 - 2 * rate for rate in rates])


LOSSES = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


class TestOnASchedule:
    """The rate falls linearly from 0.25 over 10 steps; times 0.1 from the third epoch on."""

    SCHEDULED = 0.25 * (1 - np.arange(6) / 10)
    RATES = SCHEDULED * [1, 1, 0.1, 0.1, 0.01, 0.01]

    @staticmethod
    def compiled(line_model, optimizer=keras.optimizers.SGD, **arguments):
        model, x, y = line_model
        schedule = WarmupDecay(0.25, 10, decay="linear")
        model.compile(optimizer(schedule), "mse", **arguments)
        return model, x, y

    @staticmethod
    def reducing(**arguments):
        return ReduceOnPlateau(
            **{"factor": 0.1, "patience": 1, "cooldown": 1, "say": None} | arguments
        )

    @pytest.mark.parametrize("jit", [False, True])
    def test_the_factor_acts_inside_the_compiled_step(self, line_model, script, jit):
        model, x, y = self.compiled(line_model, jit_compile=jit)
        traces = []

        def loss(y_true, y_pred):
            traces.append(1)
            return keras.losses.mean_squared_error(y_true, y_pred)

        model.compile(model.optimizer, loss, jit_compile=jit)
        reduce, lines = self.reducing(), []
        reduce.say = lines.append
        weights = half(model, x, y, [script("val_loss", LOSSES), reduce], 6)
        np.testing.assert_allclose(weights, distances(self.RATES), rtol=1e-5)
        # Once to build it, once in the training step: not again at a reduction.
        assert len(traces) == 2
        assert [one["epoch"] for one in reduce.reductions] == [2, 4, 6]
        rate = 0.25 * 0.8 * 0.1
        assert lines[0] == (
            "epoch 2: val_loss has not improved for 1 epochs: learning rate times 0.1, "
            f"now {rate:.3g}"
        )
        assert reduce.reason == (
            "reduced the learning rate after epoch 2, 4, 6, to 0.001 of what it would be"
        )

    def test_a_second_fit_goes_on_at_the_reduced_rate(self, line_model, script):
        model, x, y = self.compiled(line_model)
        reduce = self.reducing()
        first = half(model, x, y, [script("val_loss", LOSSES), reduce], 3)
        second = half(model, x, y, [script("val_loss", LOSSES), reduce], 3)
        # Its own plateau begins with its first epoch, so it reduces after its second.
        rates = self.SCHEDULED * [1, 1, 0.1, 0.1, 0.1, 0.01]
        np.testing.assert_allclose(first + second, distances(rates), rtol=1e-5)
        assert [one["epoch"] for one in reduce.reductions] == [2]

    def test_it_survives_saving(self, line_model, script, tmp_path):
        model, x, y = self.compiled(line_model)
        first = half(model, x, y, [script("val_loss", LOSSES), self.reducing()], 3)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        # Another callback, with no state, goes on from what is left of the rate.
        reduce = self.reducing()
        second = half(again, x, y, [script("val_loss", [2.0, 1.0, 1.0, 1.0]), reduce], 3)
        rates = self.SCHEDULED * [1, 1, 0.1, 0.1, 0.1, 0.1]
        np.testing.assert_allclose(first + second, distances(rates), rtol=1e-5)
        assert reduce.factor_now == pytest.approx(0.01)

    def test_a_checkpoint_resumes_it(self, line_model, script, tmp_path):
        model, x, y = self.compiled(line_model)
        reduce = self.reducing()
        half(
            *(model, x, y),
            [script("val_loss", LOSSES), reduce, Checkpoint(tmp_path, {"reduce": reduce})],
            3,
        )
        json.dumps(reduce.state()[0], allow_nan=False)
        model, x, y = self.compiled(line_model)
        model.optimizer.build(model.trainable_variables)
        resumed = self.reducing()
        done = Checkpoint(tmp_path, {"reduce": resumed}).restore_newest(model)
        weights = half(*(model, x, y), [script("val_loss", LOSSES), resumed], 6, initial_epoch=done)
        np.testing.assert_allclose(weights, distances(self.RATES)[3:], rtol=1e-5)
        assert [one["epoch"] for one in resumed.reductions] == [2, 4, 6]

    def test_loss_scaling(self, line_model, script):
        def scaled(schedule):
            return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule))

        model, x, y = self.compiled(line_model, scaled)
        weights = half(model, x, y, [script("val_loss", LOSSES), self.reducing()], 6)
        np.testing.assert_allclose(weights, distances(self.RATES), rtol=1e-5)

    def test_a_new_optimizer_meanwhile(self, line_model, script):
        model, x, y = self.compiled(line_model)
        unfreezing = GradualUnfreezing({0: lambda model: None, 3: lambda model: None})
        calls = [unfreezing, script("val_loss", LOSSES), self.reducing()]
        np.testing.assert_allclose(half(model, x, y, calls, 6), distances(self.RATES), rtol=1e-5)

    @pytest.mark.slow
    def test_under_a_strategy(self, script):
        x = np.ones((1, 1), "float32")
        line = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
            model = keras.Sequential([keras.layers.Input((1,)), line])
            self.compiled((model, x, x))
        weights = half(model, x, x, [script("val_loss", LOSSES), self.reducing()], 6)
        np.testing.assert_allclose(weights, distances(self.RATES), rtol=1e-5)

    def test_the_rate_is_logged(self, line_model, script):
        model, x, y = self.compiled(line_model)
        calls = [script("val_loss", LOSSES), self.reducing()]
        history = model.fit(x, y, epochs=4, verbose=0, callbacks=calls).history
        # That of the next step, before the reduction that follows from the epoch.
        expected = 0.25 * (1 - np.arange(1, 5) / 10) * [1, 1, 0.1, 0.1]
        np.testing.assert_allclose(history["learning_rate"], expected, rtol=1e-5)


def test_a_fit_of_another_model_begins_at_its_whole_rate(line_model, script):
    model, x, y = line_model
    reduce = ReduceOnPlateau(patience=1, minimum=0.1, say=None)
    for _ in range(2):
        model.compile(keras.optimizers.SGD(0.25), "mse")
        model.set_weights([np.zeros((1, 1))])
        weights = half(model, x, y, [script("val_loss", LOSSES), reduce], 3)
        np.testing.assert_allclose(weights, distances([0.25, 0.25, 0.025]), rtol=1e-5)


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [
        # The rate of a stage of its own is whole; one that goes on is reduced already.
        (lambda model, epoch: keras.optimizers.SGD(0.2), [0.25, 0.25, 0.025, 0.2, 0.02, 0.01]),
        (None, [0.25, 0.25, 0.025, 0.0125, 0.0125, 0.0125]),
    ],
)
def test_a_new_optimizer_with_a_number(optimizer, rates, line_model, script):
    model, x, y = line_model
    unfreezing = GradualUnfreezing({3: lambda model: None}, optimizer)
    reduce = ReduceOnPlateau(patience=1, minimum=0.05, say=None)
    calls = [unfreezing, script("val_loss", LOSSES), reduce]
    np.testing.assert_allclose(half(model, x, y, calls, 6), distances(rates), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 1.0}, "factor must be above 0 and below 1, received: 1.0"),
        ({"patience": 0}, "patience must be 1 or more"),
        ({"min_delta": -1}, "min_delta must be 0 or more"),
        ({"mode": "up"}, "mode must be 'auto', 'min' or 'max', received: 'up'"),
        ({"cooldown": -1}, "cooldown must be 0 or more"),
        ({"minimum": 2}, "minimum must be between 0 and 1"),
        ({"monitor": "spread"}, "say mode="),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReduceOnPlateau(**arguments)


def test_a_misspelt_monitor(line_model):
    model, x, y = line_model
    with pytest.raises(ValueError, match="ReduceOnPlateau monitors 'val_los'.* 'val_loss'"):
        model.fit(x, y, verbose=0, callbacks=[ReduceOnPlateau("val_los", mode="min")])


def test_a_monitor_that_never_comes(line_model):
    model, x, y = line_model
    message = r"'val_loss', which training does not report \(.*\); give fit validation_data"
    with pytest.raises(ValueError, match=message):
        model.fit(x, y, verbose=0, callbacks=[ReduceOnPlateau()])


def test_schedules_that_cannot_be_scaled(line_model):
    model, x, y = line_model

    class Unregistered(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

        def get_config(self):
            return {}

    model.compile(keras.optimizers.SGD(Unregistered()), "mse")
    with pytest.raises(TypeError, match="'Unregistered' from its configuration: decorate"):
        model.fit(x, y, verbose=0, callbacks=[ReduceOnPlateau("loss")])
    del Unregistered.get_config
    with pytest.raises(TypeError, match="cannot rebuild the learning rate of 'sgd"):
        configuration(model.optimizer)
    model.compile(keras.optimizers.SGD(lambda: 0.1), "mse")
    with pytest.raises(TypeError, match="is a function: give a number or a LearningRateSchedule"):
        model.fit(x, y, verbose=0, callbacks=[ReduceOnPlateau("loss")])
    with pytest.raises(TypeError, match="schedule must be a LearningRateSchedule, received: 0.1"):
        Scaled(0.1)
