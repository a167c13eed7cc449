"""The range test: rules on curves worked out apart, and everything restored to the bit."""

import itertools
from xml.etree import ElementTree

import keras
import numpy as np
import pytest
import tensorflow as tf

from callbacks import find_learning_rate
from callbacks.learning_rate_finder import smooth, suggest_rates


def curve(steps=80, seed=0):
    generator = np.random.default_rng(seed)
    rates = np.geomspace(1e-6, 1, steps)
    x = np.log10(rates)
    losses = 2 - 1.5 / (1 + np.exp(-3 * (x + 3))) + np.exp(4 * (x + 0.8)) / 10
    return rates, losses + generator.normal(0, 0.01, steps)


def test_smoothing_is_a_weighted_mean():
    losses = np.random.default_rng(0).uniform(1, 2, 30)
    found = smooth(losses, 0.9)
    for step in (0, 1, 7, 29):
        weights = 0.9 ** np.arange(step, -1, -1)
        assert found[step] == pytest.approx(np.average(losses[: step + 1], weights=weights))


@pytest.mark.parametrize("seed", range(3))
def test_minimum_and_steepest(seed):
    rates, losses = curve(seed=seed)
    found = suggest_rates(rates, losses)
    assert found["minimum/10"] == pytest.approx(rates[losses.argmin()] / 10)
    # The rates are evenly spaced in their logarithm, so central differences order the slopes.
    slopes = (losses[2:] - losses[:-2]) / 2
    ends = [losses[1] - losses[0], losses[-1] - losses[-2]]
    best = np.argmin([ends[0], *slopes, ends[1]])
    assert found["steepest"] == pytest.approx(rates[best])


def test_valley_by_trying_all_subsequences():
    generator = np.random.default_rng(3)
    for _ in range(10):
        losses, rates = generator.permutation(11).astype(float), np.geomspace(1e-3, 1, 11)
        falling = [
            places
            for length in range(1, 12)
            for places in itertools.combinations(range(11), length)
            if all(losses[a] > losses[b] for a, b in itertools.pairwise(places))
        ]
        longest = max(map(len, falling))
        # Of equally long ones the one that ends first.
        end = min(places[-1] for places in falling if len(places) == longest)
        third = longest / 3
        expected = rates[end - longest + int(third) + int(third / 2)]
        assert suggest_rates(rates, losses)["valley"] == pytest.approx(expected)


def test_slide_ends_where_the_slope_stands_still():
    rates = np.geomspace(1e-6, 1, 60)
    # Flat up to step 30, then a parabola: the slope differs over 15 steps from step 16 on.
    losses = 1 + 0.01 * np.maximum(np.arange(60) - 30.0, 0) ** 2
    slope = np.gradient(losses)
    still = [place for place in range(45) if abs(slope[place + 15] - slope[place]) <= 0.005]
    assert suggest_rates(rates, losses)["slide"] == pytest.approx(rates[max(still)])


@pytest.mark.parametrize("losses", [np.arange(9.0), np.ones(9)])
def test_valley_of_a_loss_that_never_falls(losses):
    rates = np.geomspace(1e-5, 1, 9)
    assert suggest_rates(rates, losses)["valley"] == rates[0]


def make(policy="float32", optimizer="adam"):
    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.Dense(8, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.2, seed=1),
        keras.layers.Dense(3, dtype="float32"),
    ]
    with_policy = [
        type(layer).from_config({**layer.get_config(), "dtype": keras.DTypePolicy(policy)})
        for layer in layers[:3]
    ]
    model = keras.Sequential([keras.layers.Input((4,)), *with_policy, layers[3]])
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 4)).astype("float32")
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)


def batches(data):
    return tf.data.Dataset.from_tensor_slices(data).batch(16)


def snapshot(model):
    return [np.array(v.numpy()) for v in (*model.variables, *model.optimizer.variables)]


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "schedule": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.1, 100), momentum=0.9
    ),
    "average": lambda: keras.optimizers.AdamW(0.01, use_ema=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.sampled(1)
def test_everything_is_restored_and_training_goes_on_the_same(data, name):
    def train(finds):
        model = make(optimizer=OPTIMIZERS[name]())
        model.fit(batches(data), epochs=2, verbose=0, shuffle=False)
        if finds:
            before, optimizer = snapshot(model), model.optimizer
            find_learning_rate(model, batches(data), steps=30)
            assert model.optimizer is optimizer
            for one, other in zip(snapshot(model), before, strict=True):
                np.testing.assert_array_equal(one, other)
        model.fit(batches(data), epochs=2, verbose=0, shuffle=False)
        return snapshot(model)

    for one, other in zip(train(True), train(False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rates_rise_and_losses_are_those_of_the_steps(data):
    model = make(optimizer=keras.optimizers.SGD(0.5))
    found = find_learning_rate(model, batches(data), low=1e-5, high=100.0, steps=40)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(1e7) / 39)
    assert found.diverged
    assert len(found.losses) == len(found.rates) < 40
    # The first steps hardly move: their losses are those of the untrained model, batch by batch.
    fresh = make(optimizer=keras.optimizers.SGD(1e-12))
    x, y = data
    for step in range(2):
        part = slice(16 * step, 16 * step + 16)
        fresh.reset_metrics()
        expected = fresh.train_on_batch(x[part], y[part])[0]
        assert found.losses[step] == pytest.approx(float(expected), rel=1e-3)
    assert 1e-4 < found.suggestions["steepest"] < 100
    assert "steepest" in str(found)


def test_each_step_has_its_own_rate_in_executions_of_several(data):
    found = []
    for steps_per_execution in (1, 4):
        model = make(optimizer=keras.optimizers.SGD(0.1))
        model.compile(model.optimizer, model.loss, steps_per_execution=steps_per_execution)
        found.append(find_learning_rate(model, batches(data), low=1e-6, high=0.1, steps=50))
        assert model.steps_per_execution == steps_per_execution
    one, four = found
    np.testing.assert_allclose(four.rates, np.geomspace(1e-6, 0.1, 50))
    np.testing.assert_array_equal(four.losses, one.losses)
    assert four.suggestions == one.suggestions


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.slow
def test_mixed_precision(data, policy):
    model = make(policy, keras.optimizers.SGD(0.1))
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
        model.compile(optimizer, model.loss)
    model.fit(batches(data), verbose=0, shuffle=False)
    before = snapshot(model)
    found = find_learning_rate(model, batches(data), low=1e-4, steps=30)
    assert np.isfinite(found.losses).all()
    for one, other in zip(snapshot(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_under_a_distribution_strategy(data):
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = make(optimizer=keras.optimizers.SGD(0.1))
    found = find_learning_rate(model, batches(data), low=1e-4, steps=24)
    assert len(found.losses) > 10


def test_plot(data, tmp_path):
    model = make(optimizer=keras.optimizers.SGD(0.1))
    found = find_learning_rate(model, batches(data), low=1e-4, steps=30)
    root = ElementTree.parse(found.plot(tmp_path / "range.svg")).getroot()
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert f"valley {found.suggestions['valley']:.2g}" in texts
    assert "learning rate" in texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0}, "low and high must be rising positive numbers"),
        ({"low": 1, "high": 0.1}, "low and high must be rising"),
        ({"steps": 5}, "steps must be an integer of at least 20, received: 5"),
        ({"low": 1e6, "high": 1e9}, "exploded or was not finite after"),
    ],
)
def test_bad_input(data, arguments, message):
    model = make(optimizer=keras.optimizers.SGD(0.1))
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        find_learning_rate(model, batches(data), **arguments)
    for one, other in zip(snapshot(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_that_is_not_compiled(data):
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="needs a compiled model"):
        find_learning_rate(model, batches(data))


def test_too_few_steps_to_read():
    with pytest.raises(ValueError, match="at least 4 steps"):
        suggest_rates([1, 2, 3], [1, 2, 3])
