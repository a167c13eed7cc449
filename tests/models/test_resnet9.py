import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import StochasticDepth
from recipes.models import build_resnet9

SMALL = {
    "width": 8,
    "input_shape": (24, 24, 1),
    "classes": 5,
    "mean": [80.0],
    "variance": [4000.0],
}


def parameters(width, channels, classes):
    """Count by hand: kernels, four numbers a batch-norm channel, and the classifier."""
    w = width
    kernels = 9 * (channels * w + w * 2 * w + 2 * (2 * w) ** 2 + 2 * w * 4 * w + 2 * (4 * w) ** 2)
    return kernels + 4 * (w + 3 * 2 * w + 3 * 4 * w) + 4 * w * classes


@pytest.mark.parametrize(
    ("width", "shape", "classes", "expected"),
    [
        (32, (28, 28, 1), 10, 464_800),  # as measured before this package was written
        (48, (28, 28, 1), 10, None),
        (64, (32, 32, 3), 100, None),
    ],
)
def test_parameter_counts(width, shape, classes, expected):
    model = build_resnet9(width=width, input_shape=shape, classes=classes)
    assert model.count_params() == (expected or parameters(width, shape[-1], classes))
    assert expected in (None, parameters(width, shape[-1], classes))


def test_checks(check_model):
    check_model(build_resnet9, **SMALL)


@pytest.mark.parametrize("size", [24, 28, 29, 32])
def test_outputs_follow_the_definition(reference, size):
    model = build_resnet9(**{**SMALL, "input_shape": (size, size, 1)}, classifier_activation=None)
    reference.randomize(model)
    images = reference.make_images(model, 3)
    net = reference.network(model)

    def unit(x, place, number=""):
        x = net.convolution(x, f"{place}_conv{number}")
        return np.maximum(net.normalization(x, f"{place}_bn{number}"), 0)

    x = unit(net.images(images, SMALL["mean"], SMALL["variance"]), "stem")
    for stage in ("stage1", "stage2"):
        x = net.max_pool(unit(x, stage), 2, 2)
        x = x + unit(unit(x, f"{stage}_block1", 1), f"{stage}_block1", 2)
    expected = 0.125 * net.dense(x.max((1, 2)), "head_dense")
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_regularization():
    model = build_resnet9(**SMALL, dropout=0.25, stochastic_depth=0.2)
    drops = [layer for layer in model.layers if isinstance(layer, StochasticDepth)]
    assert [(layer.name, layer.rate) for layer in drops] == [
        ("stage1_block1_drop", 0.1),
        ("stage2_block1_drop", 0.2),
    ]
    assert model.get_layer("head_dropout").rate == 0.25


def test_without_top():
    assert build_resnet9(**SMALL, include_top=False).output_shape == (None, 6, 6, 32)
    assert build_resnet9(**SMALL, include_top=False, pooling="max").output_shape == (None, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width must be a positive integer, received: 0"),
        ({"width": 32.0}, "width must be a positive integer, received: 32.0"),
        ({"input_shape": (7, 7, 1)}, "at least 8 pixels a side"),
        ({"stochastic_depth": 1.0}, r"stochastic_depth must be in \[0, 1\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_resnet9(**arguments)
