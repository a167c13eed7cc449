"""What the models and their layers become in a TFLite file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from recipes.layers import ChannelNormalization, FusedBatchNormalization
from recipes.models import build_model

# The converter says so whenever the inputs of the int8 file stay float32, as they do here.
pytestmark = pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")


def convert(model, *, images=None):
    """Return an interpreter of the model: float32, or int8 throughout if there are images."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if images is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    return interpreter


def operations(interpreter):
    names = [operation["op_name"] for operation in interpreter._get_ops_details()]
    return [name for name in names if name != "DELEGATE"]


def run(interpreter, images):
    outputs = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(outputs)


def make_images(shape, count=8):
    return np.random.default_rng(0).uniform(0, 255, (count, *shape)).astype("float32")


@pytest.fixture
def block():
    """Return convolution, fused batch normalisation and ReLU, with weights that all matter."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, padding="same", use_bias=False),
            FusedBatchNormalization(),
            keras.layers.ReLU(),
        ]
    )
    random = np.random.default_rng(0)
    model.layers[1].set_weights([random.uniform(0.5, 2, 4) for _ in range(4)])
    return model


def test_batch_normalization_is_folded_into_the_convolution(block):
    images = make_images((8, 8, 3))
    interpreter = convert(block)
    assert operations(interpreter) == ["CONV_2D"]
    np.testing.assert_allclose(
        run(interpreter, images), block.predict(images, verbose=0), rtol=1e-4, atol=1e-3
    )


def test_batch_normalization_is_folded_in_int8(block):
    assert operations(convert(block, images=make_images((8, 8, 3)))).count("CONV_2D") == 1


def test_normalization_in_int8():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), ChannelNormalization([120.0, 110.0, 100.0], [3500.0] * 3)]
    )
    images = make_images((8, 8, 3), 100)
    interpreter = convert(model, images=images)
    assert set(operations(interpreter)) <= {"QUANTIZE", "DEQUANTIZE", "SUB", "MUL", "ADD"}
    # The range is some 4.7 wide; an int8 step is 1/255 of it, and three roundings lie on the way.
    error = np.abs(run(interpreter, images[:4]) - model.predict(images[:4], verbose=0))
    assert error.max() < 3 * 4.7 / 255


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet20", {"input_shape": (28, 28, 1)}),
        ("resnet9", {"input_shape": (28, 28, 1), "width": 8}),
        pytest.param(
            "resnet18", {"input_shape": (32, 32, 3), "classes": 10}, marks=pytest.mark.slow
        ),
        ("vgg11_bn", {"input_shape": (32, 32, 3), "classes": 10, "dense_units": 16}),
    ],
)
@pytest.mark.sampled(1)
def test_models_need_only_builtin_operations(name, arguments):
    model = build_model(name, **arguments, dropout=0.1)
    images = make_images(model.input_shape[1:])
    interpreter = convert(model)
    names = operations(interpreter)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert names.count("CONV_2D") == len(convolutions)
    assert not any(name.startswith("Flex") for name in names)
    # The normalisation of the images is all that is left of elementwise arithmetic.
    assert names.count("MUL") <= 1
    assert names.count("SUB") + names.count("ADD") - _additions(model) <= 1
    np.testing.assert_allclose(
        run(interpreter, images), model.predict(images, verbose=0), atol=1e-4
    )


def _additions(model):
    return sum(isinstance(layer, keras.layers.Add) for layer in model.layers)
