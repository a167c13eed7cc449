import functools

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from augment import center_crop, resize_crop
from augment.resize import crop_and_resize

# Height, width, channels, and height and width of the result: enlarged, reduced, prime lengths.
CASES = [((12, 17, 3), (20, 31)), ((40, 33, 1), (9, 7)), ((11, 50, 4), (37, 16))]


def boxes_in(height, width, count=12, seed=0):
    """Return random rectangles, the whole image and one pixel among them."""
    generator = np.random.default_rng(seed)
    sides = generator.integers(1, [height + 1, width + 1], (count, 2))
    sides[:2] = (height, width), (1, 1)
    places = generator.integers(0, np.array([height, width]) + 1 - sides)
    return np.concatenate([places, sides], axis=1).astype(np.int32)


def cut(image, box):
    top, left, height, width = box
    return image[top : top + height, left : left + width].astype(np.float64)


def interpolation_matrix(length, scaled, kernel):
    """Weights, (scaled, length): the kernel at the distances of the pixels' middles."""
    middles = (np.arange(scaled) + 0.5) * length / scaled
    weights = kernel(np.arange(length) + 0.5 - middles[:, None])
    return weights / weights.sum(1, keepdims=True)


def triangle(distance):
    return np.maximum(1 - np.abs(distance), 0)


def cubic(distance, a=-0.5):
    """Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981, equation 4."""
    x = np.abs(distance)
    inner = (a + 2) * x**3 - (a + 3) * x**2 + 1
    outer = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))


KERNELS = {"bilinear": triangle, "bicubic": cubic}


def interpolated(image, size, interpolation):
    """Resize by matrices, in float64; beyond the image are the weights of its pixels alone."""
    height, width, _ = image.shape
    if interpolation == "nearest":
        rows, columns = (
            np.floor((np.arange(scaled) + 0.5) * length / scaled + 1e-9).astype(int)
            for length, scaled in zip((height, width), size, strict=True)
        )
        return image[rows][:, columns]
    kernel = KERNELS[interpolation]
    down = interpolation_matrix(height, size[0], kernel)
    across = interpolation_matrix(width, size[1], kernel)
    return np.einsum("yh,hwc,xw->yxc", down, image, across)


def pil_resized(image, size, interpolation):
    """Resize each channel with PIL as 32-bit floats, which it does not round in between."""
    channels = [
        PIL.Image.fromarray(channel.astype(np.float32)).resize(
            size[::-1], getattr(PIL.Image.Resampling, interpolation.upper())
        )
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def check(found, expected, dtype):
    expected = np.clip(expected, 0, 255) if dtype == np.uint8 else expected
    assert found.dtype == dtype
    # Half a level of rounding, and two hundredths for weights and sums in fewer digits.
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.52 if dtype == np.uint8 else 2e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("shape", "size"), CASES)
@pytest.mark.sampled(3)
def test_equals_matrices(random_images, shape, size, interpolation, dtype):
    boxes = boxes_in(*shape[:2])
    images = random_images(len(boxes), *shape).astype(dtype)
    found = resize_crop(images, boxes, size=size, interpolation=interpolation).numpy()
    for image, box, result in zip(images, boxes, found, strict=True):
        check(result, interpolated(cut(image, box), size, interpolation), dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("shape", "size"), CASES)
@pytest.mark.sampled(2)
def test_antialiased_equals_pil(random_images, shape, size, interpolation, dtype):
    boxes = boxes_in(*shape[:2])
    images = random_images(len(boxes), *shape).astype(dtype)
    found = resize_crop(images, boxes, size=size, interpolation=interpolation, antialias=True)
    for image, box, result in zip(images, boxes, found.numpy(), strict=True):
        check(result, pil_resized(cut(image, box), size, interpolation), dtype)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_antialiased_is_within_a_level_of_pil_on_bytes(random_images, interpolation):
    """PIL rounds bytes between its two passes."""
    images = random_images(4, 40, 33)
    found = resize_crop(
        images, [3, 1, 30, 29], size=(13, 11), interpolation=interpolation, antialias=True
    )
    resample = getattr(PIL.Image.Resampling, interpolation.upper())
    for image, result in zip(images, found.numpy(), strict=True):
        cropped = PIL.Image.fromarray(image).crop((1, 3, 30, 33))
        expected = np.asarray(cropped.resize((11, 13), resample)).astype(int)
        assert np.abs(result - expected).max() <= 1


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_a_window_is_a_part_of_the_resized_rectangle(random_images, interpolation):
    image, box = random_images(1, 30, 41)[0], [2, 5, 25, 33]
    found = crop_and_resize(
        tf.constant(image),
        tf.constant(box),
        (12, 10),
        window=tf.constant([19, 47, 6, 31]),
        interpolation=interpolation,
    )
    expected = interpolated(cut(image, box), (19, 47), interpolation)[6:18, 31:41]
    check(found.numpy(), expected, np.uint8)


@pytest.mark.parametrize("antialias", [False, True])
def test_the_same_size_changes_nothing(random_images, antialias):
    images = random_images(3, 9, 14)
    for dtype in (np.uint8, np.float32):
        found = resize_crop(
            images.astype(dtype), [0, 0, 9, 14], size=(9, 14), antialias=antialias
        ).numpy()
        np.testing.assert_array_equal(found, images)


def test_without_xla_and_sizes_the_same_pixels(random_images):
    images, box = random_images(3, 21, 30), [4, 2, 15, 26]
    unknown = tf.TensorSpec([None] * 4, tf.uint8)
    for antialias in (False, True):
        resize = functools.partial(resize_crop, boxes=box, size=(8, 12), antialias=antialias)
        graph = tf.function(resize, autograph=False, input_signature=[unknown])
        difference = graph(images).numpy().astype(int) - resize(images).numpy()
        # Whole numbers without antialias, so the very same bits.
        assert np.abs(difference).max() <= int(antialias)


class TestCenterCrop:
    @pytest.mark.parametrize("shape", [(30, 50), (50, 30), (33, 33)])
    def test_resizes_and_cuts_the_middle(self, random_images, shape):
        images = random_images(2, *shape)
        found = center_crop(images, size=(20, 16), shorter_side=24).numpy()
        scaled = tuple(round(24 * side / min(shape)) for side in shape)
        top, left = (scaled[0] - 20) // 2, (scaled[1] - 16) // 2
        for image, result in zip(images, found, strict=True):
            expected = interpolated(image.astype(float), scaled, "bilinear")
            check(result, expected[top : top + 20, left : left + 16], np.uint8)

    def test_without_resizing(self, random_images):
        images = random_images(2, 9, 12)
        np.testing.assert_array_equal(center_crop(images, size=4), images[:, 2:6, 4:8])

    def test_single_images_of_any_size_in_a_dataset(self, random_images):
        images = [random_images(1, *shape)[0] for shape in ((20, 31), (44, 25))]
        dataset = tf.data.Dataset.from_generator(
            lambda: iter(images), output_signature=tf.TensorSpec((None, None, 3), tf.uint8)
        )
        dataset = dataset.map(lambda image: center_crop(image, size=12, shorter_side=16))
        assert dataset.element_spec.shape == (12, 12, 3)
        for image, result in zip(images, dataset.as_numpy_iterator(), strict=True):
            expected = center_crop(image[None], size=12, shorter_side=16)[0]
            np.testing.assert_array_equal(result, expected)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"size": 11}, "images must be at least 11 x 11, or be given shorter_side, .* 10 x 12"),
            ({"size": 8, "shorter_side": 7}, "shorter_side must be at least the larger .* 8, rec"),
            ({"size": 0}, "size must be height and width, integers of at least 1, .* received: 0"),
            ({"size": (4, 4, 4)}, r"size must be height and width, .* received: \(4, 4, 4\)"),
            ({"size": 8.5}, "size must be height and width"),
            ({"size": 8, "interpolation": "area"}, "interpolation must be 'nearest' or 'bilinear'"),
            ({"size": 8, "interpolation": "nearest", "antialias": True}, "antialias must be False"),
        ],
    )
    def test_bad_arguments(self, random_images, arguments, message):
        with pytest.raises(ValueError, match=message):
            center_crop(random_images(2, 10, 12), **arguments)


def test_bad_images_and_boxes(random_images):
    with pytest.raises(ValueError, match=r"boxes must have the shape \(batch, 4\) or \(4,\)"):
        resize_crop(random_images(2), [0, 0, 4], size=4)
    with pytest.raises(ValueError, match="boxes must be one for all images or 2, .* received: 3"):
        resize_crop(random_images(2), [[0, 0, 4, 4]] * 3, size=4)
    for box in ([-1, 0, 4, 4], [0, 5, 4, 4], [0, 0, 0, 4], [0, 0, 9, 4]):
        with pytest.raises(ValueError, match=rf"inside the images, received: \{box} for .* 8 x 8"):
            resize_crop(random_images(2), [[0, 0, 4, 4], box], size=4)
    with pytest.raises(TypeError, match="images must be uint8 or float32, received: float16"):
        resize_crop(random_images(2).astype(np.float16), [0, 0, 4, 4], size=4)
