"""Every layer becomes a TFLite file of built-in operations that computes the same."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from recipes import layers
from tuning.conversion import convert

IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 8)).astype("float32")

LAYERS = {
    "squeeze excite": layers.SqueezeExcite(2, activation="hard_swish", gate="hard_sigmoid"),
    "eca": layers.EfficientChannelAttention(),
    "cbam": layers.ConvolutionalBlockAttention(2, 3),
    "layer scale": layers.LayerScale(0.1),
    "basic": layers.BasicResidual(8, 2, attention="squeeze_excite"),
    "basic v2": layers.BasicResidual(16, 2, version="v2", shortcut="A"),
    "bottleneck": layers.BottleneckResidual(4, 2, shortcut="D", stochastic_depth=0.2),
    "inverted": layers.InvertedResidual(8, squeeze_excite=True),
    "separable": layers.DepthwiseSeparable(8, strides=2),
    "inception": layers.Inception(2, 3, 4, 2, 3, 2),
    "plain": layers.PlainBlock(4, pool=True, activation="gelu"),
    "non-local": layers.NonLocal(subsample=True, zero_init_residual=False),
    "blur": layers.BlurPooling(),
    "gem": layers.GeneralizedMeanPooling(),
    **{
        f"norm {kind}": layers.ConvNormActivation(8, norm=kind, norm_groups=4, activation="silu")
        for kind in ("layer", "instance", "group", "channel", "none")
    },
}


def make_model(layer):
    inputs = keras.Input(IMAGES.shape[1:], name="images")
    return keras.Model(inputs, layer(inputs))


def run(content, images):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    outputs = []
    for image in images:
        interpreter.set_tensor(place, image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    names = [operation["op_name"] for operation in interpreter._get_ops_details()]
    return np.stack(outputs), [name for name in names if name != "DELEGATE"]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.sampled(4)
def test_layer(name):
    model = make_model(LAYERS[name])
    outputs, _ = run(convert(model, None), IMAGES)
    np.testing.assert_allclose(outputs, model(IMAGES), atol=2e-5)


def test_merge():
    inputs = keras.Input(IMAGES.shape[1:], name="images")
    model = keras.Model(inputs, layers.Merge("gated")([inputs, keras.layers.ReLU()(inputs)]))
    outputs, _ = run(convert(model, None), IMAGES)
    np.testing.assert_allclose(outputs, model(IMAGES), atol=2e-5)


def test_normalisation_and_activation_are_folded_into_the_convolutions():
    _, names = run(convert(make_model(layers.BasicResidual(8)), None), IMAGES)
    assert names == ["CONV_2D", "CONV_2D", "ADD"]
    _, names = run(convert(make_model(layers.DepthwiseSeparable(8)), None), IMAGES)
    assert names == ["DEPTHWISE_CONV_2D", "CONV_2D"]
    _, names = run(convert(make_model(layers.BlurPooling()), None), IMAGES)
    assert names == ["MIRROR_PAD", "DEPTHWISE_CONV_2D"]
