"""Pruning: the zeros are there, where and as many as asked, and nothing else is lost."""

import gzip
import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.errors import ConfigError, DataError, RecipesError, RunError
from tuning import cluster, describe_weights, prune

pytest.importorskip("tensorflow_model_optimization")
from tuning._keras2 import load_tf_mot
from tuning._keras2.pruning import ramp

layers = keras.layers


@pytest.fixture(scope="module", autouse=True)
def mot():
    return load_tf_mot()


@pytest.fixture(scope="module")
def model():
    """A nested, normalised classifier whose normalisation was adapted to images."""
    keras.utils.set_random_seed(1)
    normalization = layers.Normalization(name="scale")
    normalization.adapt(np.random.default_rng(0).uniform(0, 255, (20, 6, 6, 4)))
    inputs = keras.Input((6, 6, 4), dtype="uint8")
    x = layers.Conv2D(8, 3, name="first")(normalization(inputs))
    inner = keras.Sequential(
        [
            keras.Input((4, 4, 8)),
            layers.Conv2D(12, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(name="bn"),
        ],
        name="inner",
    )
    x = layers.Flatten()(layers.ReLU()(inner(x)))
    x = layers.Dropout(0.1)(layers.Dense(16, activation="relu", name="hidden")(x))
    return keras.Model(inputs, layers.Dense(3, name="last")(x), name="small")


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = generator.integers(0, 200, (48, 6, 6, 4)).astype(np.uint8)
    images[labels == 0] += 40
    images[labels == 1, :3] += 50
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(12)


@pytest.fixture(scope="module")
def polynomial(model, data, tmp_path_factory):
    """Pruned to 0.8, with a run directory that did not exist."""
    folder = tmp_path_factory.mktemp("runs") / "new"
    before = [weight.copy() for weight in model.get_weights()]
    pruned = prune(model, data, epochs=3, validation_data=data, run_directory=folder)
    return pruned, before, json.loads((folder / "pruning.json").read_text())


def kernel(model, name):
    layer = model.get_layer("inner").get_layer("conv") if name == "conv" else model.get_layer(name)
    return np.array(layer.kernel)


def zeros(model, name):
    return int((kernel(model, name) == 0).sum())


def test_zeros_are_there_to_one_weight(polynomial, model):
    pruned = polynomial[0]
    for name, size in (("conv", 3 * 3 * 8 * 12), ("hidden", 2 * 2 * 12 * 16)):
        assert zeros(pruned, name) == size - round(size * 0.2)
        # -0.0 would be no zero to gzip.
        assert not np.signbit(kernel(pruned, name)[kernel(pruned, name) == 0]).any()
    assert zeros(pruned, "first") == zeros(pruned, "last") == 0


def test_it_is_trained_and_the_model_given_is_not(polynomial, model):
    pruned, before, _ = polynomial
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("first", "conv", "hidden", "last"):
        assert not np.array_equal(kernel(pruned, name), kernel(model, name))
    for one, other in zip(pruned.variables, model.variables, strict=True):
        assert one is not other
    names = [[layer.name for layer in one.layers] for one in (pruned, model)]
    assert names[0] == names[1]
    assert pruned.history.history["loss"][-1] < pruned.history.history["loss"][0]


def test_the_pruned_model_computes_what_was_trained(polynomial, data, model):
    """What the twin gave on the validation images is what the Keras 3 model gives."""
    pruned = polynomial[0]
    images = np.concatenate([batch for batch, _ in data])
    labels = np.concatenate([batch for _, batch in data])
    logits = pruned.predict(images, verbose=0).astype(np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(48), labels]
    history = pruned.history.history
    assert history["val_loss"][-1] == pytest.approx(losses.mean(), rel=1e-3)
    assert history["val_accuracy"][-1] == pytest.approx((logits.argmax(1) == labels).mean())


def test_history(polynomial):
    pruned, _, content = polynomial
    history = pruned.history.history
    assert history["sparsity"] == sorted(history["sparsity"])
    total = zeros(pruned, "conv") + zeros(pruned, "hidden")
    assert history["sparsity"][-1] == pytest.approx(total / (864 + 768))
    assert content["finished"]
    assert content["targets"] == {"inner/conv": 0.8, "hidden": 0.8}
    assert content["reached"]["hidden"] == zeros(pruned, "hidden") / 768
    assert [epoch["loss"] for epoch in content["epochs_run"]] == history["loss"]
    assert [epoch["epoch"] for epoch in content["epochs_run"]] == [1, 2, 3]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(model, data):
    runs = [
        prune(model, data, schedule="constant", layers="hidden", epochs=1, seed=3) for _ in range(2)
    ]
    for one, other in zip(runs[0].weights, runs[1].weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_two_of_four(polynomial, model, data, caplog):
    with caplog.at_level(logging.WARNING, "keras_recipes.prune"):
        pruned = prune(model, data, structure="2:4", epochs=1, layers=["*"])
    for name in ("first", "conv", "hidden", "last"):
        # Inputs of one output at one place of the kernel, four at a time.
        array = kernel(pruned, name)
        groups = np.moveaxis(array, -2, -1).reshape(-1, 4)
        assert (np.count_nonzero(groups, axis=1) <= 2).all()
        assert zeros(pruned, name) == array.size // 2
    assert not caplog.records


@pytest.mark.slow
def test_two_of_four_leaves_out_what_cannot_be(data, caplog):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.Conv2D(6, 3, name="first"),
            layers.Conv2D(8, 3, name="odd"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(8, name="even"),
            layers.Dense(3, name="last"),
        ]
    )
    with caplog.at_level(logging.WARNING, "keras_recipes.prune"):
        pruned = prune(model, data, structure="2:4", epochs=1)
    assert "layer 'odd' cannot be 2:4: it has 6 input channels" in caplog.text
    found = describe_weights(pruned)
    assert found["even"]["two_of_four"]
    assert found["odd"]["zeros"] == 0
    with pytest.raises(ConfigError, match="'odd' cannot be 2:4: it has 6 input channels"):
        prune(model, data, structure="2:4", layers=["odd", "even"])
    with pytest.raises(ConfigError, match="structure '2:4' means 0.5, received: 0.8"):
        prune(model, data, structure="2:4", sparsity=0.8)


def test_blocks(model, data):
    pruned = prune(model, data, structure="block", layers="hidden", sparsity=0.75, epochs=1)
    blocks = kernel(pruned, "hidden").reshape(12, 4, 16)
    empty = (blocks == 0).all(axis=1)
    assert empty.sum() == 12 * 16 * 3 // 4
    assert (blocks[np.broadcast_to(~empty[:, None], blocks.shape)] != 0).all()
    with pytest.raises(ConfigError, match=r"'first' \(Conv2D\) cannot be pruned in blocks.*dense"):
        prune(model, data, structure="block", layers="first")


@pytest.mark.slow
def test_targets_and_rounds(model, data):
    targets = {"inner/*": 0.5, "hidden": 0.0, "last": 0.25}
    pruned = prune(model, data, targets=targets, rounds=2, epochs=1)
    assert zeros(pruned, "conv") == 432
    assert zeros(pruned, "last") == 12
    assert zeros(pruned, "hidden") == zeros(pruned, "first") == 0
    history = pruned.history.history
    assert history["round"] == [1, 2]
    # Of what stays, the same share in each: 1 - sqrt(1 - s).
    expected = 864 - round(864 * 0.5**0.5) + 48 - round(48 * 0.75**0.5)
    assert history["sparsity"][0] == pytest.approx(expected / (864 + 48))


@pytest.mark.slow
def test_zeros_of_other_layers_stay(polynomial, data):
    pruned = prune(polynomial[0], data, sparsity=0.5, layers="first", epochs=1)
    assert zeros(pruned, "first") == 144
    for name in ("conv", "hidden"):
        where = kernel(polynomial[0], name) == 0
        assert where.mean() > 0.79
        np.testing.assert_array_equal(kernel(pruned, name) == 0, where)


@pytest.mark.slow
def test_optimizer_loss_and_callbacks_of_keras(model, data):
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((epoch, sorted(logs)))
    )
    rate = keras.optimizers.schedules.CosineDecay(0.01, 8)
    images = data.map(lambda images, labels: (images, tf.one_hot(labels, 3))).repeat()
    pruned = prune(
        model,
        images,
        schedule="constant",
        epochs=2,
        steps_per_epoch=4,
        optimizer=keras.optimizers.SGD(rate, momentum=0.9, clipnorm=1.0),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        callbacks=[callback],
    )
    assert seen == [(0, ["accuracy", "loss"]), (1, ["accuracy", "loss"])]
    assert zeros(pruned, "hidden") == 768 - 154


def test_weights_are_those_of_a_step_of_the_optimizer():
    """One step at a linear model that is pruned at once, against NumPy."""
    generator = np.random.default_rng(7)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    start = generator.normal(size=(4, 3)).astype("float32")
    model.set_weights([start, np.zeros(3, "float32")])
    images, labels = generator.normal(size=(5, 4)).astype("float32"), np.array([0, 1, 2, 1, 0])
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(5)
    optimizer = keras.optimizers.SGD(0.1)
    pruned = prune(model, batches, layers="dense", sparsity=0.5, epochs=1, optimizer=optimizer)
    mask = np.abs(start) >= np.sort(np.abs(start), axis=None)[6]
    logits = images @ (start * mask)
    errors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[labels]
    expected = (start * mask - 0.1 * images.T @ errors / 5) * mask
    np.testing.assert_allclose(pruned.get_layer("dense").kernel, expected, atol=1e-6)
    np.testing.assert_allclose(pruned.get_layer("dense").bias, -0.1 * errors.mean(0), atol=1e-6)


def test_frozen_layers_are_refused(data, model):
    """Cut, and not trained to make it good, they leave a network that guesses."""
    frozen = keras.models.clone_model(model)
    frozen.get_layer("hidden").trainable = False
    with pytest.raises(ConfigError, match="1 of 2 layers to prune are frozen, 'hidden' the first"):
        prune(frozen, data, epochs=1)
    # What is not pruned may be frozen.
    assert zeros(prune(frozen, data, layers="inner/conv", epochs=1), "conv") > 0


def test_ramps_end_where_masks_are_chosen():
    for steps in [*range(2, 60), 1000, 12345]:
        end, every = ramp(steps)
        assert 1 < end <= max(steps, 2)
        assert (end - 1) % every == 0
        assert (end - 1) // every <= 200
    assert ramp(1) == (1, 1)


def test_weights_of_equal_size_cannot_be_told_apart(data):
    model = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Flatten(), layers.Dense(3, name="dense")]
    )
    model.get_layer("dense").kernel.assign(np.full((144, 3), 0.5))
    model.get_layer("dense").kernel.trainable = True
    optimizer = keras.optimizers.SGD(1e-30)
    with pytest.raises(RecipesError, match=r"'dense' has 0.0000 zeros, asked were 0.8000"):
        prune(model, data, layers="dense", epochs=1, optimizer=optimizer)


def test_description():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Conv2D(2, 1, name="conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, name="dense"),
        ]
    )
    values = np.array([[1, 0], [0, 0], [0, -2], [1, 1]], "float32").reshape(1, 1, 4, 2)
    model.get_layer("conv").kernel.assign(values)
    model.get_layer("dense").kernel.assign([[0.0, 0.0], [3.0, 3.0]])
    found = describe_weights(model)
    assert [row["name"] for row in found.rows] == ["depthwise", "conv", "dense"]
    row = found["conv"]
    assert (row["zeros"], row["distinct"], row["two_of_four"]) == (0.375 + 0.125, 3, True)
    assert row["gzip_bytes"] == len(gzip.compress(values.tobytes(), mtime=0))
    assert not found["dense"]["two_of_four"]
    assert found.total["weights"] == 36 + 8 + 4
    assert found.total["zeros"] == pytest.approx((4 + 2) / 48)
    assert json.loads(json.dumps(found.to_dict()))["layers"][1]["shape"] == [1, 1, 4, 2]
    assert "1x1x4x2" in str(found)
    with pytest.raises(ConfigError, match="did you mean 'dense'"):
        found["dens"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["hiden"]}, "'hiden'; did you mean 'hidden'"),
        ({"layers": "inner/bn"}, r"'inner/bn' \(BatchNormalization\) has no kernel"),
        ({"targets": {"hiden": 0.5}}, "'hiden'; did you mean 'hidden'"),
        ({"targets": {"hidden": 1.5}}, r"targets\['hidden'\] must be in \[0, 1\), received: 1.5"),
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), received: 1.0"),
        ({"sparsity": "0.8"}, r"sparsity must be in \[0, 1\), received: '0.8'"),
        ({"sparsity": 0}, "every sparsity is 0"),
        ({"schedule": "polynom"}, "did you mean 'polynomial'"),
        ({"structure": "4:2"}, "structure must be one of None, 2:4, block, received: '4:2'"),
        ({"epochs": 0}, "epochs must be a whole number, at least 1, received: 0"),
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        (
            {"optimizer": keras.optimizers.Adam(gradient_accumulation_steps=2)},
            "optimizer Adam: tf_keras has no gradient_accumulation_steps, received: 2",
        ),
        ({"loss": "crossentropi"}, "loss must be a name, .*received: 'crossentropi'"),
        ({"callbacks": ["stop"]}, "callbacks must be keras callbacks, received: str"),
        ({"structure": "2:4", "rounds": 2}, "expected 1, received: 2"),
    ],
)
def test_mistakes(model, data, arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        prune(model, data, run_directory=tmp_path / "run", **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_used(model, data, tmp_path):
    other = tf.data.Dataset.from_tensors((np.zeros((2, 5, 5, 4)), [0, 1]))
    for wrong, message in (
        (data.take(0), "data is empty"),
        (other, r"images of shape \(2, 5, 5, 4\), the model takes \(None, 6, 6, 4\)"),
        (data.unbatch(), "batch.. is missing"),
        (data.map(lambda images, labels: (images, labels + 1)), "labels from 1 to 3"),
        (data.map(lambda images, labels: images), r"batches \(images, labels\)"),
        ([1, 2], "must be a tf.data.Dataset .*received: list"),
    ):
        with pytest.raises(DataError, match=message):
            prune(model, wrong, run_directory=tmp_path / "run")
    each = keras.Model(model.inputs, layers.Activation("sigmoid")(model.outputs[0]))
    with pytest.raises(DataError, match=r"expected labels of shape \(n, 3\) of 0 and 1"):
        prune(each, data, run_directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="steps_per_epoch is needed: the data never ends"):
        prune(model, data.repeat())


def test_models_that_cannot_be_used(data):
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ConfigError, match="Own is a subclass with its own call"):
        prune(Own(), data)
    maps = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(3, 1)])
    with pytest.raises(ConfigError, match=r"one output of shape \(batch, classes\)"):
        prune(maps, data)
    small = keras.Sequential([keras.Input((6, 6, 4)), layers.Flatten(), layers.Dense(3)])
    with pytest.raises(ConfigError, match="no layer to work on.*first and the last"):
        prune(small, data)

    class Doubled(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    small.add(Doubled(name="mine"))
    for work, name in ((prune, "prune"), (cluster, "cluster")):
        with pytest.raises(ConfigError, match=rf"'mine' \(Doubled\) cannot cross.*: {name} takes"):
            work(small, data)


def test_a_run_directory_that_cannot_be(model, data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        prune(model, data, run_directory=tmp_path / "file")


def test_training_that_diverges_says_so(model, data):
    optimizer = keras.optimizers.SGD(1e20)
    with pytest.raises(RecipesError, match="training diverged"):
        prune(model, data, schedule="constant", epochs=3, optimizer=optimizer)
