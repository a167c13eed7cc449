"""What the flatbuffer reader counts and the editor changes."""

import logging

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from recipes.errors import RunError
from recipes.layers import CalibratedSoftmax
from tuning import export_tflite, inspect_tflite
from tuning._capture import captured_output
from tuning.flatbuffer import read_model, with_float_softmax


def plain_network():
    """One convolution with ReLU, one pooling, one dense layer, one softmax: four kernels."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, CalibratedSoftmax(2.0)(x))


def converted(function, *, int8=False, flex=False):
    """Convert a function of one (1, 8) input by TensorFlow's converter alone."""
    signature = [tf.TensorSpec((1, 8), tf.float32)]
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module())
    if flex:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS,
            tf.lite.OpsSet.SELECT_TF_OPS,
        ]
    if int8:
        images = np.random.default_rng(0).normal(size=(50, 1, 8)).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in images)
        converter.inference_input_type = tf.int8
    with captured_output():
        return converter.convert()


def test_counts_of_a_known_network(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    kernels = {"CONV_2D": 1, "FULLY_CONNECTED": 1, "MEAN": 1, "SOFTMAX": 1}
    model = plain_network()
    assert inspect_tflite(export_tflite(model, tmp_path / "float.tflite")) == {
        "operations": 4,
        "float_operations": 4,
        "float_operation_names": kernels,
        "flex_operations": 0,
    }
    path = export_tflite(
        model, tmp_path / "int8.tflite", precision="int8", calibration_images=images
    )
    assert inspect_tflite(path) == {
        "operations": 6,  # QUANTIZE from uint8 to int8, and DEQUANTIZE, come in addition.
        "float_operations": 1,
        "float_operation_names": {"SOFTMAX": 1},
        "flex_operations": 0,
    }


def test_integer_operations_are_no_float_operations(tmp_path):
    (tmp_path / "m.tflite").write_bytes(converted(lambda x: tf.argmax(x, axis=1)))
    assert inspect_tflite(tmp_path / "m.tflite")["float_operations"] == 0


def test_flex_operations_are_counted(tmp_path):
    def determinants(x):
        square = tf.reshape(x[:, :4], (1, 2, 2))
        return tf.linalg.det(square) + tf.linalg.det(2 * square + 1)

    content = converted(determinants, flex=True)
    (tmp_path / "m.tflite").write_bytes(content)
    counts = inspect_tflite(tmp_path / "m.tflite")
    assert counts["flex_operations"] == 2
    assert counts["float_operation_names"]["FlexMatrixDeterminant"] == 2


@pytest.mark.parametrize("content", [b"", b"TFL3", b"not a flatbuffer at all"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(RunError, match="not a TFLite file"):
        inspect_tflite(tmp_path / "m.tflite")


def run(content, inputs):
    interpreter = Interpreter(model_content=bytes(content))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


KERNEL = np.random.default_rng(1).normal(size=(8, 5)).astype(np.float32)


def test_float_softmax_gives_the_same_probabilities_but_finer():
    content = converted(lambda x: tf.nn.softmax(4 * x @ KERNEL), int8=True)
    edited = with_float_softmax(content)
    generator = np.random.default_rng(2)
    coarse, fine = [], []
    for _ in range(40):
        inputs = generator.integers(-128, 128, (1, 8), dtype=np.int8)
        coarse.append(run(content, inputs))
        fine.append(run(edited, inputs))
    coarse, fine = np.concatenate(coarse), np.concatenate(fine)
    assert np.abs(coarse - fine).max() <= 1.01 / 256
    assert np.all(np.mod(coarse * 256, 1) == 0)
    assert len(np.unique(fine)) > 2 * len(np.unique(coarse))
    np.testing.assert_allclose(fine.sum(axis=1), 1, atol=1e-6)


def test_buffers_are_aligned_as_the_schema_asks():
    edited = with_float_softmax(converted(lambda x: tf.nn.softmax(x @ KERNEL), int8=True))
    model = schema.Model.GetRootAs(edited, 0)
    start = np.frombuffer(edited, np.uint8).__array_interface__["data"][0]
    places = []
    for index in range(model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray):
            places.append((data.__array_interface__["data"][0] - start) % 16)
    assert len(places) >= 2
    assert set(places) == {0}


def test_the_same_numbers_are_written_once(tmp_path):
    """Each kernel and each bias has a zero point of 8 bytes a channel, all of them 0."""
    channels = 1024
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(channels, 3, activation="relu")(inputs)
    x = keras.layers.DepthwiseConv2D(2, activation="relu")(x)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    content = export_tflite(
        keras.Model(inputs, CalibratedSoftmax()(x)),
        tmp_path / "int8.tflite",
        precision="int8",
        calibration_images=images,
    ).read_bytes()
    # What the code generated from the schema writes, which shares nothing.
    builder = flatbuffers.Builder()
    builder.Finish(read_model(content).Pack(builder), file_identifier=b"TFL3")
    unshared = bytes(builder.Output())
    kernels_and_biases = 2 * 2
    saved = len(unshared) - len(content)
    assert saved > (kernels_and_biases - 1) * channels * 8
    before, after = (
        {
            tensor.name: (tensor.quantization.scale, tensor.quantization.zeroPoint)
            for tensor in read_model(file).subgraphs[0].tensors
            if tensor.quantization is not None
        }
        for file in (unshared, content)
    )
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    np.testing.assert_array_equal(run(content, images[:1]), run(unshared, images[:1]))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: converted(lambda x: tf.nn.softmax(x)), id="float"),
        pytest.param(lambda: converted(lambda x: 2 * x, int8=True), id="no softmax"),
        pytest.param(
            lambda: converted(lambda x: tf.nn.softmax(x)[:, :2], int8=True), id="softmax inside"
        ),
        pytest.param(lambda: converted(lambda x: -x), id="one operation"),
    ],
)
def test_other_endings_stay_as_they_are(content):
    content = content()
    assert with_float_softmax(content) is content


def test_captured_output_is_shown_only_on_failure(capfd):
    import os

    with captured_output():
        os.write(1, b"from C\n")
        print("from Python")
    assert capfd.readouterr() == ("", "")

    def fail(error):
        os.write(2, b"from C\n")
        print("from Python")
        raise error

    with pytest.raises(KeyError), captured_output(understood=KeyError):
        fail(KeyError("known"))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError), captured_output(understood=KeyError):
        fail(ZeroDivisionError())
    out, err = capfd.readouterr()
    assert out == ""
    assert "from C" in err
    assert "from Python" in err
    print("works again")
    assert capfd.readouterr().out == "works again\n"


def test_logging_that_begins_while_output_is_captured_goes_on_after_it(capfd, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    with captured_output():
        logging.basicConfig()  # as absl does, when it has something to say
    logging.getLogger("mine").warning("heard")
    written = capfd.readouterr().err
    assert "heard" in written
    assert "Logging error" not in written
