"""The preflight: each fault provoked and found by name, healthy models left in peace."""

import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.diagnosis.batches import read_batches
from recipes.diagnosis.callback import PreflightCheck
from recipes.diagnosis.findings import PreflightError
from recipes.diagnosis.preflight import preflight
from recipes.errors import RecipesError
from recipes.layers import LayerScale

L = keras.layers
CLASSES = 4
SPARSE = keras.losses.SparseCategoricalCrossentropy


def head(**arguments):
    return L.Dense(CLASSES, name="head", **arguments)


def network(*tail, before=(), filters=8, norm=True, activation="relu"):
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            L.Input((8, 8, 1)),
            L.Rescaling(1 / 127.5, -1),
            *before,
            L.Conv2D(filters, 3, activation=activation, name="conv"),
            *([L.BatchNormalization(name="norm")] if norm else []),
            L.Flatten(),
            *(tail or [head()]),
        ]
    )


def compiled(model, loss=None, optimizer=None, **arguments):
    model.compile(optimizer or keras.optimizers.Adam(1e-3), loss or SPARSE(True), **arguments)
    return model


def some(count=128, classes=CLASSES, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.uniform(0, 255, (count, 8, 8, 1)).astype("float32")
    return images, generator.integers(0, classes, count)


def names(found):
    return {finding.name for finding in found.findings}


def one_hot():
    images, labels = some()
    return images, np.eye(CLASSES, dtype="float32")[labels]


def residual():
    """A network with what is 0 by design: the last scale of a branch, and the head."""
    keras.utils.set_random_seed(1)
    inputs = L.Input((8, 8, 1))
    x = L.Conv2D(8, 3, padding="same")(L.Rescaling(1 / 127.5, -1)(inputs))
    branch = L.Conv2D(8, 3, padding="same")(L.ReLU()(L.BatchNormalization()(x)))
    branch = L.BatchNormalization(gamma_initializer="zeros")(branch)
    x = L.GlobalAveragePooling2D()(L.ReLU()(L.Add()([x, branch])))
    return keras.Model(inputs, L.Dense(CLASSES, kernel_initializer="zeros")(x))


def layer_scaled():
    """A network of which a branch is as good as 0 by design."""
    keras.utils.set_random_seed(1)
    inputs = L.Input((8, 8, 1))
    x = L.Conv2D(8, 3, padding="same")(L.Rescaling(1 / 127.5, -1)(inputs))
    x = L.Add()([x, LayerScale(1e-6)(L.Dense(8)(x))])
    return keras.Model(inputs, head()(L.GlobalAveragePooling2D()(x)))


def nested():
    keras.utils.set_random_seed(1)
    inside = keras.Sequential([L.Input((8, 8, 1)), L.Rescaling(1 / 127.5, -1), L.Conv2D(8, 3)])
    layers = [L.ReLU(), L.Flatten(), L.Dropout(0.3), head()]
    return keras.Sequential([L.Input((8, 8, 1)), inside, *layers])


WARMUP = keras.optimizers.schedules.CosineDecay(0.0, 1000, warmup_target=0.01, warmup_steps=100)
HEALTHY = {
    "logits": lambda: (compiled(network()), some()),
    "softmax": lambda: (
        compiled(network(head(activation="softmax")), SPARSE()),
        some(),
    ),
    "log_softmax": lambda: (compiled(network(head(activation="log_softmax"))), some()),
    "soft labels, smoothing": lambda: (
        compiled(network(), keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1)),
        one_hot(),
    ),
    "weights": lambda: (
        compiled(network()),
        (*some(), np.linspace(0.5, 2, 128).astype("float32")),
    ),
    "summed loss": lambda: (compiled(network(), SPARSE(True, reduction="sum")), some()),
    "zero by design": lambda: (compiled(residual()), some()),
    "a branch that starts small": lambda: (compiled(layer_scaled()), some()),
    "nested, dropout": lambda: (compiled(nested()), some()),
    "warm-up from 0": lambda: (
        compiled(network(), optimizer=keras.optimizers.SGD(WARMUP, momentum=0.9)),
        some(),
    ),
    "one sigmoid": lambda: (
        compiled(network(L.Dense(1, activation="sigmoid")), "binary_crossentropy"),
        some(classes=2),
    ),
    "one logit": lambda: (
        compiled(network(L.Dense(1)), keras.losses.BinaryCrossentropy(True)),
        some(classes=2),
    ),
}


def marked(names, fast):
    """Return the names as parameters; all but some are slow."""
    return [n if n in fast else pytest.param(n, marks=pytest.mark.slow) for n in sorted(names)]


@pytest.mark.parametrize(
    "name", marked(HEALTHY, ("logits", "soft labels, smoothing", "zero by design"))
)
@pytest.mark.sampled(1, 3)
def test_a_healthy_model_has_no_findings(name):
    model, data = HEALTHY[name]()
    found = preflight(model, data)
    assert not found.findings, str(found)
    assert found.ok
    assert not found.skipped
    found.raise_for_errors()
    assert "no findings" in str(found)


def frozen(model, *layers):
    for layer in layers or [one.name for one in model.layers]:
        model.get_layer(layer).trainable = False
    return compiled(model)


@keras.saving.register_keras_serializable(package="tests")
class Detached(keras.layers.Layer):
    """A layer that lets no gradient back."""

    def call(self, inputs):
        return tf.stop_gradient(inputs)


def deep(initializer, depth=12, width=64, activation="relu"):
    keras.utils.set_random_seed(0)
    layers = [L.Dense(width, activation, kernel_initializer=initializer) for _ in range(depth)]
    return keras.Sequential(
        [L.Input((8, 8, 1)), L.Rescaling(1 / 127.5, -1), L.Flatten(), *layers, head()]
    )


def normal(deviation):
    return keras.initializers.RandomNormal(stddev=deviation, seed=0)


def drowned():
    """Biases so low that no unit of the layer is ever on but a few."""
    model = network(norm=False)
    bias = np.full(8, -100.0)
    bias[0] = 0
    model.get_layer("conv").bias.assign(bias)
    return compiled(model)


def not_a_number():
    # Without a ReLU: on a processor TensorFlow's turns NaN into 0.
    model = network(norm=False, activation=None)
    model.get_layer("conv").kernel.assign(np.full((3, 3, 1, 8), np.nan))
    return compiled(model)


def softmax_hidden(scale=1.0, offset=0.0):
    return compiled(network(head(activation="softmax"), L.Rescaling(scale, offset)))


FAULTS = {
    "initial_loss_high": ("error", lambda: compiled(network(head(kernel_initializer=normal(5.0))))),
    "outputs_equal": (
        "warning",
        lambda: compiled(network(head(kernel_initializer=normal(1e-6)))),
    ),
    "logits_as_probabilities": ("error", lambda: compiled(network(), SPARSE())),
    "softmax_and_from_logits": ("error", softmax_hidden),
    "activations_collapsed": ("error", lambda: compiled(deep(normal(0.01)))),
    "activations_exploded": ("error", lambda: compiled(deep(normal(1.0)))),
    "activations_not_finite": ("error", not_a_number),
    "dead_relu": ("warning", drowned),
    "gradients_vanishing": (
        "warning",
        lambda: compiled(deep("glorot_uniform", activation="sigmoid")),
    ),
    "gradients_exploding": ("warning", lambda: compiled(deep(normal(1.0)))),
    "no_gradient": ("warning", lambda: compiled(network(Detached(), head()))),
    "frozen_layers": ("note", lambda: frozen(network(), "conv")),
    "nothing_trainable": ("error", lambda: frozen(network())),
    "weights_do_not_change": (
        "error",
        lambda: compiled(network(), optimizer=keras.optimizers.SGD(0.0)),
    ),
    "learning_rate_high": (
        "error",
        lambda: compiled(network(), optimizer=keras.optimizers.SGD(1e3)),
    ),
    "learning_rate_low": (
        "warning",
        lambda: compiled(network(norm=False), optimizer=keras.optimizers.Adam(1e-9)),
    ),
    "does_not_overfit": ("error", softmax_hidden),
}


QUICK = (
    "dead_relu",
    "does_not_overfit",
    "gradients_exploding",
    "logits_as_probabilities",
    "nothing_trainable",
    "weights_do_not_change",
)


@pytest.mark.parametrize("name", marked(FAULTS, QUICK))
@pytest.mark.sampled(1, 6)
def test_a_fault_of_the_model_is_found(name):
    severity, make = FAULTS[name]
    steps = 60 if name == "does_not_overfit" else 0
    found = preflight(make(), some(), steps=steps, batches=2)
    assert name in found, str(found)
    assert found[name].severity == severity
    assert found[name].advice
    assert "\n" not in found[name].message
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.slow
def test_a_hidden_softmax_sticks_where_the_formula_says():
    found = preflight(softmax_hidden(), some(), images=8)
    stuck = np.log(1 + (CLASSES - 1) / np.e)
    assert found["does_not_overfit"].figures["lowest_loss"] == pytest.approx(stuck, rel=0.01)
    assert f"{stuck:.4f}" in found["does_not_overfit"].message
    assert found["softmax_and_from_logits"].severity == "error"


@pytest.mark.slow
def test_a_scaled_softmax_is_found_and_a_plain_one_that_keras_repairs_is_a_warning():
    found = preflight(softmax_hidden(2.0, 1.0), some(), steps=0)
    assert found["softmax_and_from_logits"].severity == "error"
    found = preflight(compiled(network(head(activation="softmax"))), some(), steps=0)
    assert found["softmax_and_from_logits"].severity == "warning"


@pytest.mark.slow
def test_first_loss_is_that_of_training_mode():
    """In inference mode a fresh batch normalisation hides a head that is far too large."""
    model = compiled(network(head(kernel_initializer=normal(0.7)), before=[L.Rescaling(0.1)]))
    images, labels = some()
    quiet = SPARSE(True)(labels, model(images, training=False)).numpy()
    assert quiet < np.log(CLASSES) + 0.3
    found = preflight(model, (images, labels), steps=0)
    assert found["initial_loss_high"].figures["loss"] > 3


@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", pytest.param("sum", marks=pytest.mark.slow)]
)
def test_figures_against_numpy(reduction):
    summed = reduction == "sum"
    loss = keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1, reduction=reduction)
    model = compiled(network(norm=False), loss)
    images, targets = one_hot()
    weights = np.linspace(0.5, 2, 128).astype("float32")
    found = preflight(model, (images, targets, weights), images=16, batch_size=32)
    logits = np.asarray(model(images), np.float64)
    smoothed = 0.9 * targets + 0.1 / CLASSES
    each = np.log(np.exp(logits).sum(axis=1)) - (smoothed * logits).sum(axis=1)
    images_each = 32 if summed else 1
    expected = (each * weights).mean() * images_each
    assert found.figures["initial_loss"] == pytest.approx(expected, rel=1e-5)
    chance = np.log(CLASSES) * weights.mean() * images_each
    assert found.figures["log_classes"] == pytest.approx(chance)
    shares = np.average(targets, axis=0, weights=weights)
    assert found.figures["prior_entropy"] == pytest.approx(
        -(shares * np.log(shares)).sum() * weights.mean() * images_each
    )
    row = smoothed[0]
    floor = -(row * np.log(row)).sum() * (weights[:16].sum() if summed else weights[:16].mean())
    assert found.figures["overfit_floor"] == pytest.approx(floor)
    assert found.figures["overfit_loss"] > floor
    activations = np.asarray(
        keras.Model(model.inputs[0], model.get_layer("conv").output)(images[:32])
    )
    conv = next(layer for layer in found.layers if layer.name.endswith("conv"))
    assert conv.rms == pytest.approx(np.sqrt((activations**2).mean()), rel=1e-4)
    assert conv.spread == pytest.approx(np.sqrt(activations.var(axis=0).mean()), rel=1e-4)


def everything(model):
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return [variable.numpy().copy() for variable in variables]


@pytest.mark.parametrize("kind", ["trained", pytest.param("fresh", marks=pytest.mark.slow)])
def test_everything_is_as_it_was(kind):
    images, labels = some()
    dropout = L.Dropout(0.3, seed=1)
    model = network(dropout, head())
    model.get_layer("norm").trainable = False
    model = compiled(model, optimizer=keras.optimizers.SGD(0.01, momentum=0.9), metrics=["acc"])
    if kind == "trained":
        model.fit(images, labels, verbose=0)
    before, trainable = everything(model), [weight.trainable for weight in model.weights]
    function, python, numpy = model.train_function, random.getstate(), np.random.get_state()[1]
    preflight(model, (images, labels), steps=20)
    for old, new in zip(before, everything(model), strict=True):
        np.testing.assert_array_equal(new, old)
    assert [weight.trainable for weight in model.weights] == trainable
    assert model.train_function is function
    assert random.getstate() == python
    np.testing.assert_array_equal(np.random.get_state()[1], numpy)
    assert all("call" not in vars(layer) for layer in model.layers)


def test_fit_ends_as_without_the_callback():
    images, labels = some()
    ends = []
    for check in (None, PreflightCheck((images, labels), steps=5, say=lambda found: None)):
        model = compiled(network(L.Dropout(0.3, seed=1), head()), metrics=["accuracy"])
        callbacks = [check] if check else []
        history = model.fit(images, labels, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        ends.append((everything(model), history.history))
    for one, other in zip(ends[0][0], ends[1][0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert ends[0][1] == ends[1][1]


def test_the_callback_refuses_errors_and_prints_them(capsys):
    images, labels = some()
    model = compiled(network(), SPARSE())
    with pytest.raises(PreflightError, match="logits_as_probabilities: .*from_logits=True"):
        model.fit(images, labels, callbacks=[PreflightCheck((images, labels), steps=0)], verbose=0)
    assert "logits_as_probabilities" in capsys.readouterr().err
    check = PreflightCheck((images, labels), steps=0, refuse=False)
    model.fit(images, labels, callbacks=[check], verbose=0)
    assert not check.result.ok


@pytest.mark.slow
def test_mixed_precision():
    model = network(norm=False)
    for layer in model.layers[:-1]:
        layer.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    assert not preflight(compiled(model), some(), batches=2).findings


@pytest.mark.slow
def test_a_softmax_of_several_labels_is_not_looked_for():
    images, _ = some()
    labels = np.random.default_rng(0).integers(0, 2, (128, CLASSES)).astype("float32")
    model = compiled(network(head(activation="sigmoid")), "binary_crossentropy")
    found = preflight(model, (images, labels))
    assert not found.findings, str(found)
    assert found.figures["log_classes"] == pytest.approx(np.log(2))
    assert list(found.skipped) == ["order"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batches": 0}, "batches must be an integer of at least 1, received: 0"),
        ({"steps": -1}, "steps must be an integer of at least 0"),
        ({"data": iter([])}, "that can be read again, received: list_iterator"),
        ({"data": []}, "data holds no batch"),
        ({"data": [np.zeros(3)]}, "data must hold .images, labels."),
        ({"model": network()}, "needs a compiled model"),
        (
            {"model": compiled(keras.Sequential([L.Input((8, 8, 1)), L.Conv2D(2, 3)]))},
            "one output of shape .batch, classes., received: .1, 6, 6, 2.",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    given = {"model": compiled(network(), metrics=[]), "data": some(), **arguments}
    with pytest.raises(RecipesError, match=message) as caught:
        preflight(given.pop("model"), given.pop("data"), **given)
    assert "\n" not in str(caught.value)


def test_reads_datasets_and_arrays_alike():
    images, labels = some(20)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    for data in (
        dataset,
        (images, labels),
        [(images[:8], labels[:8]), (images[8:16], labels[8:16]), (images[16:], labels[16:])],
    ):
        found = read_batches(data, 8, batch_size=8)
        assert [len(batch[0]) for batch in found] == [8, 8, 4]
        np.testing.assert_array_equal(np.concatenate([batch[1] for batch in found]), labels)
