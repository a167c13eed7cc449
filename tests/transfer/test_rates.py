"""Learning rates by layer, against each optimizer's equations in NumPy."""

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.transfer import LayerwiseAdamW, LayerwiseSGD, layer_groups, rate_factors

RATE, DECAY, STEPS = 0.05, 0.1, 4


def _two_layers():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2, use_bias=False, name="low"),
            keras.layers.Dense(1, name="top"),
        ]
    )
    generator = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape))
    return model


X = np.random.default_rng(2).normal(size=(8, 3))
Y = np.random.default_rng(3).normal(size=(8, 1))


def _gradients(low, top, bias):
    """Of the mean squared error, by hand."""
    hidden = X @ low
    error = 2 * (hidden @ top + bias - Y) / len(X)
    return X.T @ (error @ top.T), hidden.T @ error, error.sum(axis=0)


class _AdamW:
    """Loshchilov and Hutter's equations with a rate for each variable."""

    def __init__(self, rate, decay):
        self.rate, self.decay, self.mean, self.square = rate, decay, 0.0, 0.0

    def step(self, value, gradient, number):
        value = value - self.rate * self.decay * value
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean, square = self.mean / (1 - 0.9**number), self.square / (1 - 0.999**number)
        return value - self.rate * mean / (np.sqrt(square) + 1e-8)


class _NesterovSGD:
    """Keras' form of Nesterov momentum with a rate for each variable."""

    def __init__(self, rate, decay):
        self.rate, self.decay, self.velocity = rate, decay, 0.0

    def step(self, value, gradient, number):
        value = value - self.rate * self.decay * value
        self.velocity = 0.9 * self.velocity - self.rate * gradient
        return value + 0.9 * self.velocity - self.rate * gradient


_KINDS = {
    "adamw": (lambda **a: LayerwiseAdamW(RATE, weight_decay=DECAY, epsilon=1e-8, **a), _AdamW),
    "sgd": (
        lambda **a: LayerwiseSGD(RATE, momentum=0.9, nesterov=True, weight_decay=DECAY, **a),
        _NesterovSGD,
    ),
}


@pytest.mark.parametrize("kind", sorted(_KINDS))
@pytest.mark.parametrize("factor", [0.1, 0.0, 3.0, 1.0])
@pytest.mark.sampled(2)
def test_it_steps_as_the_equations_with_a_rate_for_each_layer(kind, factor):
    make, reference = _KINDS[kind]
    model = _two_layers()
    values = [weight.numpy().astype(np.float64) for weight in model.weights]
    rules = [reference(RATE * scale, DECAY) for scale in (factor, 1.0, 1.0)]
    model.compile(make(factors={"low": factor}), loss="mse")
    model.fit(X, Y, batch_size=8, epochs=STEPS, verbose=0)
    for number in range(1, STEPS + 1):
        gradients = _gradients(*values)
        values = [
            rule.step(value, gradient, number)
            for rule, value, gradient in zip(rules, values, gradients, strict=True)
        ]
    for weight, expected in zip(model.weights, values, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=2e-4, atol=1e-6)


def test_scaling_gradients_would_do_nothing_under_adam():
    """Why the update is scaled; tensorflow/addons#969."""
    moved = []
    for scale in (1.0, 0.01):
        variable = keras.Variable([1.0])
        optimizer = keras.optimizers.Adam(0.1)
        optimizer.build([variable])
        optimizer.apply([keras.ops.array([2.0 * scale])])
        moved.append(1.0 - float(variable.numpy()[0]))
    assert moved[1] == pytest.approx(moved[0], rel=1e-3)


def test_a_factor_of_0_is_frozen_to_the_bit():
    model = _two_layers()
    before = model.get_layer("low").kernel.numpy()
    model.compile(LayerwiseAdamW(0.1, factors={"low": 0.0}), loss="mse")
    model.fit(X, Y, epochs=3, verbose=0)
    np.testing.assert_array_equal(model.get_layer("low").kernel, before)


@pytest.mark.parametrize("kind", sorted(_KINDS))
@pytest.mark.slow
def test_it_is_saved_with_the_model_and_goes_on(kind, tmp_path):
    model = _two_layers()
    model.compile(_KINDS[kind][0](factors={"low": 0.2}, decay_vectors=False), loss="mse")
    model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.factors == {"low": 0.2}
    assert loaded.optimizer.decay_vectors is False
    for each in (model, loaded):
        each.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_its_variables_are_those_of_the_stock_optimizer():
    variables = _two_layers().trainable_variables
    ours, stock = LayerwiseAdamW(0.1, factors={"low": 0.5}), keras.optimizers.AdamW(0.1)
    for optimizer in (ours, stock):
        optimizer.build(variables)
    assert [v.shape for v in ours.variables] == [v.shape for v in stock.variables]


def test_decay_may_spare_vectors():
    model = _two_layers()
    before = model.get_weights()
    optimizer = LayerwiseSGD(0.1, weight_decay=0.5, decay_vectors=False)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables])
    for weight, old in zip(model.weights, before, strict=True):
        expected = old if old.ndim == 1 else old * (1 - 0.1 * 0.5)
        np.testing.assert_allclose(weight, expected, rtol=1e-6)


def test_paths_into_composite_layers():
    optimizer = LayerwiseAdamW(factors={"block": 0.5, "block/conv": 0.25})
    assert optimizer.factor("block/kernel") == 0.5
    assert optimizer.factor("block/conv/kernel") == 0.25
    assert optimizer.factor("blocks/kernel") == 1.0


def test_factors_fall_towards_the_stem(small):
    model = small()
    factors = rate_factors(model, 0.5)
    by_group = {
        name: {factors[layer.name] for layer in layers}
        for name, layers in layer_groups(model).items()
    }
    assert by_group == {"stem": {0.125}, "stage1": {0.25}, "stage2": {0.5}, "head": {1.0}}


def test_mixed_float16_scales_the_loss_and_the_update():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = _two_layers()
        model.compile(LayerwiseAdamW(0.1, factors={"low": 0.1}, weight_decay=0.0), loss="mse")
    finally:
        keras.config.set_dtype_policy("float32")
    before = model.get_weights()
    model.fit(X, Y, batch_size=8, verbose=0)
    steps = [np.abs(w - b).max() for w, b in zip(model.get_weights(), before, strict=True)]
    # Adam's first step is the learning rate, whatever the gradient.
    np.testing.assert_allclose(steps, [0.01, 0.1, 0.1], rtol=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerwiseSGD(0.1, factors={"a": -1.0}), "factor of 'a' must be 0 or more"),
        (lambda: LayerwiseSGD(0.1, factors={"a": "x"}), "factor of 'a' must be 0 or more"),
        (lambda: LayerwiseAdamW(0.1, use_ema=True), "use callbacks.WeightAverage"),
    ],
)
def test_wrong_factors_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_factors_that_name_nothing_are_refused():
    optimizer = LayerwiseSGD(0.1, factors={"lwo": 0.5})
    with pytest.raises(ValueError, match=r"none of the layers in factors \(lwo, ...\) holds"):
        optimizer.build(_two_layers().trainable_variables)


@pytest.mark.parametrize("decay", [0, 1.5, "half", True])
def test_a_wrong_decay_is_refused(decay, small):
    with pytest.raises(ConfigError, match="decay must be above 0 and at most 1"):
        rate_factors(small(), decay)
