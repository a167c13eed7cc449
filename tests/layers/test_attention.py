"""The attention blocks against their equations in NumPy."""

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from recipes.errors import ConfigError
from recipes.layers import (
    ChannelAttention,
    ChannelPooling,
    ConvolutionalBlockAttention,
    EfficientChannelAttention,
    LayerScale,
    SpatialAttention,
    SqueezeExcite,
)

IMAGES = np.random.default_rng(0).normal(size=(3, 5, 6, 8)).astype("float32")

LAYERS = {
    "squeeze excite": (SqueezeExcite, {"ratio": 2}),
    "squeeze excite, all arguments": (
        SqueezeExcite,
        {"ratio": 16, "reduced": 3, "activation": "silu", "gate": "hard_sigmoid"},
    ),
    "eca": (EfficientChannelAttention, {"gamma": 1, "beta": 2}),
    "channel": (ChannelAttention, {"ratio": 2}),
    "spatial": (SpatialAttention, {"kernel_size": 3}),
    "cbam": (ConvolutionalBlockAttention, {"ratio": 2, "kernel_size": 5}),
    "channel pooling": (ChannelPooling, {}),
    "layer scale": (LayerScale, {"initial": 0.1}),
}


@pytest.mark.parametrize(("layer_class", "arguments"), LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.sampled(2)
def test_layer(check_layer, layer_class, arguments):
    check_layer(layer_class, arguments, images=IMAGES)


def randomized(layer, seed=1):
    """Return the layer, built for `IMAGES`, with random weights and biases."""
    layer.build(IMAGES.shape)
    random = np.random.default_rng(seed)
    layer.set_weights([random.normal(scale=0.7, size=weight.shape) for weight in layer.weights])
    return layer


def weights(layer):
    """Return the weights by the last part of the layer's name and their own name."""
    values = {}
    for weight in layer.weights:
        *_, owner, name = weight.path.split("/")
        values[f"{owner.rsplit('_', 1)[-1]} {name}"] = weight.numpy().astype("float64")
    return values


def perceptron(x, values):
    hidden = x @ values["reduce kernel"][0, 0] + values["reduce bias"]
    return np.maximum(hidden, 0) @ values["expand kernel"][0, 0] + values["expand bias"]


def channel_attention(x, values):
    logits = perceptron(x.mean((1, 2)), values) + perceptron(x.max((1, 2)), values)
    return x * sigmoid(logits)[:, None, None, :]


def spatial_attention(x, kernel):
    maps = np.stack([x.mean(-1), x.max(-1)], -1)
    margin = kernel.shape[0] // 2
    maps = np.pad(maps, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(maps, kernel.shape[:2], axis=(1, 2))
    return x * sigmoid(np.einsum("nhwcij,ijcd->nhwd", windows, kernel))


def test_squeeze_excite():
    layer = randomized(SqueezeExcite(ratio=4))
    expected = sigmoid(perceptron(IMAGES.mean((1, 2)), weights(layer)))
    np.testing.assert_allclose(layer(IMAGES), IMAGES * expected[:, None, None], atol=1e-5)


def test_squeeze_excite_with_hard_activations():
    layer = randomized(SqueezeExcite(reduced=5, activation="hard_swish", gate="hard_sigmoid"))
    values = weights(layer)
    hidden = IMAGES.mean((1, 2)) @ values["reduce kernel"][0, 0] + values["reduce bias"]
    hidden = hidden * np.clip(hidden / 6 + 0.5, 0, 1)
    logits = hidden @ values["expand kernel"][0, 0] + values["expand bias"]
    expected = IMAGES * np.clip(logits / 6 + 0.5, 0, 1)[:, None, None]
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "channels"), [({}, 1), ({"ratio": 4}, 2), ({"reduced": 7}, 7)]
)
def test_reduced_channels(arguments, channels):
    layer = randomized(SqueezeExcite(**arguments))
    assert weights(layer)["reduce kernel"].shape == (1, 1, 8, channels)


def test_resnet50_with_attention_has_the_published_number_of_parameters():
    """Hu et al. add 2.51 M parameters to ResNet-50 at ratio 16; Woo et al. print 28.09 M in all."""
    resnet50 = 25_557_032
    widths = {256: 3, 512: 4, 1024: 6, 2048: 3}
    added = {SqueezeExcite: 0, ConvolutionalBlockAttention: 0}
    for layer_class in added:
        for channels, blocks in widths.items():
            layer = layer_class()
            layer.build((None, 7, 7, channels))
            added[layer_class] += blocks * layer.count_params()
    assert round((resnet50 + added[SqueezeExcite]) / 1e6, 2) == 28.09
    assert round((resnet50 + added[ConvolutionalBlockAttention]) / 1e6, 2) == 28.09


def test_efficient_channel_attention():
    layer = randomized(EfficientChannelAttention(gamma=2, beta=1))
    (kernel,) = layer.get_weights()
    assert kernel.shape == (3, 1, 1)  # log2(8) / 2 + 1 / 2 = 2, so 3
    padded = np.pad(IMAGES.mean((1, 2)), ((0, 0), (1, 1)))
    logits = sum(padded[:, i : i + 8] * kernel[i, 0, 0] for i in range(3))
    expected = IMAGES * sigmoid(logits)[:, None, None]
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-5)


@pytest.mark.parametrize(("channels", "size"), [(64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)])
def test_size_of_the_kernel(channels, size):
    # As `int(abs((log2(C) + b) / gamma))`, one more if even, of the authors' code.
    layer = EfficientChannelAttention()
    layer.build((None, 7, 7, channels))
    assert layer.count_params() == size


def test_channel_attention():
    layer = randomized(ChannelAttention(ratio=2))
    expected = channel_attention(IMAGES, weights(layer))
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-5)


def test_spatial_attention():
    layer = randomized(SpatialAttention(kernel_size=3))
    expected = spatial_attention(IMAGES, weights(layer)["conv kernel"])
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-5)


def test_convolutional_block_attention():
    layer = randomized(ConvolutionalBlockAttention(ratio=2, kernel_size=3))
    values = weights(layer)
    expected = spatial_attention(channel_attention(IMAGES, values), values["conv kernel"])
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-5)


def test_layer_scale():
    layer = randomized(LayerScale())
    np.testing.assert_allclose(layer(IMAGES), IMAGES * layer.get_weights()[0], rtol=1e-6)
    fresh = LayerScale()
    np.testing.assert_allclose(fresh(IMAGES), IMAGES * 1e-6, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_sums_over_large_feature_maps_keep_their_precision(policy):
    # The sum of 128 x 128 values of 40 is beyond float16, and the mean beyond bfloat16's digits.
    images = np.full((1, 128, 128, 2), 40.0, "float32")
    images[..., 1] = 0.25
    pooled = ChannelPooling(dtype=policy)(images)
    np.testing.assert_allclose(pooled[0, 0, 0], [20.125, 40.0], rtol=2**-8)
    for layer in (SqueezeExcite(dtype=policy), ChannelAttention(dtype=policy)):
        full = type(layer)()
        full.build(images.shape)
        layer.build(images.shape)
        random = np.random.default_rng(0)
        values = [random.normal(scale=0.05, size=weight.shape) for weight in full.weights]
        full.set_weights(values)
        layer.set_weights(values)
        np.testing.assert_allclose(
            np.asarray(layer(images), "float32"), full(images), rtol=0.02, atol=1e-3
        )


@pytest.mark.parametrize(
    ("layer_class", "arguments", "message"),
    [
        (SqueezeExcite, {"ratio": 0}, "ratio must be a positive integer, received: 0"),
        (SqueezeExcite, {"reduced": 1.5}, "reduced must be a positive integer, received: 1.5"),
        (SqueezeExcite, {"activation": "rellu"}, "did you mean 'relu'"),
        (SqueezeExcite, {"gate": "relu"}, "gate must be one of 'sigmoid', 'hard_sigmoid'"),
        (EfficientChannelAttention, {"gamma": 0}, "gamma must be a finite number above 0"),
        (EfficientChannelAttention, {"beta": float("nan")}, "beta must be a finite number"),
        (ChannelAttention, {"ratio": True}, "ratio must be a positive integer, received: True"),
        (SpatialAttention, {"kernel_size": 4}, "kernel_size must be a positive odd integer"),
        (ConvolutionalBlockAttention, {"kernel_size": 0}, "kernel_size must be a positive odd"),
        (LayerScale, {"initial": float("inf")}, "initial must be a finite number"),
    ],
)
def test_wrong_arguments(layer_class, arguments, message):
    with pytest.raises(ConfigError, match=message):
        layer_class(**arguments)


@pytest.mark.parametrize(
    "layer_class", [SqueezeExcite, SpatialAttention, EfficientChannelAttention]
)
def test_inputs_must_be_feature_maps(layer_class):
    with pytest.raises(ConfigError, match="takes feature maps"):
        layer_class()(np.zeros((2, 5, 8), "float32"))
