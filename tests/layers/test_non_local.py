import keras
import numpy as np
import pytest
import scipy.special

from recipes.errors import ConfigError
from recipes.layers import NonLocal, PixelAttention

IMAGES = np.random.default_rng(0).normal(size=(3, 5, 4, 6)).astype("float32")


@pytest.mark.parametrize(
    "arguments",
    [
        {"ratio": 3, "zero_init_residual": False},
        {"subsample": True, "scaled": True, "zero_init_residual": False},
    ],
    ids=["default", "subsampled"],
)
def test_layer(check_layer, arguments):
    check_layer(NonLocal, arguments, images=IMAGES)


def test_pixel_attention_layer(check_layer):
    maps = [IMAGES, IMAGES[:, 1:, ::-1], IMAGES[:, :4, :, :5]]
    check_layer(PixelAttention, {"scaled": True}, images=maps)


def attention(query, key, value, scale):
    """Pixel by pixel, as the equation is written."""
    outputs = np.zeros((*query.shape[:3], value.shape[-1]))
    for image, row, column in np.ndindex(query.shape[:3]):
        products = (query[image, row, column] * key[image]).sum(-1) * scale
        weights = scipy.special.softmax(products)[..., None]
        outputs[image, row, column] = (weights * value[image]).sum((0, 1))
    return outputs


@pytest.mark.parametrize(("subsample", "scaled"), [(False, False), (True, True)])
def test_values(arithmetic, subsample, scaled):
    layer = NonLocal(subsample=subsample, scaled=scaled)
    parts = arithmetic.parts(arithmetic.randomized(layer, IMAGES.shape))
    query, key, value = (arithmetic.convolution(IMAGES, parts[x]) for x in ("theta", "phi", "g"))
    assert query.shape[-1] == 3
    if subsample:  # five rows: the last is pooled alone
        key, value = (
            arithmetic.max_pool(
                np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)), constant_values=-np.inf), 2, 2
            )
            for x in (key, value)
        )
    seen = attention(query, key, value, 3**-0.5 if scaled else 1.0)
    expected = IMAGES + arithmetic.batch_norm(
        arithmetic.convolution(seen, parts["conv"]), parts["bn"]
    )
    np.testing.assert_allclose(layer(IMAGES), expected, atol=1e-4)


def test_starts_as_the_identity():
    layer = NonLocal()
    for training in (False, True):
        np.testing.assert_array_equal(layer(IMAGES, training=training), IMAGES)


def test_a_pixel_sees_all_others(arithmetic):
    layer = arithmetic.randomized(NonLocal(), (None, None, None, 6))
    moved = IMAGES.copy()
    moved[:, -1, -1] += 1
    assert (np.abs(layer(moved) - layer(IMAGES))[:, 0, 0] > 1e-5).any(-1).all()


def test_open_sizes():
    inputs = keras.Input((None, None, 6))
    layer = NonLocal(subsample=True, zero_init_residual=False)
    model = keras.Model(inputs, layer(inputs))
    for images in (IMAGES, IMAGES[:, :3]):
        np.testing.assert_allclose(model(images), layer(images), atol=1e-6)


def test_products_beyond_float16():
    # 300 * 300 * 4 is beyond 65504; the pixel that is most like the query is all that counts.
    key = np.array([300.0, -300.0], "float32").reshape(1, 1, 2, 1).repeat(4, -1)
    value = np.array([1.0, 2.0], "float32").reshape(1, 1, 2, 1)
    outputs = PixelAttention(dtype="mixed_float16")([key, key, value])
    np.testing.assert_array_equal(outputs, value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 0}, "ratio must be a positive integer"),
        ({"subsample": 1}, "subsample must be True or False"),
        ({"scaled": "no"}, "scaled must be True or False"),
        ({"zero_init_residual": None}, "zero_init_residual must be True or False"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        NonLocal(**arguments)
