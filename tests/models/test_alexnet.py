import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.models import build_alexnet
from recipes.models._symbolic import without_values

SMALL = {
    "input_shape": (63, 63, 3),
    "classes": 5,
    "dense_units": 24,
    "mean": [120.0] * 3,
    "variance": [4000.0] * 3,
}


def symbolic(**keywords):
    """Build a model whose variables have shapes but no values: the full ones take 240 MB."""
    return without_values(build_alexnet, **keywords)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_parameter_counts():
    model = symbolic()
    assert count(model.trainable_weights) == count(model.weights) == 61_100_840  # torchvision


def test_checks(check_model):
    check_model(build_alexnet, **{**SMALL, "input_shape": (95, 95, 3), "dropout": 0.0})


def test_outputs_follow_the_description(reference):
    model = build_alexnet(**SMALL, classifier_activation=None)
    reference.randomize(model)
    images = reference.make_images(model, 2)
    net = reference.network(model)
    x = net.images(images, SMALL["mean"], SMALL["variance"])
    # The reference pads half of the kernel, 5; with 2, positions start 3 pixels later.
    kernel, bias = net.weights("stage1_conv1")
    x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (11, 11), axis=(1, 2))[:, ::4, ::4]
    x = np.maximum(np.einsum("nhwcij,ijcd->nhwd", windows, kernel, optimize=True) + bias, 0)
    x = net.max_pool(x, 3, 2)
    x = net.max_pool(np.maximum(net.convolution(x, "stage2_conv1"), 0), 3, 2)
    for number in (1, 2, 3):
        x = np.maximum(net.convolution(x, f"stage3_conv{number}"), 0)
    x = net.max_pool(x, 3, 2).reshape(len(x), -1)
    for number in (1, 2):
        x = np.maximum(net.dense(x, f"head_dense{number}"), 0)
    expected = net.dense(x, "logits")
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("size", "inputs"),
    [
        ((224, 224), 6 * 6 * 256),
        ((224, 448), 6 * 13 * 256),  # flattened as it is
        ((224, 416), 6 * 6 * 256),  # averaged from 6x12
        ((63, 63), 256),
    ],
)
def test_sizes(size, inputs):
    model = symbolic(input_shape=(*size, 3))
    assert model.get_layer("head_flatten").output.shape == (None, inputs)


def test_dropout_stands_before_each_hidden_layer():
    names = [layer.name for layer in symbolic().layers]
    assert names.index("head_dropout1") == names.index("head_dense1") - 1
    assert names.index("head_dropout2") == names.index("head_dense2") - 1
    assert not any("dropout" in layer.name for layer in symbolic(dropout=0.0).layers)


def test_initial_weights():
    model = build_alexnet(input_shape=(63, 63, 3), dense_units=512)
    kernel, bias = model.get_layer("stage3_conv2").get_weights()
    np.testing.assert_allclose(np.square(kernel).mean(), 2 / (9 * 384), rtol=0.05)
    np.testing.assert_array_equal(bias, 0)
    np.testing.assert_allclose(model.get_layer("logits").get_weights()[0].std(), 0.01, rtol=0.05)


def test_without_top():
    arguments = {"input_shape": (None, None, 3), "include_top": False}
    assert symbolic(**arguments).output_shape == (None, None, None, 256)
    assert symbolic(**arguments, pooling="avg").output_shape == (None, 256)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (62, 62, 3)}, "at least 63 pixels a side"),
        ({"input_shape": (None, 224, 3)}, "AlexNet needs images of a known size, received"),
        ({"dense_units": 0}, "dense_units must be a positive integer"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_alexnet(**arguments)
