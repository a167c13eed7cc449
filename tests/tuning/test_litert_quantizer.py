"""Quantizing by litert-quantizer: whole files, single operations, every precision of the export.

Expected ranges and errors are computed with NumPy from weights and images.
"""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from recipes.errors import ConfigError, DataError, RecipesError
from recipes.evaluation.classifier import LiteRTClassifier
from recipes.layers import CalibratedSoftmax
from tuning import export_tflite, inspect_tflite
from tuning.conversion import convert
from tuning.flatbuffer import (
    input_quantization,
    read_model,
    with_byte_input,
    with_integer_ends,
    with_unique_names,
)

pytest.importorskip("litert_quantizer")
from tuning.litert_quantizer import (
    operations,
    quantize_dynamic,
    quantize_static,
    quantize_weights,
)

QUANTIZED = ("dynamic", "weight-only-int8", "weight-only-int4", "int8", "int8-only", "16x8")


@pytest.fixture(scope="module")
def float_file(digit_classifier):
    return convert(digit_classifier, None)


@pytest.fixture(scope="module")
def images(digits):
    return digits["train"][0][:60]


def run(content, images, folder):
    path = folder / "run.tflite"
    path.write_bytes(content)
    return LiteRTClassifier(path).predict(images)


def kinds(content, folder):
    path = folder / "kinds.tflite"
    path.write_bytes(content)
    return inspect_tflite(path)["float_operation_names"]


def decibels(received, expected):
    return 10 * np.log10(np.sum(expected**2) / np.sum((received - expected) ** 2))


def test_operations_are_listed_by_stable_names(float_file, digit_classifier):
    found = operations(float_file)
    assert [operation.kind for operation in found].count("CONV_2D") == 2
    assert [operation.kind for operation in found][-1] == "FULLY_CONNECTED"
    assert "SOFTMAX" not in {operation.kind for operation in found}
    dense = found[-1]
    assert dense.parameters == 4 * 4 * 16 * 10 + 10
    assert [operation.name for operation in found] == [
        operation.name for operation in operations(convert(digit_classifier, None))
    ]
    assert len({operation.name for operation in found}) == len(found)
    with pytest.raises(RecipesError, match="bytes of a .tflite file"):
        operations(b"something else")


def test_static_file_is_integer_up_to_the_softmax(float_file, images, digits, tmp_path):
    content = quantize_static(float_file, images)
    assert kinds(content, tmp_path) == {"SOFTMAX": 1}
    assert input_quantization(content) == (1.0, 0)
    expected = run(float_file, digits["test"][0], tmp_path)
    received = run(content, digits["test"][0], tmp_path)
    assert decibels(received, expected) > 25
    assert input_quantization(quantize_static(float_file, images, input_type="int8")) == (1, -128)
    floating = quantize_static(float_file, images, input_type="float32")
    assert input_quantization(floating) == (0, 0)
    wide = quantize_static(float_file, images, input_type="float32", activation_bits=16)
    # Against a file of the same rounded weights what is left is the rounding of activations.
    test = digits["test"][0][:100]
    same_weights = run(quantize_weights(float_file), test, tmp_path)
    assert decibels(run(wide, test, tmp_path), same_weights) > 20 + decibels(
        received[:100], same_weights
    )


def test_ranges_are_the_smallest_and_largest_value(tmp_path):
    """The moving average of the package would give a narrower range, and clip."""
    generator = np.random.default_rng(3)
    kernel = generator.normal(size=(4, 3)).astype(np.float32)
    inputs = keras.Input((2, 2, 1))
    dense = keras.layers.Dense(3, use_bias=False)
    model = keras.Model(inputs, keras.layers.Softmax()(dense(keras.layers.Flatten()(inputs))))
    dense.set_weights([kernel])
    images = generator.integers(0, 256, (40, 2, 2, 1), dtype=np.uint8)
    logits = images.reshape(40, 4).astype(np.float64) @ kernel
    content = quantize_static(convert(model, None), images)
    graph = read_model(content).subgraphs[0]
    [operator] = [
        entry for entry in graph.operators if len(entry.inputs) >= 2 and _is_dense(content, entry)
    ]
    scale = graph.tensors[operator.outputs[0]].quantization.scale[0]
    assert scale == pytest.approx((max(logits.max(), 0) - min(logits.min(), 0)) / 255, rel=1e-4)


def _is_dense(content, operator):
    codes = read_model(content).operatorCodes
    return codes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.FULLY_CONNECTED


def test_skipped_operations_stay_float(float_file, images, digits, tmp_path):
    cache = {}
    whole = run(quantize_static(float_file, images, cache=cache), digits["test"][0], tmp_path)
    expected = run(float_file, digits["test"][0], tmp_path)
    found = operations(float_file)
    conv = next(operation for operation in found if operation.kind == "CONV_2D")
    content = quantize_static(float_file, images, skip=[conv.name], cache=cache)
    assert kinds(content, tmp_path) == {"CONV_2D": 1, "SOFTMAX": 1}
    assert content == quantize_static(float_file, images, skip=conv.index, cache=cache)
    everything = [operation.name for operation in found]
    nothing = run(
        quantize_static(float_file, images, skip=everything, cache=cache),
        digits["test"][0],
        tmp_path,
    )
    np.testing.assert_allclose(nothing, expected, atol=1e-5)
    assert np.abs(whole - expected).max() > 1e-3


def test_the_calibration_is_kept(float_file, images, monkeypatch):
    from litert_quantizer import calibrator

    cache = {}
    first = quantize_static(float_file, images, cache=cache)
    assert first == quantize_static(float_file, images)

    def again(*arguments, **options):
        raise AssertionError("calibrated again")

    monkeypatch.setattr(calibrator, "Calibrator", again)
    assert quantize_static(float_file, images, cache=cache) == first
    name = operations(float_file)[-1].name
    assert quantize_static(float_file, images, skip=[name], cache=cache) != first
    with pytest.raises(RecipesError, match="calibrated again"):
        quantize_static(float_file, images[:50], cache=cache)


def weight_types(content):
    model = read_model(content)
    names = {value: name for name, value in vars(schema.TensorType).items() if name[0] != "_"}
    return {
        names[tensor.type]
        for tensor in model.subgraphs[0].tensors
        if len(tensor.shape) >= 2 and model.buffers[tensor.buffer].data is not None
    }


def test_weights_alone(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.DepthwiseConv2D(3, activation="relu")(x)
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
    content = convert(keras.Model(inputs, CalibratedSoftmax()(keras.layers.Dense(4)(x))), None)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    expected = run(content, pixels, tmp_path)
    assert weight_types(quantize_weights(content, 8)) == {"INT8"}
    # The kernel of depthwise convolutions reads no 4-bit weights.
    assert weight_types(quantize_weights(content, 4)) == {"INT8", "INT4"}
    eight, four = (quantize_weights(content, bits) for bits in (8, 4))
    assert len(four) < len(eight) < len(content)
    assert decibels(run(eight, pixels, tmp_path), expected) > 30
    assert decibels(run(four, pixels, tmp_path), expected) > 5
    assert weight_types(quantize_dynamic(content)) == {"INT8"}
    with pytest.raises(ConfigError, match="bits must be 4 or 8, received: 2"):
        quantize_weights(content, 2)


def test_wrong_arguments(float_file, images, capfd):
    name = operations(float_file)[0].name
    with pytest.raises(ConfigError, match="can be quantized.*did you mean"):
        quantize_static(float_file, images, skip=[name + "x"])
    with pytest.raises(ConfigError, match="received: 99"):
        quantize_static(float_file, images, skip=[99])
    with pytest.raises(ConfigError, match="8 or 16, received: 4"):
        quantize_static(float_file, images, activation_bits=4)
    with pytest.raises(ConfigError, match="did you mean 'uint8'"):
        quantize_static(float_file, images, input_type="unt8")
    with pytest.raises(ConfigError, match="input stays float32"):
        quantize_static(float_file, images, activation_bits=16)
    with pytest.raises(DataError, match="is empty"):
        quantize_static(float_file, images[:0])
    assert capfd.readouterr() == ("", "")


def test_the_missing_package_is_named(float_file, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "litert_quantizer", None)
    with pytest.raises(ConfigError, match=r"pip install 'keras-recipes\[compress\]'"):
        operations(float_file)


def test_tensors_of_one_name_get_different_ones(float_file):
    from tuning.flatbuffer import _pack

    model = read_model(float_file)
    for tensor in model.subgraphs[0].tensors[:3]:
        tensor.name = b"same"
    names = [
        tensor.name for tensor in read_model(with_unique_names(_pack(model))).subgraphs[0].tensors
    ]
    assert len(set(names)) == len(names)
    assert names[:3] == [b"same", b"same#2", b"same#3"]
    assert with_unique_names(float_file) is float_file


@pytest.fixture(scope="module")
def precise(digit_classifier, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("precise")
    return {
        precision: export_tflite(
            digit_classifier,
            folder / f"{precision}.tflite",
            precision=precision,
            calibration_images=digits["train"][0][:100],
        )
        for precision in QUANTIZED
    }


@pytest.mark.parametrize(
    ("precision", "signal", "floats"),
    [
        ("dynamic", 25, None),
        ("weight-only-int8", 30, None),
        ("weight-only-int4", 10, None),
        ("int8", 25, {"SOFTMAX": 1}),
        ("int8-only", 25, {}),
        ("16x8", 35, {"SOFTMAX": 1}),
    ],
)
@pytest.mark.sampled(1)
def test_every_precision(precise, digit_classifier, digits, precision, signal, floats):
    images, labels = (part[:200] for part in digits["test"])
    expected = digit_classifier.predict(images, verbose=0)
    classifier = LiteRTClassifier(precise[precision])
    received = classifier.predict(images)
    assert decibels(received, expected) > signal
    assert abs(np.mean(received.argmax(1) == labels) - np.mean(expected.argmax(1) == labels)) < 0.02
    assert classifier.class_names[3] == "digit 3"
    if floats is not None:
        assert inspect_tflite(precise[precision])["float_operation_names"] == floats
    types = (classifier.litert.input_dtype, classifier.litert.output_dtype)
    expected_types = {"int8": (np.uint8, np.float32), "int8-only": (np.int8, np.int8)}
    assert types == expected_types.get(precision, (np.float32, np.float32))


def test_integer_file_has_steps_of_one_in_256(precise, digits):
    details = Interpreter(model_path=str(precise["int8-only"])).get_output_details()[0]
    assert details["quantization"] == (1 / 256, -128)
    details = Interpreter(model_path=str(precise["int8-only"])).get_input_details()[0]
    assert details["quantization"] == (1.0, -128)
    images = digits["test"][0][:100]
    coarse = LiteRTClassifier(precise["int8-only"]).litert(images)
    fine = LiteRTClassifier(precise["int8"]).predict(images)
    assert np.abs(coarse - fine).max() <= 1.01 / 256
    with pytest.raises(RecipesError, match="end in a softmax"):
        with_integer_ends(precise["dynamic"].read_bytes())


def test_weights_behind_the_flatbuffer_are_put_inside(tmp_path):
    """litert-quantizer writes large weights there."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Dense(8192, activation="relu")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, CalibratedSoftmax()(keras.layers.Dense(4)(x)))
    content = quantize_weights(convert(model, None))
    buffers = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0)).buffers
    assert any(buffer.offset for buffer in buffers)
    path = export_tflite(model, tmp_path / "m.tflite", precision="weight-only-int8")
    buffers = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0)).buffers
    assert not any(buffer.offset for buffer in buffers)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    np.testing.assert_array_equal(
        LiteRTClassifier(path).predict(pixels), run(content, pixels, tmp_path)
    )


@pytest.mark.parametrize("precision", ["float32", "dynamic", "int8"])
def test_the_temperature_is_no_operation(tmp_path, precision):
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1), dtype=np.uint8)
    counts = []
    for temperature in (1.0, 2.5):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4, 4, 1))
        x = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
        model = keras.Model(inputs, CalibratedSoftmax(temperature)(x))
        path = export_tflite(
            model, tmp_path / "m.tflite", precision=precision, calibration_images=images
        )
        counts.append(inspect_tflite(path)["operations"])
    assert counts[0] == counts[1]


def test_an_input_of_another_scale_is_mended(tmp_path):
    """As calibration leaves it that has seen other values than the images hold."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    kernel = (generator.normal(size=(8, 3)) / 200).astype(np.float32)
    signature = [tf.TensorSpec((1, 2, 2, 2), tf.float32, name="images")]
    function = tf.function(
        lambda images: tf.nn.softmax(tf.reshape(images, (1, 8)) @ kernel), signature
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], tf.Module()
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    seen = [generator.uniform(0, 200, (1, 2, 2, 2)).astype(np.float32) for _ in range(30)]
    converter.representative_dataset = lambda: ([image] for image in seen)
    converter.inference_input_type = tf.uint8
    content = converter.convert()
    assert input_quantization(content)[0] < 0.8
    mended = with_byte_input(content)
    assert input_quantization(mended) == (1.0, 0)
    assert with_byte_input(mended) is mended
    images = generator.integers(0, 200, (30, 2, 2, 2), dtype=np.uint8)
    logits = images.reshape(30, 8) @ kernel.astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    (tmp_path / "m.tflite").write_bytes(mended)
    received = LiteRTClassifier(tmp_path / "m.tflite").predict(images)
    np.testing.assert_allclose(received, expected, atol=0.01)
    (tmp_path / "m.tflite").write_bytes(content)
    assert np.abs(LiteRTClassifier(tmp_path / "m.tflite").predict(images) - expected).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "resnet9"])
def test_residual_networks_take_bytes(name):
    """In-place kernels must not reach what the calibrator reads."""
    from recipes.models.info import as_model

    model = as_model(name, 32)
    images = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:]), dtype=np.uint8)
    assert input_quantization(convert(model, "int8", images)) == (1.0, 0)
