import keras
import numpy as np
import pytest

from recipes.errors import ConfigError
from recipes.models import build_vgg
from recipes.models._symbolic import without_values

# torchvision's weight metadata, and the batch-norm statistics, which it does not count.
COUNTS = {
    (11, False): (132_863_336, 0),
    (13, False): (133_047_848, 0),
    (16, False): (138_357_544, 0),
    (19, False): (143_667_240, 0),
    (11, True): (132_868_840, 5_504),
    (13, True): (133_053_736, 5_888),
    (16, True): (138_365_992, 8_448),
    (19, True): (143_678_248, 11_008),
}
# Columns B, D and E of the paper's table 1.
STAGES = {13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
SMALL = {
    "input_shape": (32, 32, 3),
    "classes": 5,
    "dense_units": 24,
    "mean": [120.0] * 3,
    "variance": [4000.0] * 3,
}


def symbolic(*arguments, **keywords):
    """Build a model whose variables have shapes but no values: the full ones take 550 MB."""
    return without_values(build_vgg, *arguments, **keywords)


def count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize(("depth", "batch_norm"), COUNTS.keys())
def test_parameter_counts(depth, batch_norm):
    model = symbolic(depth, batch_norm=batch_norm)
    trainable, statistics = COUNTS[depth, batch_norm]
    assert count(model.trainable_weights) == trainable
    assert count(model.non_trainable_weights) == statistics
    assert model.name == f"vgg{depth}" + ("_bn" if batch_norm else "")


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.slow
def test_checks(check_model, batch_norm):
    arguments = {**SMALL, "input_shape": (64, 64, 3), "dropout": 0.0}
    check_model(lambda **more: build_vgg(11, batch_norm=batch_norm, **more), **arguments)


@pytest.mark.parametrize(("depth", "batch_norm"), [(16, False), (13, True)])
def test_outputs_follow_the_paper(reference, depth, batch_norm):
    model = build_vgg(depth, batch_norm=batch_norm, **SMALL, classifier_activation=None)
    reference.randomize(model)
    images = reference.make_images(model, 2)
    net = reference.network(model)
    x = net.images(images, SMALL["mean"], SMALL["variance"])
    for stage, number in enumerate(STAGES[depth], start=1):
        for layer in range(1, number + 1):
            x = net.convolution(x, f"stage{stage}_conv{layer}")
            if batch_norm:
                x = net.normalization(x, f"stage{stage}_bn{layer}")
            x = np.maximum(x, 0)
        x = net.max_pool(x, 2, 2)
    x = x.reshape(len(x), -1)
    for layer in (1, 2):
        x = np.maximum(net.dense(x, f"head_dense{layer}"), 0)
    expected = net.dense(x, "logits")
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("depth", [16, 19])
def test_features_equal_keras_applications(depth):
    arguments = {"include_top": False, "input_shape": (40, 33, 3)}
    twin = getattr(keras.applications, f"VGG{depth}")(weights=None, **arguments)
    model = build_vgg(depth, include_preprocessing=False, **arguments)
    random = np.random.default_rng(0)
    for stage, number in enumerate(STAGES[depth], start=1):
        for layer in range(1, number + 1):
            theirs = twin.get_layer(f"block{stage}_conv{layer}")
            kernel, bias = theirs.get_weights()
            theirs.set_weights([kernel * np.sqrt(2), random.normal(0, 0.1, bias.shape)])
            model.get_layer(f"stage{stage}_conv{layer}").set_weights(theirs.get_weights())
    images = random.normal(0, 1, (2, 40, 33, 3)).astype("float32")
    expected = np.asarray(twin(images))
    assert expected.max() > 0.1
    np.testing.assert_allclose(model(images), expected, rtol=0, atol=1e-5 * expected.max())


def test_initial_weights():
    model = build_vgg(11, input_shape=(32, 32, 3), dense_units=256)
    kernel, bias = model.get_layer("stage4_conv2").get_weights()
    np.testing.assert_allclose(np.square(kernel).mean(), 2 / (9 * 512), rtol=0.05)
    np.testing.assert_array_equal(bias, 0)
    np.testing.assert_allclose(model.get_layer("logits").get_weights()[0].std(), 0.01, rtol=0.05)


@pytest.mark.parametrize(
    ("size", "inputs"),
    [
        ((224, 224), 7 * 7 * 512),
        ((448, 224), 7 * 7 * 512),  # averaged from 14x7
        ((240, 224), 7 * 7 * 512),  # 7.5 rows, floored
        ((256, 256), 8 * 8 * 512),  # flattened as it is
        ((32, 32), 512),
    ],
)
def test_sizes(size, inputs):
    model = symbolic(11, input_shape=(*size, 3))
    assert model.get_layer("head_flatten").output.shape == (None, inputs)


def test_dropout():
    rates = [layer.rate for layer in symbolic(11).layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == [0.5, 0.5]
    names = [layer.name for layer in symbolic(11, dropout=0.0).layers]
    assert not any("dropout" in name for name in names)


def test_without_top():
    arguments = {"input_shape": (None, None, 3), "include_top": False}
    assert symbolic(11, **arguments).output_shape == (None, None, None, 512)
    assert symbolic(11, **arguments, pooling="avg").output_shape == (None, 512)


@pytest.mark.parametrize(
    ("depth", "arguments", "message"),
    [
        (12, {}, "depth must be one of 11, 13, 16, 19, received: 12; the nearest is 1"),
        (16, {"input_shape": (None, 224, 3)}, "needs images of a known size, received"),
        (16, {"input_shape": (31, 31, 3)}, "at least 32 pixels a side"),
        (16, {"dense_units": 0}, "dense_units must be a positive integer"),
        (16, {"dropout": -0.1}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_wrong_arguments(depth, arguments, message):
    with pytest.raises(ConfigError, match=message):
        build_vgg(depth, **arguments)
