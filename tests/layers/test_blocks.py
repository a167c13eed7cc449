"""The blocks of convolutions: the checks of every layer, and their equations in NumPy."""

import keras
import numpy as np
import pytest
import scipy.special

from recipes.errors import ConfigError
from recipes.layers import (
    ConvNormActivation,
    DepthwiseSeparable,
    Inception,
    InvertedResidual,
    PlainBlock,
    SqueezeExcite,
)

IMAGES = np.random.default_rng(0).normal(size=(3, 7, 6, 4)).astype("float32")

LAYERS = {
    "conv": (ConvNormActivation, {"filters": 6}),
    "conv, strides, group": (
        ConvNormActivation,
        {"filters": 6, "kernel_size": 5, "strides": 2, "norm": "group", "norm_groups": 3},
    ),
    "conv, no norm": (
        ConvNormActivation,
        {"filters": 6, "norm": "none", "activation": None, "initialization": "xavier"},
    ),
    "plain": (PlainBlock, {"filters": 6, "convolutions": 3, "strides": 2, "norm": "layer"}),
    "plain, pool": (PlainBlock, {"filters": 6, "pool": True, "activation": "elu"}),
    "separable": (DepthwiseSeparable, {"filters": 6, "strides": 2, "kernel_size": 5}),
    "inverted": (
        InvertedResidual,
        {"filters": 4, "expansion": 3, "squeeze_excite": True, "squeeze_ratio": 6},
    ),
    "inverted, strides": (
        InvertedResidual,
        {"filters": 6, "expansion": 1, "strides": 2, "norm": "instance", "activation": "silu"},
    ),
    "inception": (
        Inception,
        {
            "ones": 2,
            "reduced_threes": 3,
            "threes": 4,
            "reduced_fives": 2,
            "fives": 3,
            "pooled": 2,
            "norm": "none",
        },
    ),
}


@pytest.mark.parametrize(("layer_class", "arguments"), LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.sampled(2)
def test_layer(check_layer, layer_class, arguments):
    check_layer(layer_class, arguments, images=IMAGES)


def relu(x):
    return np.maximum(x, 0)


def assert_outputs(layer, expected):
    outputs = np.asarray(layer(IMAGES))
    assert outputs.shape == expected.shape
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


FUNCTIONS = {
    "relu": relu,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": scipy.special.expit,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    None: lambda x: x,
}


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_activations(arithmetic, activation):
    layer = ConvNormActivation(5, strides=2, norm="none", activation=activation)
    arithmetic.randomized(layer, IMAGES.shape)
    inputs = 4 * IMAGES  # beyond 6, too
    expected = arithmetic.convolution(inputs, arithmetic.parts(layer)["conv"], 2)
    assert expected.max() > 6
    assert expected.min() < -3
    np.testing.assert_allclose(layer(inputs), FUNCTIONS[activation](expected), atol=2e-5)


@pytest.mark.parametrize("norm", ["batch", "layer", "instance", "group", "channel", "none"])
def test_normalizations(arithmetic, norm):
    layer = ConvNormActivation(6, 5, norm=norm, norm_groups=3, activation="leaky_relu")
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    x = arithmetic.convolution(IMAGES, parts["conv"])
    assert ("bias" in parts["conv"]) == (norm == "none")
    if norm == "batch":
        x = arithmetic.batch_norm(x, parts["bn"])
    elif norm == "channel":
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        x = (x - mean) / np.sqrt(variance + 1e-5) * parts["norm"]["gamma"] + parts["norm"]["beta"]
    elif norm != "none":
        groups = {"layer": 1, "instance": 6, "group": 3}[norm]
        x = arithmetic.group_norm(x, parts["norm"], groups)
    assert_outputs(layer, FUNCTIONS["leaky_relu"](x))


def test_convolutions_are_padded_evenly():
    """As PyTorch pads: with stride 2, an even size starts one pixel before Keras' "same"."""
    layer = ConvNormActivation(1, strides=2, norm="none", activation=None)
    image = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    layer.build(image.shape)
    kernel = np.zeros((3, 3, 1, 1))
    kernel[1, 1] = 1  # takes the pixel in the middle
    layer.set_weights([kernel, np.zeros(1)])
    np.testing.assert_array_equal(layer(image)[0, :, :, 0], [[0, 2], [8, 10]])


def test_plain_block(arithmetic):
    layer = arithmetic.randomized(PlainBlock(5, strides=2, pool=True), IMAGES.shape)
    parts = arithmetic.parts(layer)
    x = arithmetic.convolution(IMAGES, parts["conv1"], 2)
    x = relu(arithmetic.batch_norm(x, parts["bn1"]))
    x = relu(arithmetic.batch_norm(arithmetic.convolution(x, parts["conv2"]), parts["bn2"]))
    assert_outputs(layer, arithmetic.max_pool(x, 2, 2))


def test_zero_initialised_inverted_residual():
    layer = InvertedResidual(4, zero_init_residual=True)
    np.testing.assert_array_equal(layer(IMAGES), IMAGES)
    layer = InvertedResidual(4, strides=2, zero_init_residual=True)
    assert np.abs(layer(IMAGES)).max() > 0.01


def test_depthwise_separable(arithmetic):
    layer = arithmetic.randomized(DepthwiseSeparable(6, strides=2), IMAGES.shape)
    parts = arithmetic.parts(layer)
    x = arithmetic.depthwise(IMAGES, parts["depthwise"], 2)
    x = relu(arithmetic.batch_norm(x, parts["depthwise_bn"]))
    x = arithmetic.convolution(x, parts["pointwise_conv"])
    assert_outputs(layer, relu(arithmetic.batch_norm(x, parts["pointwise_bn"])))


@pytest.mark.parametrize(("filters", "strides", "expansion"), [(4, 1, 3), (5, 1, 3), (4, 2, 1)])
def test_inverted_residual(arithmetic, filters, strides, expansion):
    layer = InvertedResidual(filters, expansion, strides=strides, kernel_size=5)
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    relu6 = FUNCTIONS["relu6"]
    x = IMAGES
    assert ("expand_conv" in parts) == (expansion > 1)
    if expansion > 1:
        x = arithmetic.convolution(x, parts["expand_conv"])
        x = relu6(arithmetic.batch_norm(x, parts["expand_bn"]))
    x = arithmetic.depthwise(x, parts["depthwise"], strides)
    x = relu6(arithmetic.batch_norm(x, parts["depthwise_bn"]))
    x = arithmetic.convolution(x, parts["project_conv"])
    x = arithmetic.batch_norm(x, parts["project_bn"])
    assert_outputs(layer, x + IMAGES if (filters, strides) == (4, 1) else x)


def test_squeeze_ratio_counts_the_channels_inside():
    # EfficientNet-B0's block 2b: 24 channels in, 144 inside, 6 squeezed.
    layer = InvertedResidual(24, squeeze_excite=True, squeeze_ratio=24, activation="silu")
    layer.build((None, 8, 8, 24))
    (squeeze,) = (part for part in layer._flatten_layers() if isinstance(part, SqueezeExcite))
    assert squeeze.reduce.filters == 6
    expand, depthwise, project = 24 * 144 + 2 * 144, 9 * 144 + 2 * 144, 144 * 24 + 2 * 24
    inside = expand + depthwise + (144 * 6 + 6) + (6 * 144 + 144) + project
    assert sum(np.prod(weight.shape) for weight in layer.trainable_weights) == inside


def test_inception(arithmetic):
    layer = Inception(2, 3, 4, 2, 3, 2, activation="relu")
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))

    def unit(x, branch, place=""):
        x = arithmetic.convolution(x, parts[f"branch{branch}_conv{place}"])
        return relu(arithmetic.batch_norm(x, parts[f"branch{branch}_bn{place}"]))

    pooled = arithmetic.max_pool(IMAGES, 3, 1, margin=1)
    branches = [
        unit(IMAGES, 1),
        unit(unit(IMAGES, 2, 1), 2, 2),
        unit(unit(IMAGES, 3, 1), 3, 2),
        unit(pooled, 4),
    ]
    assert_outputs(layer, np.concatenate(branches, -1))


def test_inception_3a_has_the_parameters_of_the_paper():
    # Szegedy et al., table 1: "159K" parameters for 3a on 192 channels, biases not counted.
    layer = Inception(64, 96, 128, 16, 32, 32, norm="none")
    layer.build((None, 28, 28, 192))
    biases = 64 + 96 + 128 + 16 + 32 + 32
    kernels = 192 * 64 + 192 * 96 + 9 * 96 * 128 + 192 * 16 + 25 * 16 * 32 + 192 * 32
    assert layer.count_params() == kernels + biases


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
def test_half_precision_agrees_with_single(arithmetic, policy):
    for layer_class, arguments in LAYERS.values():
        arithmetic.assert_half_precision_agrees(layer_class, arguments, policy, IMAGES)


@pytest.mark.parametrize(
    ("layer_class", "arguments", "message"),
    [
        (ConvNormActivation, {"filters": 0}, "filters must be a positive integer, received: 0"),
        (ConvNormActivation, {"filters": 8, "norm": "bath"}, "did you mean 'batch'"),
        (ConvNormActivation, {"filters": 8, "norm": None}, "norm must be one of 'batch'"),
        (ConvNormActivation, {"filters": 8, "activation": "swish"}, "activation must be one of"),
        (ConvNormActivation, {"filters": 8, "kernel_size": 2}, "kernel_size must be a positive od"),
        (ConvNormActivation, {"filters": 8, "strides": 1.0}, "strides must be a positive integer"),
        (ConvNormActivation, {"filters": 8, "norm_groups": 0}, "norm_groups must be a positive"),
        (ConvNormActivation, {"filters": 8, "initialization": "hee"}, "did you mean 'he'"),
        (PlainBlock, {"filters": 8, "convolutions": 0}, "convolutions must be a positive"),
        (PlainBlock, {"filters": 8, "pool": 1}, "pool must be True or False, received: 1"),
        (InvertedResidual, {"filters": 8, "squeeze_excite": "yes"}, "squeeze_excite must be True"),
        (DepthwiseSeparable, {"filters": 8, "kernel_size": -3}, "kernel_size must be a positive"),
        (Inception, {**LAYERS["inception"][1], "threes": 0}, "threes must be a positive integer"),
    ],
)
def test_wrong_arguments(layer_class, arguments, message):
    with pytest.raises(ConfigError, match=message):
        layer_class(**arguments)


def test_groups_that_do_not_divide_the_channels():
    layer = ConvNormActivation(6, norm="group")
    with pytest.raises(ConfigError, match="norm_groups must divide the 6 channels"):
        layer(IMAGES)
    with pytest.raises(ConfigError, match="norm_groups must divide the 6 channels"):
        type(layer).from_config(layer.get_config()).inline(keras.Input((8, 8, 4)))
