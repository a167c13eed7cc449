"""Exported files: what they compute, what travels in them, and what happens when it fails."""

import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import scipy.special
from ai_edge_litert.interpreter import Interpreter

from recipes.evaluation.classifier import LiteRTClassifier
from recipes.layers import CalibratedSoftmax, FusedBatchNormalization
from tuning import export_tflite, inspect_tflite
from tuning.tflite import in_float32


def accuracy(probabilities, labels):
    return np.mean(probabilities.argmax(axis=1) == labels)


def noise(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_float32_computes_what_the_model_computes(exported, digit_classifier, digits):
    images, labels = digits["test"]
    expected = digit_classifier.predict(images, verbose=0)
    assert accuracy(expected, labels) > 0.9  # Otherwise the comparisons say little.
    received = LiteRTClassifier(exported["float32"]).predict(images)
    np.testing.assert_allclose(received, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "difference", "agreement"), [("float16", 0.01, 0.99), ("int8", 0.3, 0.98)]
)
def test_quantised_files_agree_with_the_model(
    exported, digit_classifier, digits, name, difference, agreement
):
    images, labels = digits["test"]
    expected = digit_classifier.predict(images, verbose=0)
    received = LiteRTClassifier(exported[name]).predict(images)
    assert np.abs(received - expected).max() < difference
    assert np.mean(received.argmax(axis=1) == expected.argmax(axis=1)) >= agreement
    assert abs(accuracy(received, labels) - accuracy(expected, labels)) <= 0.01


def test_int8_takes_the_bytes_of_images(exported):
    details = Interpreter(model_path=str(exported["int8"])).get_input_details()[0]
    assert details["dtype"] == np.uint8
    assert details["quantization"] == (1.0, 0)


@pytest.mark.parametrize("fill", [0, 100, 255])
def test_int8_takes_the_bytes_even_if_calibration_images_are_flat(tiny_model, tmp_path, fill):
    images = np.full((4, 8, 8, 1), fill, np.uint8)
    images[0, 4, 4] = 130
    kept = images.copy()
    path = export_tflite(
        tiny_model(keras.layers.Conv2D(4, 3)),
        tmp_path / "m.tflite",
        precision="int8",
        calibration_images=images,
    )
    details = Interpreter(model_path=str(path)).get_input_details()[0]
    assert details["quantization"] == (1.0, 0)
    np.testing.assert_array_equal(images, kept)


def test_int8_probabilities_are_finer_than_an_int8_softmax(exported, digits):
    details = Interpreter(model_path=str(exported["int8"])).get_output_details()[0]
    assert details["dtype"] == np.float32
    probabilities = LiteRTClassifier(exported["int8"]).predict(digits["test"][0])
    assert ((probabilities > 0) & (probabilities < 1 / 256)).mean() > 0.1
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_integers_alone_give_the_probabilities_of_many_classes(tmp_path):
    """Of 1,000 equal ones each is less than half a step of an int8 softmax, which is 1/256."""
    last = keras.layers.Dense(1000, activation="softmax", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), last])
    images = noise(8, 4, 4, 1)
    path = tmp_path / "model.tflite"
    export_tflite(model, path, precision="int8-only", calibration_images=images)
    found = LiteRTClassifier(path).predict(images)
    np.testing.assert_allclose(found, np.full((8, 1000), 1 / 1000), rtol=1e-6)


def test_int8_leaves_only_the_softmax_in_float(exported):
    assert inspect_tflite(exported["int8"])["float_operation_names"] == {"SOFTMAX": 1}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_temperature_and_normalisation_are_in_the_file(tmp_path, precision):
    generator = np.random.default_rng(0)
    kernel = generator.normal(size=(12, 4)).astype(np.float32)
    bias = generator.normal(size=4).astype(np.float32)
    inputs = keras.Input((2, 2, 3))
    means, variances = [100.0, 120.0, 140.0], [3000.0, 4000.0, 5000.0]
    x = keras.layers.Normalization(mean=means, variance=variances)(inputs)
    dense = keras.layers.Dense(4)
    logits = dense(keras.layers.Flatten()(x))
    dense.set_weights([kernel, bias])
    model = keras.Model(inputs, CalibratedSoftmax(3.0)(logits))
    images = noise(200, 2, 2, 3)
    path = export_tflite(
        model, tmp_path / "m.tflite", precision=precision, calibration_images=images
    )
    normalized = (images - np.array(means)) / np.sqrt(variances)
    expected = scipy.special.softmax((normalized.reshape(-1, 12) @ kernel + bias) / 3.0, axis=1)
    received = LiteRTClassifier(path).predict(images)
    signal = 10 * np.log10(np.sum(expected**2) / np.sum((received - expected) ** 2))
    assert signal > (100 if precision == "float32" else 38)


def test_batches_give_what_single_images_give(exported, digits):
    images = digits["test"][0][:7]
    for path in exported.values():
        classifier = LiteRTClassifier(path)
        singles = np.concatenate([classifier.predict(image[np.newaxis]) for image in images])
        for batch_size in (1, 3, 64):
            batched = LiteRTClassifier(path).predict(images, batch_size=batch_size)
            np.testing.assert_allclose(batched, singles, atol=1e-6)


def test_other_interpreters_see_a_batch_of_one_and_named_tensors(exported):
    for path in exported.values():
        interpreter = Interpreter(model_path=str(path))
        signature = interpreter.get_signature_runner("serving_default")
        details = signature.get_input_details()["images"]
        assert details["shape"].tolist() == [1, 16, 16, 1]
        result = signature(images=np.zeros((1, 16, 16, 1), details["dtype"]))
        assert result["probabilities"].shape == (1, 10)


def test_sizes(exported):
    sizes = {name: path.stat().st_size for name, path in exported.items()}
    assert sizes["float16"] < 0.75 * sizes["float32"]
    assert sizes["int8"] < 0.75 * sizes["float32"]  # 3,000 parameters: mostly structure.


def test_int8_of_a_larger_network_is_under_three_tenths(tmp_path):
    inputs = x = keras.Input((8, 8, 1))
    for filters in (16, 32, 64, 64):  # 61,000 parameters; larger networks come nearer to 0.25.
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(FusedBatchNormalization()(x))
    x = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, CalibratedSoftmax()(x))
    images = noise(8, 8, 8, 1)
    sizes = [
        export_tflite(model, tmp_path / f"{name}.tflite", precision=name, calibration_images=images)
        .stat()
        .st_size
        for name in ("float32", "int8")
    ]
    assert sizes[1] <= 0.3 * sizes[0]


def test_facts_travel_in_the_file(exported, digit_classifier):
    for name, path in exported.items():
        assert path.read_bytes()[4:8] == b"TFL3"
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["labels.txt", "keras_recipes.json"]
            labels = archive.read("labels.txt").decode()
            facts = json.loads(archive.read("keras_recipes.json"))
        assert labels == "".join(f"digit {digit}\n" for digit in range(10))
        assert facts["class_names"] == labels.splitlines()
        assert facts["temperature"] == digit_classifier.layers[-1].temperature
        assert facts["quantization"] == name
        assert facts["contract"] == {
            "image_shape": [16, 16, 1],
            "dtype": "uint8",
            "value_range": [0, 255],
            "color": "grayscale",
            "fit": "pad",
        }
        assert facts["provenance"]["seed"] == 0
        assert facts["provenance"]["parameters"] == digit_classifier.count_params()
        assert facts["provenance"]["export_versions"]["keras"] == keras.__version__
        assert facts["provenance"].get("calibration_images") == (200 if name == "int8" else None)


def test_given_contract_and_class_names_are_added(tiny_model, tmp_path):
    path = export_tflite(
        tiny_model(),
        tmp_path / "m.tflite",
        contract={"class_names": ["a\nb", "ü", "c"], "license": "MIT", "provenance": {"run": 7}},
    )
    classifier = LiteRTClassifier(path)
    assert classifier.class_names == ("a\nb", "ü", "c")
    assert classifier.contract["license"] == "MIT"
    assert classifier.contract["provenance"]["run"] == 7
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == ["a b", "ü", "c"]


def test_same_model_same_bytes(exported, digit_classifier, digits, tmp_path):
    digit_classifier.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    for name, first in exported.items():
        second = export_tflite(
            again,
            tmp_path / "second.tflite",
            precision=name,
            calibration_images=digits["train"][0][:200],
        )
        assert first.read_bytes() == second.read_bytes()


def test_calibration_images_may_be_float(exported, digit_classifier, digits, tmp_path):
    path = export_tflite(
        digit_classifier,
        tmp_path / "m.tflite",
        precision="int8",
        calibration_images=digits["train"][0][:200].astype(np.float64),
    )
    assert path.read_bytes() == exported["int8"].read_bytes()


def test_nothing_is_printed(tiny_model, tmp_path, capfd):
    for precision in ("float32", "int8"):
        export_tflite(
            tiny_model(),
            tmp_path / "m.tflite",
            precision=precision,
            calibration_images=noise(2, 8, 8, 1),
        )
    assert capfd.readouterr() == ("", "")


def test_other_kinds_of_model(tiny_model, tmp_path):
    """Nested, sequential, with a stock softmax, with augmentation inside, with Flatten."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inner = tiny_model(layers.Conv2D(4, 3), FusedBatchNormalization(), head=False)
    nested_inputs = keras.Input((8, 8, 1))
    models = {
        "nested": keras.Model(nested_inputs, CalibratedSoftmax(2.0)(inner(nested_inputs))),
        "sequential": keras.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Rescaling(1 / 255),
                layers.RandomFlip("horizontal"),
                layers.Conv2D(4, 3, strides=2, activation="relu"),
                layers.Flatten(),
                layers.Dropout(0.5),
                layers.Dense(3, activation="softmax"),
            ]
        ),
    }
    images = noise(40, 8, 8, 1)
    for name, model in models.items():
        expected = model.predict(images, verbose=0)
        for precision, tolerance in (("float32", 1e-5), ("int8", 0.05)):
            path = export_tflite(
                model,
                tmp_path / f"{name}.tflite",
                precision=precision,
                calibration_images=images,
            )
            received = LiteRTClassifier(path).predict(images)
            np.testing.assert_allclose(received, expected, atol=tolerance)
        assert inspect_tflite(path)["float_operation_names"] == {"SOFTMAX": 1}


def test_mixed_precision_models_are_exported_in_float32(tmp_path):
    keras.utils.set_random_seed(1)

    def build(policy):
        inputs = x = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(8, 3, dtype=policy)(x)
        x = FusedBatchNormalization(dtype=policy)(x)
        x = keras.layers.GlobalAveragePooling2D(dtype=policy)(x)
        x = keras.layers.Dense(3, dtype=policy)(x)
        return keras.Model(inputs, CalibratedSoftmax(50.0)(x))

    mixed, plain = build("mixed_bfloat16"), build("float32")
    plain.set_weights(mixed.get_weights())
    # A loss of the user's own, which no copy can be compiled with.
    own = keras.losses.sparse_categorical_crossentropy
    mixed.compile("adam", loss=lambda labels, outputs: own(labels, outputs))
    path = export_tflite(mixed, tmp_path / "m.tflite")
    images = noise(20, 8, 8, 1)
    received = LiteRTClassifier(path).predict(images)
    np.testing.assert_allclose(received, plain.predict(images, verbose=0), atol=1e-5)
    assert mixed.layers[1].compute_dtype == "bfloat16"


@keras.saving.register_keras_serializable(package="tests_of_tflite")
class Pair(keras.layers.Layer):
    """Makes layers of its own, and gives them no dtype."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.parts = [keras.layers.Conv2D(8, 3), keras.layers.ReLU()]

    def build(self, shape):
        self.parts[0].build(shape)

    def call(self, inputs):
        return self.parts[1](self.parts[0](inputs))


def test_layers_inside_of_layers_are_float32_too():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((8, 8, 3))
        inside = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")
        x = keras.layers.SpectralNormalization(inside)(Pair()(inputs))
        copy = in_float32(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)))
        assert keras.config.dtype_policy().name == "mixed_bfloat16", "put back"
    finally:
        keras.config.set_dtype_policy("float32")
    pair, spectral = copy.layers[1:3]
    assert {layer.compute_dtype for layer in (*pair.parts, spectral.layer)} == {"float32"}


def test_import_loads_no_tensorflow():
    code = (
        "import sys, tuning; dir(tuning)\n"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["False", "False"]
