import re

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import StochasticDepth
from recipes.models import build_convnext
from recipes.models._symbolic import without_values

SMALL = {
    "input_shape": (32, 32, 3),
    "classes": 5,
    "mean": [120.0] * 3,
    "variance": [4000.0] * 3,
}


def symbolic(*arguments, **keywords):
    """Build a model whose variables have shapes but no values."""
    return without_values(build_convnext, *arguments, **keywords)


@pytest.mark.parametrize(
    ("variant", "parameters"),
    # torchvision's weight metadata
    [
        ("tiny", 28_589_128),
        ("small", 50_223_688),
        ("base", 88_591_464),
        ("large", 197_767_336),
    ],
)
def test_parameter_counts(variant, parameters):
    weights = symbolic(variant).trainable_weights
    assert sum(int(np.prod(weight.shape)) for weight in weights) == parameters


def name_in_keras(name):
    """Return what keras.applications calls the same layer."""
    fixed = {
        "stem_conv": "stem_conv",
        "stem_norm": "stem_layernorm",
        "head_norm": "head_layernorm",
        "logits": "head_dense",
    }
    parts = {
        "depthwise_conv": "depthwise_conv",
        "norm": "layernorm",
        "expand_conv": "pointwise_conv_1",
        "project_conv": "pointwise_conv_2",
        "scale": "layer_scale",
    }
    if name in fixed:
        return fixed[name]
    if match := re.fullmatch(r"stage(\d)_downsample_(norm|conv)", name):
        kind = {"norm": "layernorm", "conv": "conv"}[match[2]]
        return f"downsampling_{kind}_{int(match[1]) - 2}"
    stage, block, part = re.fullmatch(r"stage(\d)_block(\d)_(\w+)", name).groups()
    return f"stage_{int(stage) - 1}_block_{int(block) - 1}_{parts[part]}"


@pytest.mark.slow
def test_outputs_equal_those_of_keras():
    arguments = {"input_shape": (32, 32, 3), "classes": 7, "classifier_activation": None}
    theirs = keras.applications.ConvNeXtTiny(**arguments, weights=None)
    ours = build_convnext("tiny", **arguments)
    layers = {}
    for layer in theirs.layers:
        for inner in layer.layers if isinstance(layer, keras.Sequential) else [layer]:
            layers[inner.name.removeprefix("convnext_tiny_")] = inner
    random = np.random.default_rng(0)
    for layer in ours.layers:
        if not layer.weights:
            continue
        twin = layers[name_in_keras(layer.name)]
        arrays = [
            random.standard_normal(weight.shape, "float32") / np.prod(weight.shape[:-1]) ** 0.5
            if len(weight.shape) > 1
            else random.uniform(0.3, 0.9, weight.shape)
            for weight in twin.weights
        ]
        twin.set_weights(arrays)
        if "depthwise" in layer.name:  # there a convolution in groups of one channel
            arrays[0] = arrays[0].transpose(0, 1, 3, 2)
        shapes = [weight.shape for weight in layer.weights]
        layer.set_weights([array.reshape(s) for array, s in zip(arrays, shapes, strict=True)])
    images = random.uniform(0, 255, (2, 32, 32, 3))
    expected = theirs.predict(images, verbose=0)
    np.testing.assert_allclose(ours(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
def test_checks(check_model):
    check_model(lambda **more: build_convnext("tiny", **more), **SMALL, layer_scale=0.5)


def test_stochastic_depth_grows_linearly_from_0_to_the_last_block():
    model = symbolic("tiny", **SMALL, stochastic_depth=0.34)
    rates = [layer.rate for layer in model.layers if isinstance(layer, StochasticDepth)]
    np.testing.assert_allclose(rates, np.linspace(0, 0.34, 18)[1:])


def test_layer_scale():
    assert symbolic("tiny", **SMALL).get_layer("stage3_block9_scale").initial == 1e-6
    names = [layer.name for layer in symbolic("tiny", **SMALL, layer_scale=None).layers]
    assert not any(name.endswith("_scale") for name in names)


def test_the_head_is_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = symbolic("tiny", **SMALL, classifier_activation=None)
    assert model.outputs[0].dtype == "float32"
    assert model.get_layer("head_norm").compute_dtype == "float32"
    assert model.get_layer("stage2_block1_norm").compute_dtype == "float16"


@pytest.mark.parametrize(
    ("pooling", "shape"), [(None, (None, None, None, 768)), ("max", (None, 768))]
)
def test_without_top(pooling, shape):
    arguments = {"input_shape": (None, None, 3), "include_top": False, "pooling": pooling}
    assert symbolic("tiny", **arguments).output_shape == shape


@pytest.mark.parametrize(
    ("variant", "arguments", "message"),
    [
        ("nano", {}, "variant must be one of tiny, small, base, large, received: 'nano'"),
        ("tiny", {"layer_scale": 0}, "layer_scale must be above 0 and at most 1, received: 0"),
        ("tiny", {"layer_scale": "no"}, "layer_scale must be a number or None, received: 'no'"),
        ("tiny", {"input_shape": (31, 31, 3)}, "at least 32 pixels a side"),
        ("tiny", {"stochastic_depth": 1}, r"stochastic_depth must be in \[0, 1\)"),
    ],
)
def test_wrong_arguments(variant, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_convnext(variant, **arguments)
