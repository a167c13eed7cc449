"""GradientNorms against gradients taken by hand with a tape, along the same training."""

import json
import math
import subprocess
import sys
import textwrap
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import GradientNorms, GradualUnfreezing
from callbacks.gradient_norms import explodes, vanishing_layers

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make(optimizer=None, dtype="float32", **arguments):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(8, activation="relu", name="first", dtype=dtype),
            keras.layers.BatchNormalization(name="norm", dtype=dtype),
            keras.layers.Dense(3, name="last", dtype=dtype),
            keras.layers.Activation("linear", dtype="float32"),
        ]
    )
    model.compile(optimizer or keras.optimizers.SGD(0.1), LOSS, **arguments)
    return model


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    return generator.normal(size=(48, 4)).astype("float32"), generator.integers(0, 3, 48)


def by_hand(data, steps, rate=0.1, batch=8, clip=None):
    """Train with a tape and plain SGD; return the norms of each layer at each step."""
    model, found = make(), []
    for step in range(steps):
        part = slice(batch * step % 48, batch * step % 48 + batch)
        with tf.GradientTape() as tape:
            loss = LOSS(data[1][part], model(data[0][part], training=True))
        grads = [grad.numpy() for grad in tape.gradient(loss, model.trainable_variables)]
        pairs = {"first": grads[:2], "norm": grads[2:4], "last": grads[4:]}
        found.append({name: np.sqrt(sum((g**2).sum() for g in p)) for name, p in pairs.items()})
        size = np.sqrt(sum((grad**2).sum() for grad in grads))
        share = min(1, clip / size) if clip else 1
        for variable, grad in zip(model.trainable_variables, grads, strict=True):
            variable.assign_sub(rate * share * grad)
    return {name: [row[name] for row in found] for name in found[0]}


def test_layers_of_one_path_are_told_apart():
    """Of `w x + v 3 x` at 0, squared error to 1: the gradients are -2 and -6."""
    inputs = keras.layers.Input((1,))
    first, second = (
        keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="d") for _ in "ab"
    )
    branches = [
        keras.Model(inputs, first(inputs), name="a"),
        keras.Model(inputs, second(3 * inputs), name="b"),
    ]
    model = keras.Model(inputs, keras.layers.Add()([branch(inputs) for branch in branches]))
    model.compile("sgd", "mse")
    norms, ones = GradientNorms(every=1), np.ones((4, 1))
    model.fit(ones, ones, verbose=0, callbacks=[norms])
    assert norms.history["layers"] == {"d": [2.0], "d#2": [6.0]}


def train(model, data, norms, epochs=2, *before):
    calls = [*before, norms] if norms else []
    return model.fit(*data, batch_size=8, epochs=epochs, verbose=0, shuffle=False, callbacks=calls)


def check(norms, expected, every=1, rtol=1e-4):
    """Compare a history with the norms of all steps."""
    places = slice(every - 1, None, every)
    assert norms.history["step"] == list(range(1, len(expected["first"]) + 1))[places]
    for name, values in expected.items():
        np.testing.assert_allclose(norms.history["layers"][name], values[places], rtol=rtol)
    whole = np.sqrt(sum(np.square(values) for values in expected.values()))
    np.testing.assert_allclose(norms.history["global"], whole[places], rtol=rtol)


@pytest.mark.parametrize(
    ("every", "arguments"),
    [
        (1, {}),
        (5, {"steps_per_execution": 2}),
        (2, {"jit_compile": True}),
        (1, {"steps_per_execution": 4}),
        pytest.param(2, {"run_eagerly": True}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.sampled(1)
def test_norms_by_a_tape(data, every, arguments):
    norms = GradientNorms(every=every)
    train(make(**arguments), data, norms)
    check(norms, by_hand(data, 12), every)


def test_training_is_the_same_to_the_bit(data):
    with_norms, without = make(keras.optimizers.Adam()), make(keras.optimizers.Adam())
    train(with_norms, data, GradientNorms(every=2))
    train(without, data, None)
    for one, other in zip(with_norms.get_weights(), without.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "apply" not in vars(with_norms.optimizer)


def test_norms_are_those_before_clipping(data):
    norms = GradientNorms(every=1)
    train(make(keras.optimizers.SGD(0.1, global_clipnorm=0.5)), data, norms)
    check(norms, by_hand(data, 12, clip=0.5))
    assert max(norms.history["global"]) > 0.5


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=1024),
        lambda: keras.optimizers.SGD(0.1, loss_scale_factor=64.0),
    ],
)
@pytest.mark.slow
def test_loss_scaling_is_divided_out(data, optimizer):
    norms = GradientNorms(every=1)
    train(make(optimizer()), data, norms)
    check(norms, by_hand(data, 12))


def test_half_precision(data):
    norms = GradientNorms(every=1)
    train(make(dtype="mixed_bfloat16"), data, norms, epochs=1)
    check(norms, by_hand(data, 6), rtol=0.1)


def test_a_step_that_loss_scaling_skips_is_no_explosion(data):
    # The first steps overflow in float16; the scale is halved until none does.
    model = make(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**20),
        dtype="mixed_float16",
    )
    norms = GradientNorms(every=1)
    train(model, data, norms, epochs=1)
    skipped = [event["step"] for event in norms.events if event["kind"] == "skipped"]
    assert skipped == list(range(1, len(skipped) + 1))
    assert skipped
    assert len(norms.events) == len(skipped)
    assert math.isfinite(norms.history["global"][-1])


@pytest.mark.slow
def test_replicas_are_summed():
    # In a process of its own: two devices must be asked for before anything runs.
    code = """
        import json, keras, numpy as np, tensorflow as tf
        from callbacks import GradientNorms
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        x = np.arange(8, dtype="float32")[:, None]
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(
                1, use_bias=False, kernel_initializer="zeros", name="line")])
            model.compile(keras.optimizers.SGD(1e-9), "mse")
        norms = GradientNorms(every=2)
        data = tf.data.Dataset.from_tensor_slices((x, x)).batch(4).repeat()
        model.fit(data, steps_per_epoch=4, verbose=0, shuffle=False, callbacks=[norms])
        print(json.dumps([norms.history["step"], norms.history["global"]]))
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    steps, norms = json.loads(found.stdout)
    # d/dw of the mean of (w x - x)^2 at w = 0 is twice the mean of x^2, over 4, 5, 6 and 7.
    assert steps == [2, 4]
    assert norms == pytest.approx([2 * (16 + 25 + 36 + 49) / 4] * 2, rel=1e-5)


def test_logs(data):
    norms = GradientNorms(every=2, by_layer=True)
    history = train(make(), data, norms).history
    expected = by_hand(data, 12)
    whole = np.sqrt(sum(np.square(values) for values in expected.values()))[1::2]
    for epoch, part in enumerate((whole[:3], whole[3:])):
        assert history["gradient_norm"][epoch] == pytest.approx(np.median(part), rel=1e-4)
        assert history["gradient_norm_max"][epoch] == pytest.approx(part.max(), rel=1e-4)
    last = np.median(expected["last"][1:6:2])
    assert history["gradient_norm/last"][0] == pytest.approx(last, rel=1e-4)


class Shock(keras.callbacks.Callback):
    """Scale the weights of a layer before one epoch."""

    def __init__(self, epoch, factor):
        super().__init__()
        self.epoch, self.factor = epoch, factor

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            layer = self.model.get_layer("last")
            layer.set_weights([self.factor * weight for weight in layer.get_weights()])


@pytest.mark.parametrize(
    ("factor", "message", "kind"),
    [
        (1e4, "step 13: the norm of the gradient is .* than 10 times its running", "explosion"),
        (math.nan, "step 13: the gradient is not finite, first in layer 'first'", "not finite"),
    ],
)
def test_an_explosion_is_reported(data, factor, message, kind):
    norms = GradientNorms(every=1)
    model = make(keras.optimizers.SGD(1e-3))
    with pytest.warns(UserWarning, match=message) as warned:
        train(model, data, norms, 3, Shock(2, factor))
    assert {event["kind"] for event in norms.events} == {kind}
    # All six steps, but one warning.
    assert [event["step"] for event in norms.events] == list(range(13, 19))
    assert len([one for one in warned if one.category is UserWarning]) == 1
    json.dumps(norms.state()[0], allow_nan=False)


def test_a_layer_that_vanishes_is_named(data):
    model = make()
    # All its units are dead: no input gets through.
    model.get_layer("first").set_weights([np.zeros((4, 8)), np.full(8, -1.0)])
    norms = GradientNorms(every=1)
    with pytest.warns(UserWarning, match="step 10: the gradient of layer 'first' has vanished"):
        train(model, data, norms)
    found = [(event["step"], event["kind"], event["layer"]) for event in norms.events]
    assert found[0] == (10, "vanishing", "first")
    assert {layer for _, _, layer in found} == {"first"}


def test_layers_that_join(data):
    model = make()
    model.get_layer("first").trainable = False
    model.compile(keras.optimizers.SGD(0.1), LOSS)
    norms = GradientNorms(every=3)
    train(model, data, norms, 2, GradualUnfreezing({1: ["first"]}))
    assert norms.history["step"] == [3, 6, 9, 12]
    first, last = (norms.history["layers"][name] for name in ("first", "last"))
    assert first[:2] == [None, None]
    assert min(first[2:]) > 0
    rows = zip(*norms.history["layers"].values(), strict=True)
    expected = [math.hypot(*filter(None, row)) for row in rows]
    np.testing.assert_allclose(norms.history["global"], expected, rtol=1e-6)
    assert min(last) > 0


def test_a_resumed_run_goes_on(data):
    whole, first, second = (GradientNorms(every=5) for _ in range(3))
    train(make(), data, whole)
    model = make()
    train(model, data, first, epochs=1)
    values, arrays = first.state()
    second.restore(json.loads(json.dumps(values)), arrays)
    train(model, data, second, epochs=1)
    assert second.history["step"] == whole.history["step"] == [5, 10]
    np.testing.assert_allclose(second.history["global"], whole.history["global"], rtol=1e-5)


def test_explosions_by_hand():
    before = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]  # median 5.5
    assert not explodes(11.0, before, 2.0)
    assert explodes(11.1, before, 2.0)
    assert not explodes(100.0, before[1:], 2.0)
    assert not explodes(100.0, [*before[1:], math.inf], 2.0)
    assert explodes(math.inf, [], 2.0)


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ([[1.0, 1.0], [1.0, 1.0]], [False, False]),
        ([[0.0, 1.0], [1e-4, 1.0]], [True, False]),
        # Once is not enough.
        ([[0.0, 1.0], [1.0, 1.0]], [False, False]),
        # The first layer has 100 weights, the second one: 1e-2 / 10 is a thousandth of 1.
        ([[1e-2, 1.0], [1e-2, 1.0]], [True, False]),
        ([[2e-2, 1.0], [1e-2, 1.0]], [False, False]),
        ([[0.0, 0.0], [0.0, 0.0]], [False, False]),
        ([[0.0, math.nan], [0.0, 1.0]], [False, False]),
    ],
)
def test_vanishing_by_hand(norms, expected):
    assert vanishing_layers(np.array(norms), [100, 1], 1e-3).tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be an integer of at least 1, received: 0"),
        ({"every": 1.5}, "every must be an integer"),
        ({"explosion": 1}, "explosion must be above 1"),
        ({"vanishing": 1}, "vanishing must be at least 0 and below 1"),
        ({"window": 5}, "window must be 10 or more"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientNorms(**arguments)


def test_a_model_that_is_not_built():
    norms = GradientNorms()
    norms.set_model(keras.Sequential([keras.layers.Dense(1)]))
    with pytest.raises(ValueError, match="must be built .*: give it an Input, or call it once"):
        norms.on_train_begin()


def test_nothing_is_reported_of_healthy_training(data):
    norms = GradientNorms(every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(make(), data, norms, epochs=3)
    assert norms.events == []


def test_a_model_can_be_saved_meanwhile(data, tmp_path):
    model, norms = make(keras.optimizers.Adam()), GradientNorms(every=3)
    save = keras.callbacks.ModelCheckpoint(str(tmp_path / "model.keras"))
    train(model, data, norms, 1, save)
    again = keras.saving.load_model(tmp_path / "model.keras")
    pairs = zip(again.optimizer.variables, model.optimizer.variables, strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.numpy(), other.numpy())
