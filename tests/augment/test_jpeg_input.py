import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from augment import decode_random_resized_crop, random_resized_crop
from augment._draw import Draw
from augment.resized_crop import random_boxes


def picture(height, width, seed=0):
    """Return a smooth random image, which JPEG keeps well."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


SEEDS = [[seed, 7] for seed in range(5)]


@pytest.mark.parametrize("options", [{}, {"antialias": True}, {"interpolation": "nearest"}])
@pytest.mark.sampled(1)
def test_same_pixels_as_the_operation_on_the_whole_image(options):
    image = picture(96, 130)
    contents = encoded(image, "PNG")
    for seed in SEEDS:
        found = decode_random_resized_crop(contents, seed, size=(40, 36), **options).numpy()
        expected = random_resized_crop(np.asarray(image)[None], seed, size=(40, 36), **options)
        difference = found.astype(int) - expected[0].numpy()
        if options.get("interpolation") == "nearest":
            # TensorFlow computes places in float32, and may take the neighbour half-way.
            assert (difference != 0).mean() < 0.05
        else:
            assert np.abs(difference).max() <= 1


def test_of_a_jpeg_only_the_rectangle():
    image = picture(96, 130)
    contents = encoded(image, quality=92)
    # By PIL, whose decoder may differ from TensorFlow's by a few levels.
    whole = np.asarray(PIL.Image.open(io.BytesIO(contents)))[None]
    for seed in SEEDS:
        found = decode_random_resized_crop(contents, seed, size=32, reduce=False).numpy()
        expected = random_resized_crop(whole, seed, size=32)[0].numpy()
        difference = np.abs(found.astype(int) - expected)
        assert difference.mean() < 1.5
        assert difference.max() < 20


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_large_rectangle_is_decoded_smaller(reduction):
    image = picture(256, 320)
    contents = encoded(image, quality=95, subsampling=0)
    size = {2: 64, 4: 32, 8: 16}[reduction]
    arguments = {"scale": (0.5, 0.7), "ratio": (1.0, 1.0)}
    blocks = np.asarray(image, float).reshape(
        256 // reduction, reduction, 320 // reduction, reduction, 3
    )
    smaller = blocks.mean((1, 3))
    for seed in SEEDS:
        found = decode_random_resized_crop(contents, seed, size=size, **arguments).numpy()
        draw = Draw("random_resized_crop", tf.constant(seed, tf.int64), (1, 256, 320, 3))
        box = np.floor(random_boxes(draw, **arguments)[0].numpy() / reduction + 0.5).astype(int)
        assert min(box[2:]) < 2 * size
        cropped = smaller[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
        expected = tf.image.resize(cropped, (size, size)).numpy()
        difference = np.abs(found - expected)
        assert difference.mean() < 1.5


def test_rectangles_at_the_far_edges():
    # Sides that no reduction divides: what is decoded must not reach beyond the image.
    contents = encoded(picture(241, 333))
    for seed in range(40):
        found = decode_random_resized_crop(
            contents, [seed, 0], size=8, scale=(0.9, 1.0), ratio=(1.2, 1.5)
        )
        assert found.shape == (8, 8, 3)


def test_in_a_dataset_the_same_in_any_order():
    contents = [encoded(picture(64 + 16 * place, 80, place)) for place in range(6)]
    dataset = tf.data.Dataset.from_tensor_slices(contents).enumerate()

    def crop(step, file):
        return decode_random_resized_crop(file, tf.stack([3, step]), size=24)

    parallel = dataset.map(crop, num_parallel_calls=4).batch(6)
    assert parallel.element_spec.shape[1:] == (24, 24, 3)
    expected = [
        decode_random_resized_crop(file, [3, step], size=24) for step, file in enumerate(contents)
    ]
    for images in (next(parallel.as_numpy_iterator()), next(parallel.as_numpy_iterator())):
        np.testing.assert_array_equal(images, np.stack(expected))
    other = decode_random_resized_crop(contents[0], [4, 0], size=24)
    assert (other.numpy() != expected[0].numpy()).any()


@pytest.mark.parametrize(
    ("kind", "mode", "channels"),
    [
        ("JPEG", "RGB", 1),
        ("JPEG", "L", 3),
        ("JPEG", "L", 1),
        ("PNG", "RGB", 1),
        ("PNG", "RGBA", 3),
        ("PNG", "L", 3),
        ("PNG", "L", 1),
        ("BMP", "RGB", 3),
        ("GIF", "RGB", 3),
    ],
)
def test_grey_and_colour(kind, mode, channels):
    contents = encoded(picture(48, 64).convert(mode), kind)
    found = decode_random_resized_crop(contents, [0, 0], size=16, channels=channels)
    assert found.shape == (16, 16, channels)
    assert found.dtype == tf.uint8
    if (mode, channels) == ("L", 3):
        assert (found[..., :1] == found).numpy().all()


@pytest.mark.parametrize("contents", [b"", b"no image", b"\xff\xd8\xff and then nothing"])
def test_what_is_no_image(contents):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_random_resized_crop(contents, [0, 0], size=8)


@pytest.mark.parametrize(
    ("contents", "arguments", "message"),
    [
        ([b"a", b"b"], {"size": 8}, r"the bytes of one file, a string scalar, received: string of"),
        (np.zeros(4, np.uint8), {"size": 8}, "a string scalar, received: uint8 of shape"),
        (b"", {"size": 0}, "size must be height and width"),
        (b"", {"size": 8, "channels": 4}, "channels must be 1 or 3, received: 4"),
        (b"", {"size": 8, "reduce": 2}, "reduce must be True or False"),
        (b"", {"size": 8, "scale": (0, 1)}, r"scale\[0\] must be a number"),
    ],
)
def test_bad_arguments(contents, arguments, message):
    with pytest.raises(ValueError, match=message):
        decode_random_resized_crop(contents, [0, 0], **arguments)
