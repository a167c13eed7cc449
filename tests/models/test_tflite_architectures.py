"""The larger networks, converted: builtin operations alone, and the same outputs."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from recipes.models import build_model


@pytest.mark.parametrize(
    ("name", "arguments", "without"),
    [
        pytest.param(
            "alexnet", {"input_shape": (63, 63, 3), "dense_units": 16}, (), marks=pytest.mark.slow
        ),
        pytest.param("googlenet", {}, ("MUL",), marks=pytest.mark.slow),
        ("mobilenet", {"width": 0.25}, ("MUL", "RELU6")),
        pytest.param("mobilenet_v2", {}, ("MUL", "RELU6"), marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0", {}, ("MUL", "RELU6"), marks=pytest.mark.slow),
        pytest.param("convnext_tiny", {}, ("ERF",), marks=pytest.mark.slow),
        # Its channels come in the other order.
        pytest.param("keras:ResNet50", {}, ("GATHER",), marks=pytest.mark.slow),
        pytest.param("keras:MobileNetV3Small", {}, (), marks=pytest.mark.slow),
    ],
)
@pytest.mark.sampled(1, 4)
def test_conversion(name, arguments, without):
    model = build_model(name, **{"input_shape": (32, 32, 3), "classes": 5, **arguments})
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    names = [operation["op_name"] for operation in interpreter._get_ops_details()]
    # The normalisation of the images is all that is left of elementwise multiplication.
    assert all(names.count(operation) <= (operation == "MUL") for operation in without), names
    image = np.random.default_rng(0).uniform(0, 255, (1, *model.input_shape[1:])).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    outputs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(outputs, model.predict(image, verbose=0), atol=1e-4)
