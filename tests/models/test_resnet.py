import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import StochasticDepth
from recipes.models import build_resnet

# Published integers: He et al. and akamaster/pytorch_resnet_cifar10 (depths for CIFAR; B has 1x1
# projections), torchvision's weight metadata (depths for ImageNet). The second number is that of
# the batch-norm statistics, which torchvision does not count as parameters.
COUNTS = {
    (20, "A"): (269_722, 1_376),
    (32, "A"): (464_154, 2_272),
    (44, "A"): (658_586, 3_168),
    (56, "A"): (853_018, 4_064),
    (110, "A"): (1_727_962, 8_096),
    (20, "B"): (272_474, None),
    (32, "B"): (466_906, None),
    (44, "B"): (661_338, None),
    (56, "B"): (855_770, None),
    (110, "B"): (1_730_714, None),
    (18, None): (11_689_512, 9_600),
    (34, None): (21_797_672, 17_024),
    (50, None): (25_557_032, 53_120),
    (101, None): (44_549_160, 105_344),
    (152, None): (60_192_808, 151_424),
}
CIFAR = {"input_shape": (16, 16, 3), "classes": 5, "mean": [120.0] * 3, "variance": [4000.0] * 3}
IMAGENET = {**CIFAR, "input_shape": (32, 32, 3)}


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize(("depth", "shortcut"), COUNTS.keys())
def test_parameter_counts(depth, shortcut):
    # In this scope Keras makes variables without values: shapes are enough to count.
    with keras.StatelessScope(initialize_variables=False):
        model = build_resnet(depth, shortcut=shortcut)
    trainable, statistics = COUNTS[depth, shortcut]
    assert count(model.trainable_weights) == trainable
    assert statistics is None or count(model.non_trainable_weights) == statistics


def test_grey_images_of_28_pixels_have_288_parameters_less():
    model = build_resnet(20, input_shape=(28, 28, 1))
    assert count(model.trainable_weights) == 269_722 - 288
    assert model.get_layer("stage3_block3_relu").output.shape == (None, 7, 7, 64)


@pytest.mark.parametrize(
    ("depth", "arguments"),
    [
        (20, {**CIFAR, "dropout": 0.0}),
        (20, {**CIFAR, "shortcut": "B", "include_preprocessing": True}),
        (18, IMAGENET),
        # Fewer pixels leave the last stages so few values a channel that rounding takes over.
        pytest.param(50, {**CIFAR, "input_shape": (64, 64, 3)}, marks=pytest.mark.slow),
    ],
)
def test_checks(check_model, depth, arguments):
    check_model(lambda **more: build_resnet(depth, **more), **arguments)


def expected_outputs(net, images, depth, shortcut):
    """The network as the paper and torchvision's v1.5 describe it."""
    bottleneck = depth in (50, 101, 152)
    blocks = {20: (3, 3, 3), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    imagenet = len(blocks) == 4
    x = net.images(images, CIFAR["mean"], CIFAR["variance"])
    x = net.convolution(x, "stem_conv", strides=2 if imagenet else 1)
    x = np.maximum(net.normalization(x, "stem_bn"), 0)
    if imagenet:
        x = net.max_pool(x, 3, 2, margin=1)
    for stage, number in enumerate(blocks, start=1):
        for block in range(1, number + 1):
            at = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            strides = (1, stride, 1) if bottleneck else (stride, 1)
            y = x
            for layer, step in enumerate(strides, start=1):
                y = net.convolution(y, f"{at}_conv{layer}", step)
                y = net.normalization(y, f"{at}_bn{layer}")
                if layer < len(strides):
                    y = np.maximum(y, 0)
            if x.shape != y.shape and shortcut == "A":
                x = x[:, ::stride, ::stride]
                extra = y.shape[-1] - x.shape[-1]
                x = np.concatenate(
                    [
                        np.zeros((*x.shape[:3], extra // 2)),
                        x,
                        np.zeros((*x.shape[:3], extra - extra // 2)),
                    ],
                    axis=-1,
                )
            elif x.shape != y.shape:
                x = net.convolution(x, f"{at}_shortcut_conv", stride)
                x = net.normalization(x, f"{at}_shortcut_bn")
            x = np.maximum(x + y, 0)
    return net.dense(x.mean((1, 2)), "logits")


@pytest.mark.parametrize(
    ("depth", "shortcut", "size"),
    [(20, "A", 16), (20, "A", 13), (20, "B", 16), (18, "B", 40), (50, "B", 33), (50, "A", 32)],
)
def test_outputs_follow_the_paper(reference, depth, shortcut, size):
    model = build_resnet(
        depth,
        **{**CIFAR, "input_shape": (size, size, 3)},
        shortcut=shortcut,
        classifier_activation=None,
    )
    reference.randomize(model)
    images = reference.make_images(model, 2)
    expected = expected_outputs(reference.network(model), images, depth, shortcut)
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_stochastic_depth_grows_linearly_to_the_last_block():
    model = build_resnet(20, **CIFAR, stochastic_depth=0.45, dropout=0.3)
    drops = [layer for layer in model.layers if isinstance(layer, StochasticDepth)]
    assert [layer.name for layer in drops] == [
        f"stage{stage}_block{block}_drop" for stage in (1, 2, 3) for block in (1, 2, 3)
    ]
    np.testing.assert_allclose([layer.rate for layer in drops], np.arange(1, 10) * 0.05)
    assert model.get_layer("head_dropout").rate == 0.3
    assert not any("drop" in layer.name for layer in build_resnet(20, **CIFAR).layers)


def test_zero_init_residual_starts_every_block_as_the_shortcut():
    model = build_resnet(20, **CIFAR, zero_init_residual=True, include_top=False)
    inner = keras.Model(
        model.input,
        [
            model.get_layer("stage1_block1_relu").output,
            model.get_layer("stage1_block3_relu").output,
        ],
    )
    first, last = inner(np.full((1, 16, 16, 3), 200.0))
    assert np.max(first) > 0
    np.testing.assert_array_equal(first, last)


def test_initial_weights():
    he = np.square(build_resnet(20).get_layer("stage3_block2_conv1").get_weights()[0]).mean()
    np.testing.assert_allclose(he, 2 / (9 * 64), rtol=0.05)
    convolution = build_resnet(18, **IMAGENET).get_layer("stage2_block1_conv1").get_weights()[0]
    np.testing.assert_allclose(np.square(convolution).mean(), 2 / (9 * 128), rtol=0.05)
    one, other = (
        build_resnet(20).get_layer(f"stage1_block{block}_conv1").get_weights()[0]
        for block in (1, 2)
    )
    assert (one != other).any()


@pytest.mark.parametrize(
    ("pooling", "shape"), [(None, (None, 4, 4, 64)), ("avg", (None, 64)), ("max", (None, 64))]
)
def test_without_top(pooling, shape):
    model = build_resnet(20, **CIFAR, include_top=False, pooling=pooling)
    assert model.output_shape == shape


def test_open_sizes():
    model = build_resnet(20, **{**CIFAR, "input_shape": (None, None, 3)})
    assert model(np.zeros((1, 20, 31, 3), "uint8")).shape == (1, 5)


@pytest.mark.parametrize(
    ("depth", "arguments", "message"),
    [
        (21, {}, "depth must be one of 18, 20, .*, 164, received: 21; the nearest is 20"),
        ("50", {}, "depth must be one of .* received: '50'"),
        (50, {"version": "v3"}, "version must be one of v1.5, v1, v2, d, received: 'v3'; did you"),
        (20, {"version": "d"}, "depth 20 comes in the versions v1 and v2, received version: 'd'"),
        (164, {"version": "v1.5"}, "depth 164 comes in the versions v1 and v2"),
        (50, {"version": "d", "shortcut": "A"}, "shortcut must be 'B'"),
        (50, {"attention": "cbm"}, "one of se, eca, cbam, received: 'cbm'; did you mean 'cbam'"),
        (20, {"shortcut": "C"}, "shortcut must be one of A, B, received: 'C'"),
        (20, {"input_shape": (7, 32, 3)}, "at least 8 pixels a side .* received .*7, 32, 3"),
        (50, {"input_shape": (31, 32, 3)}, "at least 32 pixels a side"),
        (20, {"input_shape": (32, 32)}, "input_shape must be .height, width, channels."),
        (20, {"input_shape": (32, 32, None)}, "known number of channels"),
        (20, {"input_shape": (32.0, 32, 3)}, "in positive integers"),
        (20, {"input_shape": 32}, "received: 32"),
        (20, {"classes": 0}, "classes must be a positive integer, received: 0"),
        (20, {"classes": True}, "classes must be a positive integer"),
        (20, {"pooling": "mean"}, "pooling must be None, 'avg' or 'max', received: 'mean'"),
        (20, {"dropout": 1}, r"dropout must be in \[0, 1\), received: 1"),
        (20, {"stochastic_depth": "0.1"}, r"stochastic_depth must be in \[0, 1\)"),
        (20, {"mean": [0.0] * 3}, "mean and variance must be given together"),
        (20, {"mean": [0.0], "variance": [1.0]}, "each of the 3 channels, received 1 and 1"),
        (20, {"input_shape": (32, 32, 4)}, "images of 4 channels need mean and variance"),
        (
            20,
            {"include_preprocessing": False, "mean": [0.0] * 3, "variance": [1.0] * 3},
            "no effect with include_preprocessing=False",
        ),
    ],
)
def test_wrong_arguments(depth, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_resnet(depth, **arguments)
