import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import StochasticDepth
from recipes.models import build_wide_resnet
from recipes.models._symbolic import without_values

# Published integers: osmr/imgclsmob (16-10, 28-10, 40-8), the tables of reproductions of the
# authors' code (16-4, 22-8, 40-2, 40-4), torchvision's weight metadata (50-2, 101-2).
COUNTS = {
    (16, 4): 2_748_890,
    (16, 10): 17_116_634,
    (22, 8): 17_158_106,
    (28, 10): 36_479_194,
    (40, 2): 2_243_546,
    (40, 4): 8_949_210,
    (40, 8): 35_748_314,
    (50, 2): 68_883_240,
    (101, 2): 126_886_696,
}
SMALL = {"input_shape": (16, 16, 3), "classes": 5, "mean": [120.0] * 3, "variance": [4000.0] * 3}


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def symbolic(*arguments, **keywords):
    """Build a model whose variables have shapes but no values."""
    return without_values(build_wide_resnet, *arguments, **keywords)


FAST = {(16, 4), (40, 2), (50, 2)}


@pytest.mark.parametrize(
    ("depth", "width"),
    [size if size in FAST else pytest.param(*size, marks=pytest.mark.slow) for size in COUNTS],
)
@pytest.mark.sampled(1, 2)
def test_parameter_counts(depth, width):
    model = symbolic(depth, width)
    assert count(model.trainable_weights) == COUNTS[depth, width]
    assert model.name == f"wide_resnet{depth}_{width}"


def test_100_classes_have_57690_parameters_more():
    # 36,536,884 is the authors' "36.5M" for CIFAR-100, counted.
    assert count(symbolic(28, 10, classes=100).trainable_weights) == 36_536_884


@pytest.mark.slow
def test_checks(check_model):
    check_model(lambda **more: build_wide_resnet(10, 2, **more), **SMALL)


@pytest.mark.parametrize(("depth", "width", "size"), [(16, 2, 16), (10, 1, 13)])
def test_outputs_follow_the_paper(reference, depth, width, size):
    model = build_wide_resnet(
        depth, width, **{**SMALL, "input_shape": (size, size, 3)}, classifier_activation=None
    )
    reference.randomize(model)
    images = reference.make_images(model, 2)
    net = reference.network(model)

    def activated(x, name):
        return np.maximum(net.normalization(x, name), 0)

    x = net.convolution(net.images(images, SMALL["mean"], SMALL["variance"]), "stem_conv")
    x = activated(x, "stem_bn")
    for stage in (1, 2, 3):
        for block in range(1, (depth - 4) // 6 + 1):
            at = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            y = x if at == "stage1_block1" else activated(x, f"{at}_bn1")
            z = net.convolution(y, f"{at}_conv1", stride)
            z = net.convolution(activated(z, f"{at}_bn2"), f"{at}_conv2")
            same = x.shape == z.shape
            x = z + (x if same else net.convolution(y, f"{at}_shortcut_conv", stride))
    expected = net.dense(activated(x, "head_bn").mean((1, 2)), "logits")
    assert x.shape[-1] == 64 * width
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_regularization():
    model = symbolic(16, 2, **SMALL, block_dropout=0.3, dropout=0.1, stochastic_depth=0.6)
    rates = {
        layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)
    }
    places = [f"stage{stage}_block{block}" for stage in (1, 2, 3) for block in (1, 2)]
    assert rates == {**{f"{place}_dropout": 0.3 for place in places}, "head_dropout": 0.1}
    drops = [layer for layer in model.layers if isinstance(layer, StochasticDepth)]
    np.testing.assert_allclose([layer.rate for layer in drops], np.arange(1, 7) * 0.1)
    # Between the convolutions: after the second activation.
    dropout = model.get_layer("stage2_block1_dropout")
    assert dropout.input is model.get_layer("stage2_block1_relu2").output
    assert model.get_layer("stage2_block1_conv2").input is dropout.output


def test_without_top():
    arguments = {"input_shape": (None, None, 3), "include_top": False}
    assert symbolic(16, 4, **arguments).output_shape == (None, None, None, 256)
    assert symbolic(50, 2, **arguments, pooling="avg").output_shape == (None, 2048)


@pytest.mark.parametrize(
    ("depth", "width", "arguments", "message"),
    [
        (27, 10, {}, r"depth must be 6n \+ 4 .* received: 27; the nearest is 28"),
        (4, 10, {}, "received: 4; the nearest is 10"),
        ("28", 10, {}, "depth must be a positive integer, received: '28'"),
        (28, 0, {}, "width must be a positive integer, received: 0"),
        (28, 2.5, {}, "width must be a positive integer, received: 2.5"),
        (28, 10, {"input_shape": (4, 32, 3)}, "at least 8 pixels a side"),
        (50, 2, {"input_shape": (16, 32, 3)}, "at least 32 pixels a side"),
        (28, 10, {"block_dropout": 1.0}, r"block_dropout must be in \[0, 1\)"),
        (50, 2, {"block_dropout": 0.3}, r"block_dropout is for depths 6n \+ 4, .* depth 50"),
    ],
)
def test_wrong_arguments(depth, width, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_wide_resnet(depth, width, **arguments)
