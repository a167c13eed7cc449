import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import StochasticDepth
from recipes.models import build_mobilenet, build_mobilenet_v2
from recipes.models._symbolic import without_values

SMALL = {"input_shape": (64, 64, 3), "classes": 5}


def symbolic(build, **keywords):
    """Build a model whose variables have shapes but no values."""
    return without_values(build, **keywords)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize(
    ("build", "trainable", "total"),
    [
        # keras.applications; torchvision counts the trainable ones of version 2 alone.
        (build_mobilenet, 4_231_976, 4_253_864),
        (build_mobilenet_v2, 3_504_872, 3_538_984),
    ],
)
def test_parameter_counts(build, trainable, total):
    model = symbolic(build)
    assert count(model.trainable_weights) == trainable
    assert count(model.weights) == total


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75])
def test_widths(width):
    theirs = symbolic(keras.applications.MobileNet, alpha=width, weights=None)
    assert count(symbolic(build_mobilenet, width=width).weights) == count(theirs.weights)


@pytest.mark.parametrize("width", [0.35, 0.5, 0.75, 1.3, 1.4])
def test_widths_of_version_2(width):
    theirs = symbolic(keras.applications.MobileNetV2, alpha=width, weights=None)
    assert count(symbolic(build_mobilenet_v2, width=width).weights) == count(theirs.weights)


def random_weights(model):
    """Random arrays for a model that keep the activations at their size."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) > 1:
            # A depthwise kernel is (height, width, channels, 1): no sum over the channels.
            fan_in = np.prod(weight.shape[: 2 if weight.shape[-1] == 1 else -1])
            yield random.normal(scale=(2 / fan_in) ** 0.5, size=weight.shape)
        else:
            yield random.uniform(0.5, 1.5, weight.shape)


@pytest.mark.parametrize(
    ("build", "style", "function"),
    [
        (build_mobilenet, {}, keras.applications.MobileNet),
        (build_mobilenet_v2, {"style": "keras"}, keras.applications.MobileNetV2),
    ],
)
@pytest.mark.slow
def test_outputs_equal_those_of_keras(build, style, function):
    size = 96  # The maps are of 48, 24, 12, 6 and 3 pixels: strides see even sizes, as of 224.
    arguments = {"input_shape": (size, size, 3), "classes": 7, "classifier_activation": None}
    theirs = function(**arguments, weights=None)
    ours = build(**arguments, **style)
    arrays = list(random_weights(theirs))
    theirs.set_weights(arrays)
    # The classifier of MobileNet is a 1x1 convolution there.
    shapes = [weight.shape for weight in ours.weights]
    ours.set_weights([array.reshape(s) for array, s in zip(arrays, shapes, strict=True)])
    images = np.random.default_rng(1).uniform(0, 255, (2, size, size, 3))
    expected = np.asarray(theirs(images / 127.5 - 1))
    np.testing.assert_allclose(ours(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "build", [build_mobilenet, pytest.param(build_mobilenet_v2, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_checks(check_model, build):
    check_model(build, **SMALL, width=0.25, dropout=0.0)


def test_styles():
    for style, mean, epsilon, padded in (
        ("torchvision", [123.675, 116.28, 103.53], 1e-5, True),
        ("keras", [127.5] * 3, 1e-3, False),
    ):
        model = symbolic(build_mobilenet_v2, **SMALL, style=style)
        np.testing.assert_allclose(model.get_layer("normalization").mean, mean)
        assert model.get_layer("stage3_block2_expand_bn").epsilon == epsilon
        assert any(layer.name.endswith("_pad") for layer in model.layers) == padded


def test_stochastic_depth_grows_with_the_depth():
    model = symbolic(build_mobilenet_v2, **SMALL, stochastic_depth=0.34)
    drops = {layer.name: layer.rate for layer in model.layers if isinstance(layer, StochasticDepth)}
    assert len(drops) == 10
    assert drops["stage2_block2_drop"] == pytest.approx(0.02 * 3)
    assert drops["stage6_block3_drop"] == pytest.approx(0.02 * 16)


@pytest.mark.parametrize(
    ("build", "arguments", "shape"),
    [
        (build_mobilenet, {"pooling": "avg"}, (None, 1024)),
        (build_mobilenet_v2, {"input_shape": (None, None, 1)}, (None, None, None, 1280)),
        (build_mobilenet_v2, {"pooling": "max", "width": 1.4}, (None, 1792)),
        (build_mobilenet_v2, {"pooling": "max", "width": 0.35}, (None, 1280)),
    ],
)
def test_without_top(build, arguments, shape):
    assert symbolic(build, include_top=False, **arguments).output_shape == shape


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (build_mobilenet, {"width": 0}, "width must be above 0 and at most 16, received: 0"),
        (build_mobilenet_v2, {"width": "1"}, "width must be above 0"),
        (build_mobilenet_v2, {"style": "timm"}, "style must be one of torchvision, keras"),
        (build_mobilenet, {"input_shape": (31, 31, 3)}, "at least 32 pixels a side"),
        (build_mobilenet_v2, {"classes": 1.5}, "classes must be a positive integer"),
        (build_mobilenet_v2, {"input_shape": (32, 32, 2)}, "images of 2 channels need mean"),
    ],
)
def test_wrong_arguments(build, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(**arguments)
