"""Sensitivity to pruning, layer by layer, and the sharing out of zeros by it."""

import itertools
import json
import xml.etree.ElementTree as ElementTree

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from recipes.errors import ConfigError, DataError, RunError
from tuning import allocate, sensitivity
from tuning.layer_sensitivity import Sensitivity

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, name="first"),
            layers.Conv2D(5, 3, activation="relu", name="middle"),
            layers.Flatten(),
            layers.Dense(7, activation="relu", name="hidden"),
            layers.Dense(3, name="last"),
        ],
        name="small",
    )


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 6, 6, 2)).astype(np.uint8)
    return images, generator.integers(0, 3, 50)


@pytest.fixture(scope="module")
def found(model, data):
    return sensitivity(model, tf.data.Dataset.from_tensor_slices(data).batch(16), (0.9, 0.5))


def by_hand(model, data, name, sparsity):
    """Return accuracy and loss with the smallest weights of a layer at 0, by NumPy and softmax."""
    images, labels = data
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    if name:
        kernel = np.array(copy.get_layer(name).kernel)
        count = kernel.size - round(kernel.size * (1 - sparsity))
        limit = np.sort(np.abs(kernel), axis=None)[count]
        copy.get_layer(name).kernel.assign(np.where(np.abs(kernel) >= limit, kernel, 0))
    logits = np.asarray(copy(images.astype("float32")), np.float64)
    logs = logits - np.log(np.exp(logits - logits.max()).sum(1, keepdims=True)) - logits.max()
    loss = -logs[np.arange(len(labels)), labels].mean()
    return (logits.argmax(axis=1) == labels).mean(), loss


def test_it_measures_what_pruning_one_layer_does(found, model, data):
    assert found.sparsities == (0.5, 0.9)
    assert found.images == 50
    assert [row["name"] for row in found.layers] == ["middle", "hidden"]
    assert [row["weights"] for row in found.layers] == [3 * 3 * 4 * 5, 2 * 2 * 5 * 7]
    accuracy, loss = by_hand(model, data, None, 0)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert found.loss == pytest.approx(loss, rel=1e-4)
    for row in found.layers:
        for place, sparsity in enumerate(found.sparsities):
            accuracy, loss = by_hand(model, data, row["name"], sparsity)
            assert row["accuracy"][place] == pytest.approx(accuracy, abs=1e-6)
            assert row["loss"][place] == pytest.approx(loss, rel=1e-4)


def test_the_model_is_not_touched(model, data):
    before = [weight.copy() for weight in model.get_weights()]
    batches = tf.data.Dataset.from_tensor_slices(data).batch(50)
    sensitivity(model, batches, (0.5,), layers="*")
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_soft_labels_and_probabilities_give_the_same(found, model, data):
    images, labels = data
    probabilities = keras.Model(model.inputs, layers.Softmax()(model.outputs[0]))
    soft = np.eye(3, dtype="float32")[labels]
    batches = tf.data.Dataset.from_tensor_slices((images, soft)).batch(50)
    other = sensitivity(probabilities, batches, (0.5, 0.9), layers=["middle"])
    assert other.layers[0]["accuracy"] == pytest.approx(found.layers[0]["accuracy"], abs=1e-6)
    # Keras clips probabilities at 1e-7, and these logits are large.
    assert other.accuracy == pytest.approx(found.accuracy, abs=1e-6)


def test_table_json_and_plot(found, tmp_path):
    lines = str(found).splitlines()
    assert lines[1].split() == ["layer", "kind", "weights", "50%", "90%"]
    assert {line.split()[0] for line in lines[2:]} == {"middle", "hidden"}
    again = Sensitivity.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    found.plot(tmp_path / "plot.svg")
    root = ElementTree.fromstring((tmp_path / "plot.svg").read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    curves = root.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert [len(curve.get("points").split()) for curve in curves] == [3, 3]
    with pytest.raises(RunError, match="cannot write"):
        found.plot(tmp_path / "missing" / "plot.svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsities": (0.5, 1.0)}, r"sparsities must be in \[0, 1\), received: 1.0"),
        ({"sparsities": (0.0, 0.5)}, r"sparsities must be in \(0, 1\)"),
        ({"layers": ["midle"]}, "'midle'; did you mean 'middle'"),
        ({"layers": ["flatten*"]}, "no convolution or dense layer is called"),
    ],
)
def test_mistakes(model, data, arguments, message):
    batches = tf.data.Dataset.from_tensor_slices(data).batch(16)
    with pytest.raises(ConfigError, match=message):
        sensitivity(model, batches, **arguments)


def test_data_that_cannot_be_used(model, data):
    batches = tf.data.Dataset.from_tensor_slices(data).batch(16)
    with pytest.raises(DataError, match="never ends"):
        sensitivity(model, batches.repeat())
    with pytest.raises(DataError, match="data is empty"):
        sensitivity(model, batches.take(0))
    each = keras.Model(model.inputs, layers.Activation("sigmoid")(model.outputs[0]))
    with pytest.raises(DataError, match="a sigmoid for each of 3 classes: .*class numbers"):
        sensitivity(each, batches)


def measured(*losses, sparsities, weights=None, zeros=None):
    """Return a made-up sensitivity with these losses, a list a layer; 1 without pruning."""
    weights = weights or [100] * len(losses)
    zeros = zeros or [0.0] * len(losses)
    rows = tuple(
        {
            "name": f"layer{place}",
            "kind": "Dense",
            "weights": weights[place],
            "zeros": zeros[place],
            "accuracy": [0.9] * len(sparsities),
            "loss": list(loss),
        }
        for place, loss in enumerate(losses)
    )
    return Sensitivity(tuple(sparsities), 0.9, 1.0, 10, rows)


def harm(found, chosen):
    """Return the sum of harms, by straight lines between what was measured."""
    grid = (0.0, *found.sparsities)
    return sum(
        np.interp(chosen[row["name"]], grid, [1.0, *row["loss"]]) - 1.0 for row in found.layers
    )


@pytest.mark.parametrize("overall", [0.2, 0.5, 0.6, 0.8])
def test_allocation_is_the_best_of_all_on_a_grid(overall):
    """Convex losses: every choice in steps of a tenth is tried."""
    weights = [100, 300, 200]
    found = measured(
        *([1.01, 1.05, 1.2], [1.1, 1.5, 3.0], [1.02, 1.2, 1.9]),
        sparsities=(0.3, 0.6, 0.9),
        weights=weights,
    )
    chosen = allocate(found, overall)
    assert np.dot(list(chosen.values()), weights) == pytest.approx(overall * 600, abs=0.01)
    steps = [tenth / 10 for tenth in range(10)]
    best = min(
        harm(found, dict(zip(chosen, choice, strict=True)))
        for choice in itertools.product(steps, repeat=3)
        if np.dot(choice, weights) >= overall * 600 - 1e-9
    )
    assert harm(found, chosen) == pytest.approx(best, abs=1e-5)


def test_allocation_is_the_linear_program_of_the_hull():
    """Losses that are not convex: against SciPy, which mixes measured points freely."""
    generator = np.random.default_rng(4)
    sparsities = (0.4, 0.6, 0.8, 0.9)
    losses = 1 + generator.uniform(-0.1, 1, (5, 4))
    weights = generator.integers(50, 500, 5).tolist()
    found = measured(*losses, sparsities=sparsities, weights=weights)
    chosen = allocate(found, 0.55)
    # A share of each layer at each of the points 0, 0.4, ...
    costs = np.concatenate([np.zeros((5, 1)), losses - 1], axis=1)
    zeros = np.outer(weights, (0.0, *sparsities))
    solved = optimize.linprog(
        costs.ravel(),
        A_eq=np.concatenate([np.kron(np.eye(5), np.ones(5)), zeros.reshape(1, -1)]),
        b_eq=[1] * 5 + [0.55 * sum(weights)],
    )
    shares = solved.x.reshape(5, 5)
    expected = (shares * zeros).sum(axis=1) / weights
    np.testing.assert_allclose(list(chosen.values()), expected, atol=1e-4)


def test_zeros_that_are_there_cost_nothing():
    found = measured(
        [1.0, 1.5], [1.1, 1.2], sparsities=(0.5, 0.9), weights=[100, 100], zeros=[0.5, 0.0]
    )
    assert allocate(found, 0.25) == {"layer0": 0.5, "layer1": 0.0}
    assert allocate(found, 0.5) == {"layer0": 0.5, "layer1": 0.5}


def test_a_layer_gets_no_more_than_the_largest():
    found = measured([1.0, 1.0], [2.0, 3.0], sparsities=(0.5, 0.9))
    assert allocate(found, 0.4, maximum=0.7) == {"layer0": 0.7, "layer1": pytest.approx(0.1)}
    with pytest.raises(ConfigError, match=r"with at most 0.7 a layer.*0.7 is the most.*0.8"):
        allocate(found, 0.8, maximum=0.7)
    with pytest.raises(ConfigError, match=r"0.9 is the most, received: 0.92"):
        allocate(found, 0.92)
    with pytest.raises(ConfigError, match="did you mean 'loss'"):
        allocate(found, 0.5, measure="los")


def test_a_loss_that_is_not_finite_is_never_chosen():
    found = measured([1.1, None], [1.2, 1.4], sparsities=(0.5, 0.9))
    assert allocate(found, 0.7) == {"layer0": 0.5, "layer1": 0.9}
