"""Clustering: few values in each kernel, and zeros that stay."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.errors import ConfigError, DataError, RecipesError
from tuning import cluster, describe_weights, prune

pytest.importorskip("tensorflow_model_optimization")
from tuning._keras2 import load_tf_mot

layers = keras.layers


@pytest.fixture(scope="module", autouse=True)
def mot():
    return load_tf_mot()


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, name="first"),
            layers.SeparableConv2D(12, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dense(3, name="last"),
        ],
        name="small",
    )


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = generator.integers(0, 200, (48, 6, 6, 4)).astype(np.uint8)
    images[labels == 0] += 40
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(12)


@pytest.fixture(scope="module")
def pruned(model, data):
    return prune(model, data, epochs=1, sparsity=0.6)


def kernel(model, name):
    layer = model.get_layer(name)
    return np.array(layer.pointwise_kernel if name == "conv" else layer.kernel)


@pytest.fixture(scope="module")
def clustered(model, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    before = [weight.copy() for weight in model.get_weights()]
    found = cluster(
        model,
        data,
        clusters=6,
        epochs=2,
        learning_rate=1e-2,
        run_directory=folder,
        validation_data=data,
    )
    return found, before, json.loads((folder / "clustering.json").read_text())


def test_few_values_and_the_model_given_is_not_touched(clustered, model):
    found, before, _ = clustered
    for name in ("conv", "hidden"):
        assert len(set(kernel(found, name).ravel().tolist())) == 6
    for name in ("first", "last"):
        assert len(set(kernel(found, name).ravel().tolist())) > 6
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_values_are_trained_and_computed_with(clustered, data):
    found = clustered[0]
    images = np.concatenate([batch for batch, _ in data]).astype("float32")
    labels = np.concatenate([batch for _, batch in data])
    logits = found.predict(images, verbose=0).astype(np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(48), labels]
    history = found.history.history
    assert history["val_loss"][-1] == pytest.approx(losses.mean(), rel=1e-3)
    assert history["loss"][1] < history["loss"][0]


def test_history(clustered):
    _, _, content = clustered
    assert content["finished"]
    assert content["reached"] == {"conv": 6, "hidden": 6}
    assert [epoch["epoch"] for epoch in content["epochs_run"]] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("initialization", ["linear", "density", "random"])
def test_every_way_to_begin(model, data, initialization):
    found = cluster(
        model, data.take(1), clusters=4, epochs=1, initialization=initialization, layers="hidden"
    )
    assert 2 <= len(np.unique(kernel(found, "hidden"))) <= 4
    assert len(np.unique(kernel(found, "conv"))) > 4


def test_linear_begins_with_evenly_spaced_values(model, data):
    """With hardly any training the values are NumPy's `linspace`, each weight at the nearest."""
    optimizer = keras.optimizers.SGD(1e-20)
    found = cluster(
        model,
        data,
        clusters=5,
        epochs=1,
        initialization="linear",
        optimizer=optimizer,
        layers="hidden",
    )
    before = kernel(model, "hidden")
    values = np.linspace(before.min(), before.max(), 5)
    nearest = values[np.abs(before[..., None] - values).argmin(axis=-1)]
    np.testing.assert_allclose(kernel(found, "hidden"), nearest, atol=1e-6)


def test_zeros_stay_straight_after_pruning(pruned, data):
    found = cluster(pruned, data, clusters=5, epochs=2, learning_rate=1e-2, preserve_sparsity=True)
    for name, size in (("conv", 96), ("hidden", 48 * 16)):
        before = kernel(pruned, name) == 0
        assert before.sum() == size - round(size * 0.4)
        assert (kernel(found, name)[before] == 0).all()
        assert not np.signbit(kernel(found, name)[before]).any()
        assert len(np.unique(kernel(found, name))) <= 5
    assert describe_weights(found).total["zeros"] >= describe_weights(pruned).total["zeros"]


def test_zeros_of_layers_that_are_not_clustered_stay(pruned, data):
    found = cluster(pruned, data, clusters=5, epochs=1, layers="conv", preserve_sparsity=True)
    np.testing.assert_array_equal(kernel(found, "hidden") == 0, kernel(pruned, "hidden") == 0)
    assert not np.array_equal(kernel(found, "hidden"), kernel(pruned, "hidden"))


@pytest.mark.slow
def test_frozen_layers_are_clustered_too(model, data):
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.get_layer("hidden").trainable = False
    found = cluster(copy, data, clusters=3, epochs=1, layers="hidden")
    assert len(np.unique(kernel(found, "hidden"))) == 3
    assert not found.get_layer("hidden").trainable


@pytest.mark.slow
def test_few_values_already(clustered, data):
    """A layer that has few values keeps exactly these while another is clustered."""
    found = cluster(clustered[0], data, clusters=6, epochs=1, layers=["conv", "first"])
    np.testing.assert_array_equal(kernel(found, "conv"), kernel(clustered[0], "conv"))
    assert len(np.unique(kernel(found, "first"))) == 6
    with pytest.raises(ConfigError, match="has at most 8 distinct values already"):
        cluster(clustered[0], data, clusters=8, epochs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clusters": 1}, "clusters must be a whole number, at least 2, received: 1"),
        ({"clusters": 2, "preserve_sparsity": True}, "at least 3, received: 2"),
        ({"initialization": "kmeans"}, r"did you mean 'kmeans\+\+'"),
        ({"layers": ["hiden"]}, "'hiden'; did you mean 'hidden'"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"optimizer": "lion"}, "optimizer must be one of"),
    ],
)
def test_mistakes(model, data, arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        cluster(model, data, run_directory=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_used(model, data):
    with pytest.raises(DataError, match="data is empty"):
        cluster(model, data.take(0))


def test_training_that_diverges_says_so(model, data):
    with pytest.raises(RecipesError, match="training diverged"):
        cluster(model, data, epochs=1, optimizer=keras.optimizers.SGD(1e30))
