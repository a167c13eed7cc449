"""Quantization-aware training: what is rounded, what comes back, and what lies in the file."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from recipes.errors import ConfigError, DataError, RecipesError, RunError
from recipes.evaluation.classifier import KerasClassifier, LiteRTClassifier
from recipes.evaluation.litert import read_facts
from recipes.layers import CalibratedSoftmax, InvertedResidual, Scale
from recipes.models import build_model
from tuning import inspect_tflite, quantize_aware
from tuning.flatbuffer import with_integer_ends
from tuning.quantization import say_frozen

pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

layers = keras.layers
_SHAPE = (16, 16, 3)


def images_and_labels(count=32, shape=_SHAPE, classes=5):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *shape), np.uint8)
    return images, generator.integers(0, classes, count)


def batches(count=32, size=8, **arguments):
    return tf.data.Dataset.from_tensor_slices(images_and_labels(count, **arguments)).batch(size)


def classifier(*middle, shape=_SHAPE, classes=5, temperature=1.7):
    """Return a model of images around some layers, with weights that are no defaults."""
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input(shape)
    x = layers.Rescaling(1 / 127.5, -1)(x)
    for layer in middle:
        x = layer(x)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(x)
    outputs = CalibratedSoftmax(temperature)(layers.Dense(classes)(x))
    return randomized(keras.Model(inputs, outputs, name="net"))


def randomized(model):
    """Give normalisation statistics and scales that are not those of its start."""
    generator = np.random.default_rng(3)
    for weight in model.weights:
        if any(name in weight.path for name in ("variance", "gamma", "mean", "beta")):
            low = 0.5 if "variance" in weight.path or "gamma" in weight.path else -0.3
            weight.assign(generator.uniform(low, low + 1, weight.shape))
    return model


def convolution(filters, size=3, activation=None, **arguments):
    """Return convolution, normalisation and activation as a nested model."""
    steps = [layers.Conv2D(filters, size, padding="same", use_bias=False, **arguments)]
    steps += [layers.BatchNormalization()] + [layers.Activation(activation)] * bool(activation)
    return keras.Sequential(steps)


def inverted(activation):
    return [
        convolution(8, activation=activation),
        InvertedResidual(8, expansion=2, activation=activation, squeeze_excite=True),
    ]


@pytest.fixture(scope="module")
def mixed():
    """Return a network of what TF-MOT refuses or leaves float, and what was trained of it."""
    model = classifier(
        *inverted("silu"),
        layers.BatchNormalization(),
        layers.ReLU(),
        convolution(8, activation="relu", dilation_rate=2),
        layers.DepthwiseConv2D(3, padding="same", activation="hard_silu"),
        layers.SeparableConv2D(6, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
        keras.Sequential([layers.Dense(8), layers.BatchNormalization(), layers.ReLU()]),
    )
    before = model.get_weights()
    trained = quantize_aware(model, batches(), epochs=2, learning_rate=1e-3)
    assert all(map(np.array_equal, before, model.get_weights()))
    return model, trained


@pytest.mark.slow
def test_no_float_operation_is_left_but_the_softmax(mixed, tmp_path):
    _, trained = mixed
    path = trained.export(tmp_path / "net.tflite")
    assert trained.float_operations == {"SOFTMAX": 1}
    assert inspect_tflite(path)["float_operation_names"] == {"SOFTMAX": 1}
    assert trained.float_reasons == {}
    litert = LiteRTClassifier(path).litert
    assert litert._input["quantization"] == (1.0, 0)
    assert (litert.input_dtype, litert.output_dtype) == (np.uint8, np.float32)


@pytest.mark.slow
def test_the_file_computes_what_was_trained(mixed, tmp_path):
    _, trained = mixed
    images, _ = images_and_labels()
    path = trained.export(tmp_path / "net.tflite", images=images)
    found = LiteRTClassifier(path).predict(images)
    assert np.abs(found - trained.predict(images)).max() < 0.01
    assert np.abs(found - KerasClassifier(trained.model).predict(images)).max() < 0.1


@pytest.mark.slow
def test_all_weights_were_trained_and_came_back(mixed):
    model, trained = mixed
    images, _ = images_and_labels()
    for old, new in zip(model.trainable_weights, trained.model.trainable_weights, strict=True):
        assert np.abs(np.asarray(old) - np.asarray(new)).max() > 0, old.path
    # The twin without rounding gives logits; softmax by NumPy.
    logits = trained._quantized.twin.model(images.astype(np.float32)).numpy() / 1.7
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    found = trained.model.predict(images, verbose=0)
    assert np.abs(expected - found).max() < 1e-5
    assert np.abs(trained.predict(images) - found).max() > 0


@pytest.mark.slow
def test_rounding_changes_the_logits_little(mixed):
    _, trained = mixed
    images = images_and_labels()[0].astype(np.float32)
    rounded = trained._quantized.predict(images)
    exact = trained._quantized.twin.model(images).numpy()
    # With constants that were not copied the error is as large as the logits.
    assert np.linalg.norm(rounded - exact) < 0.2 * np.linalg.norm(exact)


def test_frozen_layers_are_named(caplog):
    model = classifier(layers.DepthwiseConv2D(3, name="stem"), layers.Conv2D(4, 3))
    say_frozen(model)
    assert not caplog.records
    model.get_layer("stem").trainable = False
    say_frozen(model)
    assert "1 of 3 layers with a kernel are frozen, 'stem' the first" in caplog.text


@pytest.mark.slow
def test_history_and_facts(mixed, tmp_path):
    _, trained = mixed
    assert len(trained.history.history["loss"]) == 2
    path = trained.export(tmp_path / "n.tflite", contract={"class_names": list("abcde")})
    facts = read_facts(path)
    assert facts["class_names"] == list("abcde")
    assert facts["temperature"] == 1.7
    assert facts["quantization"] == "int8"
    assert facts["provenance"]["quantization_aware_training"]["epochs"] == 2


def weights_in(path):
    """Return the int8 kernels in a file, by shape."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    found = {}
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and data is not None:
            found[tuple(tensor.shape)] = np.asarray(data).view(np.int8).reshape(tensor.shape)
    return found


def sparse_and_clustered():
    """Return a model with a kernel of half zeros and, in all, five values."""
    model = classifier(convolution(8, activation="relu"), convolution(12, activation="relu"))
    kernel = next(weight for weight in model.weights if tuple(weight.shape) == (3, 3, 8, 12))
    generator = np.random.default_rng(0)
    values = generator.choice([0.3, -0.2, 0.1, -0.05], kernel.shape)
    kernel.assign(values * (generator.random(kernel.shape) < 0.5))
    return model, np.asarray(kernel)


@pytest.mark.parametrize(
    "preserve",
    [
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in (None, "sparsity", "clusters")),
        "both",
    ],
)
def test_zeros_and_clusters_are_kept(preserve, tmp_path):
    model, before = sparse_and_clustered()
    trained = quantize_aware(
        model, batches(), epochs=1, preserve=preserve, optimizer="sgd", learning_rate=0.05
    )
    after = next(w for w in trained.model.get_weights() if w.shape == before.shape)
    assert np.abs(after - before).max() > 1e-6
    inside = weights_in(trained.export(tmp_path / "n.tflite"))[(12, 3, 3, 8)]
    zeros = before == 0
    stored = inside.transpose(1, 2, 3, 0)
    if preserve in ("sparsity", "both"):
        assert np.all(after[zeros] == 0)
        assert np.all(stored[zeros] == 0)
    else:
        assert np.mean(after[zeros] == 0) < 0.5
    if preserve in ("clusters", "both"):
        assert len(np.unique(after)) == 5
        assert all(len(np.unique(channel)) <= 5 for channel in inside)
    else:
        assert len(np.unique(after)) > 100


def test_rounding_of_kernels_against_numpy():
    from tuning._keras2.quantize_configs import rounded_kernel

    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    kernel[..., 0] = 0
    with tf.GradientTape() as tape:
        variable = tf.Variable(kernel)
        found = rounded_kernel(variable, (0, 1, 2))
    for channel in range(5):
        step = np.abs(kernel[..., channel]).max() / 127
        expected = np.rint(kernel[..., channel] / step) * step if step else 0.0
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-6)
    assert np.all(tape.gradient(found, variable).numpy() == 1)


def test_ranges_are_those_of_training_batches():
    from tuning._keras2 import to_tf_keras
    from tuning._keras2.quantization import quantize_twin, set_ranges

    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 1), layers.Flatten()])
    twin = to_tf_keras(model, quantizable=True)
    quantized = quantize_twin(twin, {"conv2d"} | {layer.name for layer in twin.model.layers})
    data = batches(24, 8, shape=(4, 4, 1))
    set_ranges(quantized, data)
    kernel, bias = (np.asarray(weight) for weight in model.weights)
    results = [images.numpy()[..., :1] * kernel[0, 0] + bias for images, _ in data]
    name = next(layer.name for layer in twin.model.layers if "conv" in layer.name)
    found = quantized.configs[name].range
    low = np.mean([min(result.min(), 0) for result in results])
    high = np.mean([max(result.max(), 0) for result in results])
    np.testing.assert_allclose(float(found["min_var"]), low, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(float(found["max_var"]), high, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_chosen_layers_and_what_stays_float():
    model = classifier(
        layers.Conv2D(4, 3, activation="relu", name="first"),
        layers.Conv2D(4, 3, activation="relu", name="second"),
        layers.LayerNormalization(name="normalization"),
        layers.Conv2D(4, 3, name="third"),
    )
    trained = quantize_aware(model, batches(8), epochs=1, layers=["second", "third", "dense*"])
    assert "not among the chosen" in trained.float_reasons["first"]
    assert "float" in trained.float_reasons["second"]
    assert "LayerNormalization" in trained.float_reasons["normalization"]
    assert set(trained.float_reasons) >= {"first", "second", "normalization"}
    assert "third" not in trained.float_reasons
    assert trained.float_operations["CONV_2D"] == 2


def scaled_classifier(scales):
    """Return a network whose logits are multiplied by constants, and sharp enough to notice."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(_SHAPE)
    x = layers.Conv2D(6, 3, activation="relu")(layers.Rescaling(1 / 127.5, -1)(inputs))
    x = layers.Dense(5, kernel_initializer="he_normal")(layers.GlobalMaxPooling2D()(x))
    for scale in scales:
        x = scale(x)
    return keras.Model(inputs, CalibratedSoftmax(0.7)(x), name="scaled")


@pytest.mark.parametrize(
    ("scales", "expected"),
    [
        ([Scale(0.125)], {"SOFTMAX": 1}),
        ([Scale(2.0), layers.Rescaling(0.3)], {"SOFTMAX": 1}),
        # These move or turn the logits: they have to be computed.
        ([Scale(-1.0)], None),
        ([layers.Rescaling(0.3, 0.5)], None),
    ],
)
@pytest.mark.sampled(0, 1)
def test_factors_of_the_logits_are_in_the_last_kernel(scales, expected, tmp_path):
    model = scaled_classifier(scales)
    images, labels = images_and_labels(8)
    trained = quantize_aware(
        model, batches(8), epochs=1, optimizer="sgd", learning_rate=1e-9, validation_data=batches(8)
    )
    if expected:
        assert trained.float_operations == expected
    # Cross-entropy of the logits without the temperature, by NumPy from the probabilities with it.
    sharp = KerasClassifier(model).predict(images)
    plain = sharp**0.7 / (sharp**0.7).sum(axis=1, keepdims=True)
    loss = -np.log(plain[np.arange(8), labels]).mean()
    for measured in ("loss", "val_loss"):
        assert trained.history.history[measured][0] == pytest.approx(loss, rel=0.03)
    assert np.abs(trained.predict(images) - sharp).max() < 0.03
    path = trained.export(tmp_path / "net.tflite", images=images)
    assert np.abs(LiteRTClassifier(path).predict(images) - sharp).max() < 0.03


_NETWORKS = {
    "resnet9": lambda: build_model("resnet9", input_shape=_SHAPE, classes=5, width=8),
    "resnet20_v2": lambda: build_model("resnet20_v2", input_shape=_SHAPE, classes=5),
    "mobilenet_v2": lambda: build_model(
        "mobilenet_v2", input_shape=(32, 32, 3), classes=5, width=0.35
    ),
    "efficientnet": lambda: classifier(*inverted("silu"), *inverted("silu")),
    "mobilenet_v3": lambda: classifier(*inverted("hard_swish"), *inverted("hard_swish")),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name == "resnet9" else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in _NETWORKS
    ],
)
def test_whole_networks_have_no_float_operation(name, tmp_path):
    keras.utils.set_random_seed(0)
    model = _NETWORKS[name]()
    shape = model.input_shape[1:]
    trained = quantize_aware(model, batches(16, shape=shape), epochs=1)
    assert trained.float_operations == {"SOFTMAX": 1}
    images, _ = images_and_labels(shape=shape)
    path = trained.export(tmp_path / "net.tflite")
    found = LiteRTClassifier(path).predict(images)
    assert np.abs(found - trained.predict(images)).max() < 0.05
    integers = tmp_path / "integers.tflite"
    integers.write_bytes(with_integer_ends(path.read_bytes()))
    assert inspect_tflite(integers)["float_operation_names"] == {}


class Unknown(layers.Layer):
    def call(self, inputs):
        return inputs * 2


class Subclass(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "convolution"}, ConfigError, "no layer fits 'convolution'"),
        ({"layers": []}, ConfigError, "layers is empty"),
        ({"preserve": "zeros"}, ConfigError, "preserve must be one of"),
        ({"epochs": 0}, ConfigError, "epochs must be a whole number, at least 1, received: 0"),
        ({"learning_rate": -1}, ConfigError, "learning_rate must be above 0"),
        ({"freeze_batch_normalization_after": -1}, ConfigError, "freeze_batch_normalization"),
        ({"data": batches(8).take(0)}, DataError, "data is empty"),
        ({"data": batches(8, shape=(8, 8, 3))}, DataError, "images of shape (8, 8, 8, 3)"),
        ({"model": Subclass()}, ConfigError, "subclass with its own call"),
        ({"model": "wrong"}, ConfigError, "takes a Keras model"),
    ],
)
def test_mistakes_are_one_clear_line(arguments, error, message, tmp_path):
    model = keras.Sequential(
        [keras.Input(_SHAPE), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(5)]
    )
    folder = tmp_path / "run"
    given = {"model": model, "data": batches(8), "run_directory": folder, **arguments}
    with pytest.raises(error) as caught:
        quantize_aware(given.pop("model"), given.pop("data"), **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


def test_unknown_layers_are_named():
    with pytest.raises(ConfigError, match=r"layer 'odd' \(Unknown\) cannot cross"):
        quantize_aware(classifier(Unknown(name="odd")), batches(8), epochs=1)


def test_run_directory(tmp_path):
    model = classifier(layers.Conv2D(2, 3))
    quantize_aware(model, batches(8), epochs=1, run_directory=tmp_path)
    written = json.loads((tmp_path / "quantization.json").read_text())
    assert written["finished"]
    assert written["reached"]["float_operations"] == {"SOFTMAX": 1}
    assert len(written["epochs_run"]) == 1


@pytest.mark.slow
def test_nothing_is_half_written(mixed, tmp_path, monkeypatch):
    _, trained = mixed
    with pytest.raises(ConfigError, match="must end in .tflite"):
        trained.export(tmp_path / "net.bin")
    with pytest.raises(RunError, match="there is no folder"):
        trained.export(tmp_path / "missing" / "net.tflite")
    monkeypatch.setattr(trained, "predict", lambda images: np.eye(5)[np.arange(len(images)) % 5])
    with pytest.raises(RecipesError, match="does not compute what was trained"):
        trained.export(tmp_path / "net.tflite")
    assert os.listdir(tmp_path) == []
