import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

import augment
from augment import degradation


def saved_and_read(image, quality):
    """Return a uint8 array as PIL gives it back from JPEG, chroma at half the size."""
    file = io.BytesIO()
    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    picture.save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file)).reshape(image.shape)


def picture(shape, seed=0):
    """Make soft shapes, a hard edge and a little noise."""
    generator = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(generator.normal(size=shape), (3, 3, 0.3))
    image = (image - image.min()) / np.ptp(image) * 255
    image[shape[0] // 3 : shape[0] // 2, shape[1] // 4 :] = generator.integers(0, 255, shape[2])
    return np.clip(image + generator.normal(0, 3, shape), 0, 255).astype(np.uint8)


def noise(shape):
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("quality", [1, 10, 30, 49, 50, 75, 95, 100])
@pytest.mark.parametrize("make", [picture, noise])
@pytest.mark.parametrize("shape", [(64, 48, 3), (37, 53, 3), (9, 6, 3), (37, 53, 1), (8, 5, 1)])
def test_equals_pil_to_the_bit(shape, make, quality):
    image = make(shape)
    result = degradation.compress_jpeg(tf.constant(image), quality)
    assert result.dtype == tf.uint8
    np.testing.assert_array_equal(result, saved_and_read(image, quality))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_equals_pil_to_the_bit_in_graphs(jit_compile):
    """With a quality known to the graph, whose optimizer then divides by multiplying."""
    image = picture((37, 53, 3))
    compiled = tf.function(
        lambda images: degradation.compress_jpeg(images, 40),
        jit_compile=jit_compile,
        autograph=False,
    )
    np.testing.assert_array_equal(compiled(tf.constant(image)), saved_and_read(image, 40))


def test_a_narrow_image_is_near_pil():
    """There libjpeg leaves out the smooth enlargement of chroma."""
    image = picture((30, 4, 3))
    result = degradation.compress_jpeg(tf.constant(image), 60).numpy().astype(int)
    assert np.abs(result - saved_and_read(image, 60)).mean() < 5
    one = degradation.compress_jpeg(tf.constant([[[200, 100, 50]]], tf.uint8), 95).numpy()
    assert np.abs(one - np.array([200, 100, 50.0])).max() < 5


def test_floats_are_rounded_to_levels_first():
    image = picture((24, 24, 3))
    floats = tf.constant(image - 0.4 * (image > 0), tf.float32)
    result = degradation.compress_jpeg(floats, 70)
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, saved_and_read(image, 70))


def test_each_image_has_its_own_quality():
    images = np.stack([picture((24, 24, 3), seed) for seed in range(8)])
    operation = augment.random_jpeg_quality.operation(quality=(10, 90))
    qualities = operation.draw([1, 1], images.shape, 1.0)[0]["quality"].numpy()
    assert len(set(qualities)) > 4
    result = augment.random_jpeg_quality(images, [1, 1], quality=(10, 90)).numpy()
    for image, changed, quality in zip(images, result, qualities, strict=True):
        np.testing.assert_array_equal(changed, saved_and_read(image, int(quality)))


def test_both_ends_of_the_range_are_drawn():
    operation = augment.random_jpeg_quality.operation(quality=(98, 100))
    qualities = operation.draw([0, 0], (900, 8, 8, 3), 1.0)[0]["quality"].numpy()
    assert np.bincount(qualities)[98:].min() > 240
    assert set(qualities) == {98, 99, 100}


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match=r"1 channel \(grey\) or 3 \(RGB\) for JPEG, received: 4"):
        augment.random_jpeg_quality(np.zeros((1, 8, 8, 4), np.uint8), [0, 0])


@pytest.mark.parametrize(
    ("quality", "message"),
    [
        (0, "quality must be an integer from 1 to 100, received: 0"),
        ((10, 101), r"quality\[1\] must be an integer from 1 to 100, received: 101"),
        ((60, 50), "quality must be in rising order"),
        ((1, 2, 3), "quality must be a number or two numbers"),
        (50.5, "quality must be an integer"),
    ],
)
def test_bad_arguments(quality, message):
    with pytest.raises(ValueError, match=message):
        augment.random_jpeg_quality(np.zeros((1, 8, 8, 3), np.uint8), [0, 0], quality=quality)
