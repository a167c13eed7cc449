import functools
import re

import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.layers import StochasticDepth
from recipes.models import build_model, build_resnet
from recipes.models._symbolic import without_values

# Published integers: He et al. and akamaster/pytorch_resnet_cifar10 (depths for CIFAR; B has 1x1
# projections), torchvision's weight metadata (depths for ImageNet), osmr/imgclsmob ("PreResNet",
# "SE-ResNet", "CBAM-ResNet"), timm ("resnet50d"). The second number is that of the batch-norm
# statistics, which they do not count as parameters.
COUNTS = {
    "resnet20": (269_722, 1_376),
    "resnet32": (464_154, 2_272),
    "resnet44": (658_586, 3_168),
    "resnet56": (853_018, 4_064),
    "resnet110": (1_727_962, 8_096),
    "resnet164": (1_704_154, None),
    "resnet18": (11_689_512, 9_600),
    "resnet34": (21_797_672, 17_024),
    "resnet50": (25_557_032, 53_120),
    "resnet101": (44_549_160, 105_344),
    "resnet152": (60_192_808, 151_424),
    "resnet50_v1": (25_557_032, 53_120),
    "resnet20_v2": (272_282, None),
    "resnet56_v2": (855_578, None),
    "resnet110_v2": (1_730_522, None),
    "resnet164_v2": (1_703_258, None),
    # Published with a second normalisation of 64 channels in a row, which repeats the first.
    "resnet18_v2": (11_687_848 - 128, None),
    "resnet34_v2": (21_796_008 - 128, None),
    "resnet50_v2": (25_549_480 - 128, None),
    "resnet101_v2": (44_541_608 - 128, None),
    "resnet152_v2": (60_185_256 - 128, None),
    "resnet18_d": (11_708_744, None),
    "resnet34_d": (21_816_904, None),
    "resnet50_d": (25_576_264, None),
    "resnet101_d": (44_568_392, None),
    "se_resnet20": (274_847 - 272_474 + 269_722, None),  # published with shortcut B
    "se_resnet18": (11_778_592, None),
    "se_resnet34": (21_958_868, None),
    "se_resnet50": (28_088_024, None),
    "se_resnet101": (49_326_872, None),
    "se_resnet152": (66_821_848, None),
    # The authors' code normalises the one channel of spatial attention in each of 16 blocks.
    "cbam_resnet50": (28_089_624 - 16 * 2, 53_120),
    # A kernel of 3 for 64 channels and of 5 for 128, 256 and 512, twice each.
    "eca_resnet18": (11_689_512 + 2 * (3 + 5 + 5 + 5), 9_600),
}
COUNTS_WITH_PROJECTIONS = {20: 272_474, 32: 466_906, 44: 661_338, 56: 855_770, 110: 1_730_714}
CIFAR = {"input_shape": (16, 16, 3), "classes": 5, "mean": [120.0] * 3, "variance": [4000.0] * 3}
IMAGENET = {**CIFAR, "input_shape": (32, 32, 3)}


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


slow = functools.partial(pytest.param, marks=pytest.mark.slow)

# One of each kind; the others repeat it more often.
FAST = {"resnet20", "resnet164", "resnet18", "resnet50", "resnet50_v1", "resnet20_v2"}
FAST |= {"resnet18_v2", "resnet50_v2", "resnet18_d", "resnet50_d", "se_resnet20", "se_resnet18"}
FAST |= {"se_resnet50", "cbam_resnet50", "eca_resnet18"}


@pytest.mark.parametrize("name", [name if name in FAST else slow(name) for name in COUNTS])
@pytest.mark.sampled(3, 6)
def test_parameter_counts(name):
    model = without_values(build_model, name)  # shapes are enough to count
    trainable, statistics = COUNTS[name]
    assert count(model.trainable_weights) == trainable
    assert statistics is None or count(model.non_trainable_weights) == statistics


@pytest.mark.parametrize("depth", [20, *map(slow, (32, 44, 56, 110))])
@pytest.mark.sampled(1, 1)
def test_parameter_counts_with_projections(depth):
    model = without_values(build_resnet, depth, shortcut="B")
    assert count(model.trainable_weights) == COUNTS_WITH_PROJECTIONS[depth]


def test_grey_images_of_28_pixels_have_288_parameters_less():
    model = build_resnet(20, input_shape=(28, 28, 1))
    assert count(model.trainable_weights) == 269_722 - 288
    assert model.get_layer("stage3_block3_relu").output.shape == (None, 7, 7, 64)


@pytest.mark.parametrize(
    ("depth", "arguments"),
    [
        (20, {**CIFAR, "dropout": 0.0}),
        # Its parts are in depth 18 and in the wide networks, too.
        slow(20, {**CIFAR, "shortcut": "B"}),
        (20, {**CIFAR, "version": "v2", "shortcut": "A", "attention": "se"}),
        (18, IMAGENET),
        slow(18, {**IMAGENET, "input_shape": (48, 40, 3), "version": "d", "attention": "cbam"}),
        # Fewer pixels leave the last stages so few values a channel that rounding takes over.
        slow(50, {**CIFAR, "input_shape": (64, 64, 3)}),
    ],
)
@pytest.mark.sampled(1)
def test_checks(check_model, depth, arguments):
    check_model(lambda **more: build_resnet(depth, **more), **arguments)


def expected_outputs(net, images, depth, shortcut, version="v1.5", attention=None):
    """The network as the papers and torchvision's v1.5 describe it."""
    bottleneck = depth in (50, 101, 152, 164)
    blocks = {20: (3, 3, 3), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
    imagenet = len(blocks) == 4

    def activated(x, name):
        return np.maximum(net.normalization(x, name), 0)

    x = net.images(images, CIFAR["mean"], CIFAR["variance"])
    if version == "d":
        for number, strides in ((1, 2), (2, 1), (3, 1)):
            x = net.convolution(x, f"stem_conv{number}", strides)
            x = activated(x, f"stem_bn{number}")
    else:
        x = activated(net.convolution(x, "stem_conv", 2 if imagenet else 1), "stem_bn")
    if imagenet:
        x = net.max_pool(x, 3, 2, margin=1)
    for stage, number in enumerate(blocks, start=1):
        for block in range(1, number + 1):
            at = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            if not bottleneck:
                strides = (stride, 1)
            else:
                strides = (stride, 1, 1) if version == "v1" else (1, stride, 1)
            y, common, last = x, x, len(strides)
            for layer, step in enumerate(strides, start=1):
                if version == "v2":
                    if (stage, block, layer) != (1, 1, 1):
                        y = activated(y, f"{at}_bn{layer}")
                    common = y if layer == 1 else common
                    y = net.convolution(y, f"{at}_conv{layer}", step)
                else:
                    y = net.convolution(y, f"{at}_conv{layer}", step)
                    y = net.normalization(y, f"{at}_bn{layer}")
                    y = np.maximum(y, 0) if layer < last else y
            y = attended(net, y, at, attention)
            if x.shape != y.shape and version == "v2":
                x = common
            x = expected_shortcut(net, x, y, at, stride, shortcut, version)
            x = x + y if version == "v2" else np.maximum(x + y, 0)
    if version == "v2":
        x = activated(x, "head_bn")
    return net.dense(x.mean((1, 2)), "logits")


def expected_shortcut(net, x, y, at, stride, shortcut, version):
    if x.shape == y.shape:
        return x
    if shortcut == "A":
        x = x[:, ::stride, ::stride]
        extra = y.shape[-1] - x.shape[-1]
        zeros = np.zeros((*x.shape[:3], extra // 2))
        return np.concatenate([zeros, x, zeros], axis=-1)
    if version == "d" and stride == 2:
        # The mean over the one, two or four pixels of each 2x2 square that are in the map.
        edges = [np.arange(0, size, 2) for size in x.shape[1:3]]
        ones = np.ones_like(x[..., :1])
        x, pixels = (
            np.add.reduceat(np.add.reduceat(map_, edges[0], axis=1), edges[1], axis=2)
            for map_ in (x, ones)
        )
        x, stride = x / pixels, 1
    x = net.convolution(x, f"{at}_shortcut_conv", stride)
    return x if version == "v2" else net.normalization(x, f"{at}_shortcut_bn")


def attended(net, y, at, attention):
    """Squeeze-excite, ECA and CBAM as their papers' equations have them."""

    def gate(x):
        return 1 / (1 + np.exp(-x))

    def matrices(x, place):
        x = np.maximum(net.convolution(x, f"{place}_reduce"), 0)
        return net.convolution(x, f"{place}_expand")

    mean = y.mean((1, 2), keepdims=True)
    if attention == "se":
        return y * gate(matrices(mean, f"{at}_se"))
    if attention == "eca":
        (kernel,) = net.weights(f"{at}_eca_conv")
        kernel = kernel[:, 0, 0]
        line = np.stack([np.convolve(row, kernel[::-1], mode="same") for row in mean[:, 0, 0]])
        return y * gate(line)[:, None, None]
    if attention == "cbam":
        largest = y.max((1, 2), keepdims=True)
        place = f"{at}_cbam_channel"
        y = y * gate(matrices(mean, place) + matrices(largest, place))
        maps = np.stack([y.mean(-1), y.max(-1)], axis=-1)
        return y * gate(net.convolution(maps, f"{at}_cbam_spatial_conv"))
    return y


@pytest.mark.parametrize(
    ("depth", "shortcut", "size", "more"),
    [
        slow(20, "A", 16, {}),
        (20, "A", 13, {}),
        (20, "B", 16, {}),
        # Their equals in torchvision, timm and Keras prove these in the fast run.
        slow(18, "B", 40, {}),
        slow(50, "B", 33, {}),
        slow(50, "B", 33, {"version": "v1"}),
        slow(50, "B", 33, {"version": "v2"}),
        (50, "A", 32, {}),
        (20, "A", 13, {"version": "v2"}),
        (20, "B", 16, {"version": "v2"}),
        # 41 pixels give maps of 11, 6, 3 and 2: pooling has lone rows and columns to average.
        (18, "B", 41, {"version": "d"}),
        (20, "A", 16, {"attention": "se"}),
        (20, "A", 16, {"attention": "eca"}),
        (18, "B", 40, {"attention": "eca"}),
        (20, "A", 16, {"attention": "cbam"}),
        slow(18, "B", 64, {"attention": "cbam", "version": "v2"}),
    ],
)
@pytest.mark.sampled(2, 4)
def test_outputs_follow_the_papers(reference, depth, shortcut, size, more):
    model = build_resnet(
        depth,
        **{**CIFAR, "input_shape": (size, size, 3)},
        shortcut=shortcut,
        classifier_activation=None,
        **more,
    )
    reference.randomize(model)
    images = reference.make_images(model, 2)
    expected = expected_outputs(reference.network(model), images, depth, shortcut, **more)
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_version_1_equals_keras_applications():
    """Keras' ResNet50 has biases before its normalisations, and another epsilon: both fold away."""
    arguments = {"weights": None, "include_top": False, "input_shape": (65, 50, 3)}
    twin = keras.applications.ResNet50(**arguments)
    del arguments["weights"]
    model = build_resnet(50, version="v1", include_preprocessing=False, **arguments)
    random = np.random.default_rng(0)
    for layer in twin.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Smaller scales keep 16 additions of branches from growing without bound.
            values = [random.uniform(0.4, 0.8, weight.shape) for weight in layer.weights]
            values[3] += 0.5
            layer.set_weights(values)
        elif layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * np.sqrt(3), random.normal(0, 0.1, bias.shape)])
    for ours, theirs in keras_names(model):
        convolution = twin.get_layer(f"{theirs}_conv")
        normalization = twin.get_layer(f"{theirs}_bn")
        kernel, bias = convolution.get_weights()
        gamma, beta, mean, variance = normalization.get_weights()
        model.get_layer(ours.replace("bn", "conv")).set_weights([kernel])
        variance += normalization.epsilon - model.get_layer(ours).epsilon
        model.get_layer(ours).set_weights([gamma, beta, mean - bias, variance])
    images = random.normal(0, 1, (2, 65, 50, 3)).astype("float32")
    expected = np.asarray(twin(images))
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-5 * expected.max())


def keras_names(model):
    """Return each of our normalisations and what Keras' name of it begins with."""
    yield "stem_bn", "conv1"
    for layer in model.layers:
        place = re.fullmatch(r"stage(\d)_block(\d+)_(shortcut_)?bn(\d?)", layer.name)
        if place:
            number = 0 if place[3] else place[4]
            yield layer.name, f"conv{int(place[1]) + 1}_block{place[2]}_{number}"


def test_stochastic_depth_grows_linearly_to_the_last_block():
    model = build_resnet(20, **CIFAR, stochastic_depth=0.45, dropout=0.3)
    drops = [layer for layer in model.layers if isinstance(layer, StochasticDepth)]
    assert [layer.name for layer in drops] == [
        f"stage{stage}_block{block}_drop" for stage in (1, 2, 3) for block in (1, 2, 3)
    ]
    np.testing.assert_allclose([layer.rate for layer in drops], np.arange(1, 10) * 0.05)
    assert model.get_layer("head_dropout").rate == 0.3
    assert not any("drop" in layer.name for layer in build_resnet(20, **CIFAR).layers)


@pytest.mark.parametrize(("version", "ending"), [("v1", "relu"), ("v2", "add")])
def test_zero_init_residual_starts_every_block_as_the_shortcut(version, ending):
    model = build_resnet(20, **CIFAR, version=version, zero_init_residual=True, include_top=False)
    inner = keras.Model(
        model.input,
        [model.get_layer(f"stage1_block{block}_{ending}").output for block in (1, 3)],
    )
    first, last = inner(np.full((1, 16, 16, 3), 200.0))
    assert np.max(first) > 0
    np.testing.assert_array_equal(first, last)


@pytest.mark.parametrize(
    ("depth", "arguments", "name"),
    [
        (50, {"version": "v1.5"}, "resnet50"),
        (50, {"version": "v1"}, "resnet50_v1"),
        (20, {"version": "v1"}, "resnet20"),
        (34, {"version": "d", "attention": "se"}, "se_resnet34_d"),
    ],
)
def test_default_names(depth, arguments, name):
    assert without_values(build_resnet, depth, **arguments).name == name


def test_basic_blocks_are_the_same_in_version_1_and_1_5():
    one, other = (without_values(build_resnet, 18, version=name) for name in ("v1", "v1.5"))
    configurations = [[layer.get_config() for layer in model.layers] for model in (one, other)]
    assert configurations[0] == configurations[1]


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


def test_seeds_are_drawn_in_the_order_of_the_layers():
    """So that a seed goes on to give the weights that it gave."""
    keras.utils.set_random_seed(7)
    expected = [keras.initializers.HeNormal().seed for _ in range(20)]
    keras.utils.set_random_seed(7)
    model = without_values(build_resnet, 20)
    kernels = [layer for layer in model.layers if hasattr(layer, "kernel_initializer")]
    assert [layer.kernel_initializer.seed for layer in kernels] == expected


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
