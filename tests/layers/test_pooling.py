"""Blur pooling and generalised-mean pooling against SciPy and their equations."""

import keras
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from recipes.errors import ConfigError
from recipes.layers import BlurPooling, GeneralizedMeanPooling

IMAGES = np.random.default_rng(0).normal(size=(3, 7, 6, 4)).astype("float32")
POSITIVE = np.abs(IMAGES) + 0.01

LAYERS = {
    "blur": (BlurPooling, {}),
    "blur, all arguments": (BlurPooling, {"kernel_size": 4, "strides": 3, "padding": "zeros"}),
    "gem": (GeneralizedMeanPooling, {"power": 2.5}),
    "gem, all arguments": (
        GeneralizedMeanPooling,
        {"power": 4, "learned": False, "epsilon": 0.01, "keepdims": True},
    ),
}


@pytest.mark.parametrize(("layer_class", "arguments"), LAYERS.values(), ids=LAYERS.keys())
def test_layer(check_layer, layer_class, arguments):
    check_layer(layer_class, arguments, images=POSITIVE)


# The rows of Zhang's section 3.2 and of his code.
ROWS = {1: [1], 2: [1, 1], 3: [1, 2, 1], 4: [1, 3, 3, 1], 5: [1, 4, 6, 4, 1]}
MODES = {"reflect": "mirror", "symmetric": "reflect", "zeros": "constant"}  # SciPy's names


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", MODES)
@pytest.mark.parametrize("size", ROWS)
def test_blur(size, padding, strides):
    row = np.array(ROWS[size]) / sum(ROWS[size])
    expected = IMAGES.astype("float64")
    for axis in (1, 2):
        # SciPy centres an even kernel half a pixel to the left, Zhang half a pixel to the right.
        origin = 0 if size % 2 else -1
        expected = scipy.ndimage.correlate1d(
            expected, row, axis, mode=MODES[padding], origin=origin
        )
    layer = BlurPooling(size, strides, padding)
    np.testing.assert_allclose(layer(IMAGES), expected[:, ::strides, ::strides], atol=1e-6)


def test_blur_moves_less_with_the_image():
    """What it is for: subsampled after a max pooling, a moved image differs less."""
    image = np.random.default_rng(0).normal(size=(1, 33, 33, 8)).astype("float32")
    pool = keras.layers.MaxPooling2D(2, strides=1)
    changes = {}
    for name, subsample in {"blur": BlurPooling(3, 2), "none": BlurPooling(1, 2)}.items():
        maps = [np.asarray(subsample(pool(part))) for part in (image[:, :, :-1], image[:, :, 1:])]
        energy = [np.sum(one**2, dtype="float64") for one in maps]
        changes[name] = np.sqrt(np.sum((maps[0] - maps[1]) ** 2) / energy[0])
    assert changes["blur"] < 0.8 * changes["none"]


def test_a_constant_stays_constant_up_to_the_edge():
    np.testing.assert_allclose(BlurPooling(5)(np.full((1, 6, 6, 2), 3.0)), 3.0, rtol=1e-6)


def test_open_sizes():
    inputs = keras.Input((None, None, 4))
    for layer in (BlurPooling(4), GeneralizedMeanPooling()):
        model = keras.Model(inputs, layer(inputs))
        np.testing.assert_allclose(model(POSITIVE), layer(POSITIVE), atol=1e-6)
    assert BlurPooling().compute_output_shape((None, None, 7, 4)) == (None, None, 4, 4)


@pytest.mark.parametrize(("padding", "smallest"), [("reflect", 3), ("symmetric", 2), ("zeros", 1)])
def test_feature_map_too_small_for_the_padding(padding, smallest):
    layer = BlurPooling(5, padding=padding)
    assert layer(np.zeros((1, smallest, 9, 2), "float32")).shape[1] == -(-smallest // 2)
    if smallest > 1:
        with pytest.raises(ConfigError, match=f"sides of at least {smallest} pixels"):
            BlurPooling(5, padding=padding)(np.zeros((1, 9, smallest - 1, 2), "float32"))


@pytest.mark.parametrize("power", [1.0, 2.0, 3.7])
def test_generalized_mean(power):
    expected = np.mean(POSITIVE.astype("float64") ** power, (1, 2)) ** (1 / power)
    np.testing.assert_allclose(GeneralizedMeanPooling(power)(POSITIVE), expected, rtol=1e-5)
    kept = GeneralizedMeanPooling(power, keepdims=True)(POSITIVE)
    np.testing.assert_allclose(kept[:, 0, 0], expected, rtol=1e-5)


def test_limits_of_the_power():
    np.testing.assert_allclose(
        GeneralizedMeanPooling(1)(POSITIVE), POSITIVE.mean((1, 2)), rtol=1e-5
    )
    np.testing.assert_allclose(
        GeneralizedMeanPooling(500)(POSITIVE), POSITIVE.max((1, 2)), rtol=0.01
    )


def test_values_below_epsilon():
    layer = GeneralizedMeanPooling(3, epsilon=0.5)
    expected = np.mean(np.maximum(IMAGES.astype("float64"), 0.5) ** 3, (1, 2)) ** (1 / 3)
    np.testing.assert_allclose(layer(IMAGES), expected, rtol=1e-5)
    np.testing.assert_allclose(GeneralizedMeanPooling()(np.zeros((1, 2, 2, 1))), 1e-6, rtol=1e-4)


def test_gradients_are_those_of_the_equation():
    """Against central differences in float64 of the equation as it is written."""
    layer = GeneralizedMeanPooling(2.5)
    images = tf.Variable(POSITIVE[:1, :2, :2, :2])
    upstream = np.array([[1.0, -2.0]], "float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(images) * upstream)
    by_images, by_power = tape.gradient(loss, [images, layer.exponent.value])

    def reference(values, power):
        return np.sum(np.mean(values**power, (1, 2)) ** (1 / power) * upstream)

    values, step = images.numpy().astype("float64"), 1e-5
    slope = (reference(values, 2.5 + step) - reference(values, 2.5 - step)) / (2 * step)
    np.testing.assert_allclose(by_power, slope, rtol=1e-3)
    for place in np.ndindex(values.shape):
        moved = np.zeros(values.shape)
        moved[place] = step
        slope = (reference(values + moved, 2.5) - reference(values - moved, 2.5)) / (2 * step)
        np.testing.assert_allclose(by_images[place], slope, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_powers_of_large_values_do_not_overflow(policy):
    images = np.full((1, 64, 64, 2), 1000.0, "float32")
    pooled = GeneralizedMeanPooling(20, dtype=policy)(images)
    np.testing.assert_allclose(np.asarray(pooled, "float32"), 1000, rtol=0.01)


def test_a_power_that_is_not_learned():
    layer = GeneralizedMeanPooling(2, learned=False)
    layer.build((None, 3, 3, 2))
    assert not layer.trainable_weights
    assert len(layer.weights) == 1


@pytest.mark.parametrize(
    ("layer_class", "arguments", "message"),
    [
        (BlurPooling, {"kernel_size": 0}, "kernel_size must be a positive integer"),
        (BlurPooling, {"strides": 0}, "strides must be a positive integer"),
        (BlurPooling, {"padding": "reflekt"}, "did you mean 'reflect'"),
        (GeneralizedMeanPooling, {"power": 0}, "power must be a finite number above 0"),
        (GeneralizedMeanPooling, {"learned": 1}, "learned must be True or False"),
        (GeneralizedMeanPooling, {"epsilon": -1.0}, "epsilon must be a finite number above 0"),
        (GeneralizedMeanPooling, {"keepdims": None}, "keepdims must be True or False"),
    ],
)
def test_wrong_arguments(layer_class, arguments, message):
    with pytest.raises(ConfigError, match=message):
        layer_class(**arguments)
