"""The blocks of convolutions: the checks of every layer, and their equations in NumPy."""

import keras
import numpy as np
import pytest
import scipy.special

from recipes.errors import ConfigError
from recipes.layers import (
    BasicResidual,
    BottleneckResidual,
    ConvNormActivation,
    DepthwiseSeparable,
    Inception,
    InvertedResidual,
    PlainBlock,
    SqueezeExcite,
    StochasticDepth,
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


def test_zero_initialised_inverted_residual():
    layer = InvertedResidual(4, zero_init_residual=True)
    np.testing.assert_array_equal(layer(IMAGES), IMAGES)
    layer = InvertedResidual(4, strides=2, zero_init_residual=True)
    assert np.abs(layer(IMAGES)).max() > 0.01


def test_stochastic_depth_leaves_the_shortcut():
    layer = BasicResidual(4, version="v2", stochastic_depth=0.9)
    images = np.random.default_rng(0).normal(size=(64, 3, 3, 4)).astype("float32")
    same = (layer(images, training=True).numpy() == images).all((1, 2, 3))
    assert 48 <= same.sum() < 64
    assert not (layer(images).numpy() == images).all((1, 2, 3)).any()
    assert any(isinstance(part, StochasticDepth) for part in layer._flatten_layers())


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


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_agrees_with_single(arithmetic, policy):
    for layer_class, arguments in LAYERS.values():
        full = arithmetic.randomized(layer_class(**arguments), IMAGES.shape)
        half = layer_class(**arguments, dtype=policy)
        half.build(IMAGES.shape)
        half.set_weights(full.get_weights())
        expected = np.asarray(full(IMAGES))
        difference = np.abs(np.asarray(half(IMAGES), "float32") - expected).max()
        assert difference < 0.05 * np.abs(expected).max(), (layer_class, difference)


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
        (BasicResidual, {"filters": 8, "version": "v3"}, "version must be one of 'v1', 'v1.5'"),
        (BasicResidual, {"filters": 8, "shortcut": "C"}, "shortcut must be one of 'A', 'B', 'D'"),
        (BasicResidual, {"filters": 8, "attention": "se"}, "attention must be one of None"),
        (BasicResidual, {"filters": 8, "stochastic_depth": 1}, r"stochastic_depth must be in \[0,"),
        (BasicResidual, {"filters": 8, "dropout": 1}, r"dropout must be in \[0, 1\), received: 1"),
        (BasicResidual, {"filters": 8, "activated_inputs": True}, "for version 'v2', .* 'v1'"),
        (BottleneckResidual, {"filters": 8, "expansion": 0}, "expansion must be a positive"),
        (BottleneckResidual, {"filters": 8, "widening": 0.5}, "widening must be a positive"),
        (BottleneckResidual, {"filters": 8, "zero_init_residual": 1}, "zero_init_residual must be"),
        (InvertedResidual, {"filters": 8, "squeeze_excite": "yes"}, "squeeze_excite must be True"),
        (DepthwiseSeparable, {"filters": 8, "kernel_size": -3}, "kernel_size must be a positive"),
        (Inception, {**LAYERS["inception"][1], "threes": 0}, "threes must be a positive integer"),
    ],
)
def test_wrong_arguments(layer_class, arguments, message):
    with pytest.raises(ConfigError, match=message):
        layer_class(**arguments)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (ConvNormActivation(6, norm="group"), "norm_groups must divide the 6 channels"),
        (BasicResidual(2, shortcut="A"), "cannot lead from 4 channels to 2"),
    ],
)
def test_arguments_that_do_not_fit_the_inputs(layer, message):
    with pytest.raises(ConfigError, match=message):
        layer(IMAGES)
    with pytest.raises(ConfigError, match=message):
        type(layer).from_config(layer.get_config()).inline(keras.Input((8, 8, 4)))
