"""Residual blocks: the checks of every layer, and their equations in NumPy."""

import keras
import numpy as np
import pytest
import scipy.special

from recipes.errors import ConfigError
from recipes.layers import BasicResidual, BottleneckResidual, StochasticDepth

IMAGES = np.random.default_rng(0).normal(size=(3, 7, 6, 4)).astype("float32")

LAYERS = {
    "basic": (BasicResidual, {"filters": 4}),
    "basic v2": (BasicResidual, {"filters": 8, "strides": 2, "version": "v2", "shortcut": "A"}),
    "basic, cbam": (BasicResidual, {"filters": 4, "attention": "cbam", "attention_ratio": 2}),
    "basic, drop": (
        BasicResidual,
        {"filters": 4, "stochastic_depth": 0.3, "dropout": 0.2, "norm": "none"},
    ),
    "bottleneck v1": (
        BottleneckResidual,
        {"filters": 2, "strides": 2, "version": "v1", "shortcut": None},
    ),
    "bottleneck v1.5": (
        BottleneckResidual,
        {
            "filters": 4,
            "expansion": 2,
            "widening": 2,
            "strides": 2,
            "shortcut": "D",
            "attention": "eca",
        },
    ),
    "bottleneck v2": (
        BottleneckResidual,
        {
            "filters": 2,
            "expansion": 2,
            "version": "v2",
            "norm": "channel",
            "activation": "gelu",
            "activated_inputs": True,
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


@pytest.mark.parametrize(("strides", "filters"), [(1, 4), (2, 6)])
def test_basic_v1(arithmetic, strides, filters):
    layer = arithmetic.randomized(BasicResidual(filters, strides), IMAGES.shape)
    parts = arithmetic.parts(layer)
    x = arithmetic.convolution(IMAGES, parts["conv1"], strides)
    x = relu(arithmetic.batch_norm(x, parts["bn1"]))
    x = arithmetic.batch_norm(arithmetic.convolution(x, parts["conv2"]), parts["bn2"])
    side = IMAGES
    assert ("shortcut_conv" in parts) == (strides == 2)
    if strides == 2:
        side = arithmetic.convolution(IMAGES, parts["shortcut_conv"], strides)
        side = arithmetic.batch_norm(side, parts["shortcut_bn"])
    assert_outputs(layer, relu(x + side))


def test_basic_with_padded_shortcut_and_squeeze_excite(arithmetic):
    layer = BasicResidual(7, 2, shortcut="A", attention="squeeze_excite", attention_ratio=3)
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    x = arithmetic.convolution(IMAGES, parts["conv1"], 2)
    x = relu(arithmetic.batch_norm(x, parts["bn1"]))
    x = arithmetic.batch_norm(arithmetic.convolution(x, parts["conv2"]), parts["bn2"])
    squeezed = x.mean((1, 2), keepdims=True)
    gate = arithmetic.convolution(squeezed, parts["se_reduce"])
    gate = scipy.special.expit(arithmetic.convolution(relu(gate), parts["se_expand"]))
    side = np.zeros(x.shape)
    side[..., 1:5] = IMAGES[:, ::2, ::2]
    assert_outputs(layer, relu(x * gate + side))


@pytest.mark.parametrize(("strides", "filters"), [(1, 4), (2, 6)])
def test_basic_v2(arithmetic, strides, filters):
    layer = BasicResidual(filters, strides, version="v2")
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    before = relu(arithmetic.batch_norm(IMAGES, parts["bn1"]))
    x = arithmetic.convolution(before, parts["conv1"], strides)
    x = arithmetic.convolution(relu(arithmetic.batch_norm(x, parts["bn2"])), parts["conv2"])
    side = IMAGES
    if strides == 2:
        side = arithmetic.convolution(before, parts["shortcut_conv"], strides)
    assert "shortcut_bn" not in parts
    assert_outputs(layer, x + side)


@pytest.mark.parametrize(("strides", "filters"), [(1, 4), (2, 6)])
def test_v2_on_activated_inputs(arithmetic, strides, filters):
    """As He et al. and Zagoruyko begin: the branch and a projection take the stem's outputs."""
    layer = BasicResidual(filters, strides, version="v2", activated_inputs=True)
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    assert "bn1" not in parts
    x = arithmetic.convolution(IMAGES, parts["conv1"], strides)
    x = arithmetic.convolution(relu(arithmetic.batch_norm(x, parts["bn2"])), parts["conv2"])
    side = IMAGES
    if strides == 2:
        side = arithmetic.convolution(IMAGES, parts["shortcut_conv"], strides)
    assert_outputs(layer, x + side)


def test_without_shortcut(arithmetic):
    layer = BasicResidual(4, shortcut=None)
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    x = relu(arithmetic.batch_norm(arithmetic.convolution(IMAGES, parts["conv1"]), parts["bn1"]))
    x = arithmetic.batch_norm(arithmetic.convolution(x, parts["conv2"]), parts["bn2"])
    assert_outputs(layer, relu(x))


@pytest.mark.parametrize(
    ("layer_class", "version", "last"),
    [(BasicResidual, "v1", 2), (BasicResidual, "v2", 2), (BottleneckResidual, "v1.5", 3)],
)
def test_dropout_is_before_the_last_convolution(layer_class, version, last):
    inputs = keras.Input((8, 8, 4))
    block = layer_class(4, version=version, dropout=0.3, name="block")
    model = keras.Model(inputs, block.inline(inputs))
    dropout = model.get_layer("block_dropout")
    place = last if version == "v2" else last - 1
    assert dropout.rate == 0.3
    assert dropout.input is model.get_layer(f"block_relu{place}").output
    assert model.get_layer(f"block_conv{last}").input is dropout.output


def test_seeds_are_drawn_in_the_order_of_the_parts():
    """So that a seed gives the same network, whether its blocks are inlined or not."""
    keras.utils.set_random_seed(7)
    expected = [keras.initializers.HeNormal().seed for _ in range(6)]
    inputs = keras.Input((8, 8, 32))
    keras.utils.set_random_seed(7)
    block = BasicResidual(16, attention="cbam", name="block")
    model = keras.Model(inputs, block.inline(inputs))
    names = "conv1", "conv2", "cbam_channel_reduce", "cbam_channel_expand", "cbam_spatial_conv"
    layers = [model.get_layer(f"block_{name}") for name in (*names, "shortcut_conv")]
    assert [layer.kernel_initializer.seed for layer in layers] == expected


@pytest.mark.parametrize(("version", "steps"), [("v1", (2, 1)), ("v1.5", (1, 2))])
def test_bottleneck(arithmetic, version, steps):
    layer = BottleneckResidual(3, 2, expansion=2, widening=3, version=version)
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    kernels = [parts[f"conv{number}"]["kernel"].shape for number in (1, 2, 3)]
    assert kernels == [(1, 1, 4, 9), (3, 3, 9, 9), (1, 1, 9, 6)]
    x = relu(
        arithmetic.batch_norm(
            arithmetic.convolution(IMAGES, parts["conv1"], steps[0]), parts["bn1"]
        )
    )
    x = arithmetic.convolution(x, parts["conv2"], steps[1])
    x = relu(arithmetic.batch_norm(x, parts["bn2"]))
    x = arithmetic.batch_norm(arithmetic.convolution(x, parts["conv3"]), parts["bn3"])
    side = arithmetic.convolution(IMAGES, parts["shortcut_conv"], 2)
    assert_outputs(layer, relu(x + arithmetic.batch_norm(side, parts["shortcut_bn"])))


def test_bottleneck_v2(arithmetic):
    layer = BottleneckResidual(3, 2, expansion=2, version="v2")
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    before = relu(arithmetic.batch_norm(IMAGES, parts["bn1"]))
    x = arithmetic.convolution(before, parts["conv1"])
    x = arithmetic.convolution(relu(arithmetic.batch_norm(x, parts["bn2"])), parts["conv2"], 2)
    x = arithmetic.convolution(relu(arithmetic.batch_norm(x, parts["bn3"])), parts["conv3"])
    assert_outputs(layer, x + arithmetic.convolution(before, parts["shortcut_conv"], 2))


def test_shortcut_with_average_pooling(arithmetic):
    layer = BottleneckResidual(2, 2, shortcut="D")
    parts = arithmetic.parts(arithmetic.randomized(layer, (None, 8, 6, 4)))
    images = np.random.default_rng(1).normal(size=(2, 8, 6, 4))
    # With the last normalisation at 0 only the shortcut is left.
    for weight in layer.weights:
        if weight.path.endswith(("bn3/gamma", "bn3/beta")):
            weight.assign(np.zeros(weight.shape))
    pooled = images.reshape(2, 4, 2, 3, 2, 4).mean((2, 4))
    side = arithmetic.batch_norm(
        arithmetic.convolution(pooled, parts["shortcut_conv"]), parts["shortcut_bn"]
    )
    np.testing.assert_allclose(layer(images), relu(side), atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("layer_class", [BasicResidual, BottleneckResidual])
def test_zero_initialised_branches_start_as_the_identity(layer_class, version, norm):
    channels = 4 if layer_class is BasicResidual else 16
    images = np.abs(np.random.default_rng(0).normal(size=(2, 5, 5, channels))).astype("float32")
    layer = layer_class(4, version=version, norm=norm, zero_init_residual=True)
    for training in (False, True):
        np.testing.assert_array_equal(layer(images, training=training), images)
    other = layer_class(4, version=version, norm=norm)
    assert np.abs(other(images) - images).max() > 0.1


def test_stochastic_depth_leaves_the_shortcut():
    layer = BasicResidual(4, version="v2", stochastic_depth=0.9)
    images = np.random.default_rng(0).normal(size=(64, 3, 3, 4)).astype("float32")
    same = (layer(images, training=True).numpy() == images).all((1, 2, 3))
    assert 48 <= same.sum() < 64
    assert not (layer(images).numpy() == images).all((1, 2, 3)).any()
    assert any(isinstance(part, StochasticDepth) for part in layer._flatten_layers())


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)]
)
def test_half_precision_agrees_with_single(arithmetic, policy):
    for layer_class, arguments in LAYERS.values():
        arithmetic.assert_half_precision_agrees(layer_class, arguments, policy, IMAGES)


@pytest.mark.parametrize(
    ("layer_class", "arguments", "message"),
    [
        (BasicResidual, {"filters": 8, "version": "v3"}, "version must be one of 'v1', 'v1.5'"),
        (BasicResidual, {"filters": 8, "shortcut": "C"}, "shortcut must be one of 'A', 'B', 'D'"),
        (BasicResidual, {"filters": 8, "attention": "se"}, "attention must be one of None"),
        (BasicResidual, {"filters": 8, "stochastic_depth": 1}, r"stochastic_depth must be in \[0,"),
        (BasicResidual, {"filters": 8, "dropout": 1}, r"dropout must be in \[0, 1\), received: 1"),
        (BasicResidual, {"filters": 8, "activated_inputs": True}, "for version 'v2', .* 'v1'"),
        (BottleneckResidual, {"filters": 8, "expansion": 0}, "expansion must be a positive"),
        (BottleneckResidual, {"filters": 8, "widening": 0.5}, "widening must be a positive"),
        (BottleneckResidual, {"filters": 8, "zero_init_residual": 1}, "zero_init_residual must be"),
    ],
)
def test_wrong_arguments(layer_class, arguments, message):
    with pytest.raises(ConfigError, match=message):
        layer_class(**arguments)


def test_padded_shortcuts_cannot_lose_channels():
    layer = BasicResidual(2, shortcut="A")
    with pytest.raises(ConfigError, match="cannot lead from 4 channels to 2"):
        layer(IMAGES)
    with pytest.raises(ConfigError, match="cannot lead from 4 channels to 2"):
        type(layer).from_config(layer.get_config()).inline(keras.Input((8, 8, 4)))
