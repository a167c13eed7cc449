import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.layers import ChannelNormalization

MEAN, VARIANCE = [120.0, 64.5, 7.25], [900.0, 4096.0, 0.25]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype("float32")


def test_layer(check_layer):
    check_layer(
        ChannelNormalization,
        {"mean": MEAN, "variance": VARIANCE},
        images=IMAGES,
        output_dtype="float32",
    )


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32"])
def test_values(dtype):
    outputs = ChannelNormalization(MEAN, VARIANCE)(IMAGES.astype(dtype))
    expected = (IMAGES.astype("float64") - MEAN) / np.sqrt(VARIANCE)
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)
    assert outputs.dtype == "float32"


def test_float_images_keep_their_precision_under_mixed_precision():
    # 200.5 is not a bfloat16 number.
    layer = ChannelNormalization([200.0], [1.0], dtype="mixed_bfloat16")
    images = np.full((1, 2, 2, 1), 200.5, "float32")
    model = keras.Sequential([keras.Input((2, 2, 1)), layer])
    for outputs in (layer(images), model(images), model.predict(images, verbose=0)):
        np.testing.assert_array_equal(outputs, np.full((1, 2, 2, 1), 0.5))


def test_a_constant_channel_is_only_centred():
    outputs = ChannelNormalization([5.0], [0.0])(np.full((1, 2, 2, 1), 7.0))
    np.testing.assert_array_equal(outputs, np.full((1, 2, 2, 1), 2.0))


def test_numpy_statistics_are_kept_as_numbers():
    layer = ChannelNormalization(np.float32([1, 2]), np.float64([3, 4]))
    assert layer.get_config()["mean"] == [1.0, 2.0]
    assert all(type(value) is float for value in layer.variance)


@pytest.mark.parametrize(
    ("mean", "variance", "message"),
    [
        ([1.0, 2.0], [1.0], "one number a channel each, received 2 and 1"),
        ([], [], "mean must hold one finite number"),
        ([float("nan")], [1.0], "mean must hold one finite number"),
        ([0.0], [float("inf")], "variance must hold one finite number"),
        ([0.0], [-1.0], "variance must not be negative"),
    ],
)
def test_wrong_statistics(mean, variance, message):
    with pytest.raises(ValueError, match=message):
        ChannelNormalization(mean, variance)


def test_wrong_channels():
    with pytest.raises(ValueError, match="of 3 channels, received inputs of shape"):
        ChannelNormalization(MEAN, VARIANCE)(np.zeros((1, 4, 4, 1), "float32"))


def test_plain_calls_leave_later_batch_normalisation_alone():
    """The fault of Keras 3.15's own preprocessing layers must not be ours."""
    model = keras.Sequential(
        [
            keras.Input((4, 5, 3)),
            ChannelNormalization(MEAN, VARIANCE),
            keras.layers.BatchNormalization(),
        ]
    )
    before = model.get_weights()
    model(IMAGES)
    for value, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


MANY = np.random.default_rng(1).integers(0, 256, (600, 6, 5, 3)).astype("uint8")
MANY[:300, ..., 1] //= 9  # so that halves differ


@pytest.mark.parametrize(
    "images",
    [
        MANY,
        MANY.astype("float32"),
        tf.constant(MANY),
        [MANY[:7], MANY[7:300], MANY[300:]],
        tf.data.Dataset.from_tensor_slices(MANY).batch(64),
        tf.data.Dataset.from_tensor_slices((MANY, np.arange(600))).batch(128),
    ],
    ids=["bytes", "floats", "tensor", "batches", "dataset", "dataset with labels"],
)
def test_statistics_of_images(images):
    layer = ChannelNormalization.from_images(images, name="normalization")
    values = MANY.astype("float64")
    np.testing.assert_allclose(layer.mean, values.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(layer.variance, values.var((0, 1, 2)), rtol=1e-12)
    assert layer.name == "normalization"


def test_statistics_of_large_values_that_differ_little():
    images = 1e6 + np.random.default_rng(0).integers(0, 2, (512, 4, 4, 1))
    layer = ChannelNormalization.from_images(images)
    np.testing.assert_allclose(layer.variance, images.var(), rtol=1e-9)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (MANY[:0], "at least one image, received none"),
        ([], "at least one image, received none"),
        (MANY[0], r"in batches \(n, height, width, channels\), received the shape \(6, 5, 3\)"),
        ([MANY, MANY[..., :1]], "same number of channels throughout, received 3 and 1"),
    ],
)
def test_statistics_of_what_is_not_images(images, message):
    with pytest.raises(ValueError, match=message):
        ChannelNormalization.from_images(images)


def test_a_constant_channel_of_float64_is_only_centred():
    images = np.random.default_rng(0).random((50, 28, 28, 2))
    images[..., 1] = 128 / 255
    layer = ChannelNormalization.from_images(images)
    assert layer.variance[1] == 0
    np.testing.assert_allclose(layer.variance[0], images[..., 0].var(), rtol=1e-12)
    np.testing.assert_allclose(layer(images[:1] + 1 / 255)[..., 1], 1 / 255, atol=1e-6)
