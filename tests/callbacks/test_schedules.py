"""Schedules against their references, points worked out by hand, and training followed in NumPy."""

import keras
import numpy as np
import pytest

from callbacks import GradualUnfreezing, OneCycle, OneCycleMomentum, StepDecay, WarmupDecay
from callbacks.one_cycle import one_cycle
from callbacks.schedules import warmup_decay
from callbacks.step_decay import step_decay

# step, warmup, final, decay, expected share of the peak over 100 steps
_BY_HAND = [
    (0, 0.1, 0.0, "cosine", 0.1),
    (9, 0.1, 0.0, "cosine", 1.0),
    (10, 0.1, 0.0, "cosine", 1.0),
    (55, 0.1, 0.0, "cosine", 0.5),
    (100, 0.1, 0.0, "cosine", 0.0),
    (55, 0.1, 0.2, "cosine", 0.6),
    (40, 0.2, 0.0, "linear", 0.75),
    (100, 0.2, 0.1, "linear", 0.1),
    (500, 0.2, 0.1, "linear", 0.1),
    (3, 0.0, 0.0, "constant", 1.0),
    (99, 0.5, 0.0, "constant", 1.0),
]


@pytest.mark.parametrize(("step", "warmup", "final", "decay", "share"), _BY_HAND)
def test_points_by_hand(step, warmup, final, decay, share):
    schedule = WarmupDecay(0.4, 100, warmup=warmup, final=final, decay=decay)
    assert float(schedule(step)) == pytest.approx(0.4 * share, abs=1e-7)
    reference = warmup_decay(step, 0.4, 100, warmup=warmup, final=final, decay=decay)
    assert reference == pytest.approx(0.4 * share, abs=1e-12)


def test_a_held_schedule_moves_with_the_updates():
    """Three calls of the optimizer an update, each at the rate of that update."""
    held = WarmupDecay(0.4, 10, warmup=0.2, hold=3)
    plain = WarmupDecay(0.4, 10, warmup=0.2)
    assert [float(held(call)) for call in range(30)] == [
        float(plain(update)) for update in range(10) for _ in range(3)
    ]


# step of 101, arguments, expected share of the peak
_CYCLES = [
    # The defaults: from 1/25 up in 30 %, and down to 1/250,000.
    (0, {}, 0.04),
    (15, {}, 0.52),
    (30, {}, 1.0),
    (65, {}, (1 + 4e-6) / 2),
    # A third and a sixth of the way, where the cosine is 1/2 and sqrt(3)/2.
    (10, {"start": 0.0}, 0.25),
    (30 + 70 / 6, {"final": 0.0}, (1 + np.sqrt(3) / 2) / 2),
    (100, {}, 4e-6),
    (250, {}, 4e-6),
    (15, {"anneal": "linear"}, 0.52),
    (10, {"anneal": "linear", "start": 0.1}, 0.4),
    (86, {"anneal": "linear", "final": 0.0}, 0.2),
    # The policy of the paper: two equal legs from a tenth, then far below it.
    *(
        (
            step,
            {"anneal": "linear", "warmup": 0.4, "annihilation": 0.2, "start": 0.1, "final": 0.001},
            share,
        )
        for step, share in (
            *((0, 0.1), (20, 0.55), (40, 1.0), (60, 0.55), (80, 0.1)),
            *((90, 0.0505), (100, 0.001), (120, 0.001)),
        )
    ),
    (90, {"annihilation": 0.2, "start": 0.2, "final": 0.0}, 0.1),
]


@pytest.mark.parametrize(("step", "arguments", "share"), _CYCLES)
def test_one_cycle_by_hand(step, arguments, share):
    schedule = OneCycle(0.5, 101, **arguments)
    assert float(schedule(step)) == pytest.approx(0.5 * share, abs=2e-7)
    config = {name: value for name, value in schedule.get_config().items() if name != "name"}
    assert one_cycle(step, **config) == pytest.approx(0.5 * share, abs=1e-12)


# step, boundaries, warmup, steps per epoch, expected share of the peak, with a factor of 0.2
_STEPS = [
    (0, [10, 20], 0, None, 1.0),
    (9, [10, 20], 0, None, 1.0),
    (10, [10, 20], 0, None, 0.2),
    (19, [10, 20], 0, None, 0.2),
    (10**9, [10, 20], 0, None, 0.04),
    (0, [10, 20], 4, None, 0.25),
    (3, [10, 20], 4, None, 1.0),
    (49, [10, 20], 4, 5, 1.0),
    (50, [10, 20], 4, 5, 0.2),
    (10, [10, 20], 4, 5, 0.55),
    (7, [1.5], 0, 5, 1.0),
    (8, [1.5], 0, 5, 0.2),  # round(7.5) is 8
    # Steps beyond the whole numbers of float32.
    (2**24, [2**24 + 1], 0, None, 1.0),
    (2**24 + 1, [2**24 + 1], 0, None, 0.2),
]


@pytest.mark.parametrize(("step", "boundaries", "warmup", "steps_per_epoch", "share"), _STEPS)
def test_step_decay_by_hand(step, boundaries, warmup, steps_per_epoch, share):
    arguments = {"factor": 0.2, "warmup": warmup}
    schedule = StepDecay(0.5, boundaries, steps_per_epoch=steps_per_epoch, **arguments)
    assert float(schedule(step)) == pytest.approx(0.5 * share, rel=1e-6)
    reference = step_decay(step, 0.5, boundaries, steps_per_epoch=steps_per_epoch or 1, **arguments)
    assert reference == pytest.approx(0.5 * share, rel=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        WarmupDecay(0.4, 100, warmup=0.3, final=0.1, decay="linear", hold=2),
        OneCycle(0.4, 100, warmup=0.2, annihilation=0.3, start=0.1, final=0.0, anneal="linear"),
        StepDecay(0.4, [7, 9.5], factor=0.3, warmup=2, steps_per_epoch=10),
    ],
    ids=lambda schedule: schedule.name,
)
def test_they_serialise(schedule):
    config = keras.optimizers.schedules.serialize(schedule)
    again = keras.optimizers.schedules.deserialize(config)
    assert again.get_config() == schedule.get_config()
    for step in (0, 15, 77, 96):
        assert float(again(step)) == float(schedule(step))


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (WarmupDecay, {"peak": 0.0}, "peak"),
        (WarmupDecay, {"steps": 0}, "steps"),
        (WarmupDecay, {"warmup": 1.0}, "warmup"),
        (WarmupDecay, {"final": 2.0}, "final"),
        (WarmupDecay, {"decay": "cos"}, "decay"),
        (WarmupDecay, {"hold": 0}, "hold"),
        (OneCycle, {"peak": -1}, "peak must be positive, received: -1"),
        (OneCycle, {"peak": float("nan")}, "peak must be positive"),
        (OneCycle, {"steps": 1}, "steps must be 2 or more"),
        (OneCycle, {"warmup": 0}, "warmup must be above 0"),
        (OneCycle, {"warmup": 0.5, "annihilation": 0.5}, "warmup . annihilation must be below 1"),
        (OneCycle, {"start": 1.5}, "start must be between 0 and 1"),
        (OneCycle, {"anneal": "cos"}, "anneal must be one of"),
        (StepDecay, {"peak": 0, "boundaries": [1]}, "peak must be positive"),
        (StepDecay, {"boundaries": []}, "boundaries must be positive and rising, received: "),
        (StepDecay, {"boundaries": [3, 3]}, "boundaries must be positive and rising"),
        (StepDecay, {"boundaries": [0, 3]}, "boundaries must be positive and rising"),
        (StepDecay, {"boundaries": [3], "factor": 1}, "factor must be above 0 and below 1"),
        (StepDecay, {"boundaries": [3], "warmup": 4}, "warmup must be between 0 and the first"),
        (StepDecay, {"boundaries": [3], "steps_per_epoch": 0}, "steps_per_epoch must be 1"),
    ],
)
def test_wrong_arguments(make, arguments, message):
    steps = {} if make is StepDecay else {"steps": 10}
    with pytest.raises(ValueError, match=message):
        make(**{"peak": 0.1, **steps, **arguments})


# The momentum is cycled over 9 steps: 0.95, 0.9, 0.85 at step 2, then up by 1/60 a step.
STEPS = 9
MOMENTA = np.interp(np.arange(STEPS), [0, 2, 8], [0.95, 0.85, 0.95])
CYCLE = {"warmup": 0.25, "start": 0.1, "final": 0.0, "anneal": "linear"}
RATES = 0.1 * np.interp(np.arange(STEPS), [0, 2, 8], [0.1, 1.0, 0.0])


def momentum_sgd(nesterov):
    """Return the weight after each step on the loss (w - 1)^2, as the papers write SGD."""
    weight, velocity, found = 0.0, 0.0, []
    for rate, momentum in zip(RATES, MOMENTA, strict=True):
        gradient = 2 * (weight - 1)
        velocity = momentum * velocity - rate * gradient
        weight += momentum * velocity - rate * gradient if nesterov else velocity
        found.append(weight)
    return found


def adam():
    """Return the weight after each step of Adam, Kingma and Ba, Algorithm 1, in its fast form."""
    weight, first, second, found = 0.0, 0.0, 0.0, []
    for step, (rate, beta) in enumerate(zip(RATES, MOMENTA, strict=True), start=1):
        gradient = 2 * (weight - 1)
        first = beta * first + (1 - beta) * gradient
        second = 0.999 * second + 0.001 * gradient**2
        size = rate * np.sqrt(1 - 0.999**step) / (1 - beta**step)
        weight -= size * first / (np.sqrt(second) + 1e-7)
        found.append(weight)
    return found


def train(line_model, optimizer, schedule, epochs=STEPS, **arguments):
    """Train; return the weight after each epoch, and how often the loss was called to trace it."""
    model, x, y = line_model
    traces = []

    class Counted(keras.losses.MeanSquaredError):
        def call(self, y_true, y_pred):
            traces.append(1)
            return super().call(y_true, y_pred)

    model.compile(optimizer, Counted(), **arguments)
    weights = []
    follow = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(float(model.get_weights()[0][0, 0]))
    )
    repeats = arguments.get("steps_per_execution", 1)
    model.fit(
        *(np.repeat(part, repeats, axis=0) for part in (x, y)),
        batch_size=1,
        epochs=epochs,
        verbose=0,
        callbacks=[OneCycleMomentum(schedule), follow],
    )
    return weights, len(traces)


class TestOneCycleMomentum:
    @pytest.mark.parametrize("nesterov", [False, True])
    def test_sgd(self, line_model, nesterov):
        schedule = OneCycle(0.1, STEPS, **CYCLE)
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=nesterov)
        weights, traces = train(line_model, optimizer, schedule)
        np.testing.assert_allclose(weights, momentum_sgd(nesterov), rtol=1e-5)
        # Once to build it, once in the training step: not again as the momentum changes.
        assert traces == 2
        assert optimizer.momentum == 0.9
        assert type(optimizer.momentum) is float

    def test_adam_in_xla(self, line_model):
        schedule = OneCycle(0.1, STEPS, **CYCLE)
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.0)
        weights, _ = train(line_model, optimizer, schedule, jit_compile=True)
        np.testing.assert_allclose(weights, adam(), rtol=1e-5)
        assert optimizer.beta_1 == 0.9

    def test_several_steps_an_execution_and_loss_scaling(self, line_model):
        schedule = OneCycle(0.1, STEPS, **CYCLE)
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule, 0.5))
        weights, _ = train(line_model, optimizer, schedule, epochs=3, steps_per_execution=3)
        np.testing.assert_allclose(weights, momentum_sgd(False)[2::3], rtol=1e-5)

    def test_accumulated_gradients_count_batches(self, line_model):
        schedule = OneCycle(0.1, 2 * STEPS, **CYCLE)
        optimizer = keras.optimizers.SGD(schedule, 0.9, gradient_accumulation_steps=2)
        weights, _ = train(line_model, optimizer, schedule, epochs=6)
        weight, velocity, expected = 0.0, 0.0, []
        for step in range(6):
            if step % 2:
                momentum = np.interp(step, [0, 4.25, 17], [0.95, 0.85, 0.95])
                rate = 0.1 * np.interp(step, [0, 4.25, 17], [0.1, 1.0, 0.0])
                velocity = momentum * velocity - rate * 2 * (weight - 1)
                weight += velocity
            expected.append(weight)
        np.testing.assert_allclose(weights, expected, rtol=1e-5)

    def test_a_new_optimizer_meanwhile(self, line_model):
        schedule = OneCycle(0.1, STEPS, **CYCLE)
        model, x, y = line_model
        model.compile(keras.optimizers.SGD(schedule, momentum=0.9), "mse")
        unfreezing = GradualUnfreezing({0: lambda model: None, 2: lambda model: None})
        weights = []
        follow = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: weights.append(float(model.get_weights()[0][0, 0]))
        )
        calls = [unfreezing, OneCycleMomentum(schedule), follow]
        model.fit(x, y, epochs=STEPS, verbose=0, callbacks=calls)
        np.testing.assert_allclose(weights, momentum_sgd(False), rtol=1e-5)
        assert type(model.optimizer.momentum) is float
        assert float(keras.ops.convert_to_tensor(model.optimizer.momentum)) == pytest.approx(0.9)

    def test_a_model_saved_meanwhile_holds_the_constant(self, line_model, tmp_path):
        schedule = OneCycle(0.1, STEPS, **CYCLE)
        model, x, y = line_model
        model.compile(keras.optimizers.SGD(schedule, momentum=0.9), "mse")
        save = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
        model.fit(x, y, verbose=0, callbacks=[OneCycleMomentum(schedule), save])
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert again.optimizer.momentum == 0.9
        again.fit(x, y, verbose=0)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"low": 0.95, "high": 0.9}, ValueError, "low and high must rise between 0 and 1"),
            ({"high": 1.0}, ValueError, "low and high must rise between 0 and 1"),
            ({"schedule": 0.1}, TypeError, "schedule must be a OneCycle, received: 0.1"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, message):
        with pytest.raises(error, match=message):
            OneCycleMomentum(**{"schedule": OneCycle(0.1, 10), **arguments})

    @pytest.mark.parametrize(
        ("optimizer", "error", "message"),
        [
            (keras.optimizers.SGD, ValueError, "with a momentum above 0, received: 0.0"),
            (keras.optimizers.RMSprop, TypeError, "SGD, Adam and AdamW, received: RMSprop"),
        ],
    )
    def test_an_optimizer_without_momentum(self, line_model, optimizer, error, message):
        model, x, y = line_model
        schedule = OneCycle(0.1, 10)
        model.compile(optimizer(schedule), "mse")
        with pytest.raises(error, match=message):
            model.fit(x, y, verbose=0, callbacks=[OneCycleMomentum(schedule)])
