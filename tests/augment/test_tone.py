import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from scipy import stats

import augment
from augment import tone
from augment._chain import chain_of


def by_channel(function, image):
    """Apply a function of PIL images to each channel of a uint8 array."""
    planes = [function(Image.fromarray(plane)) for plane in np.moveaxis(image, -1, 0)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def make_images():
    generator = np.random.default_rng(3)
    images = {
        "one_pixel": generator.integers(0, 256, (1, 1, 3)),
        "one_row": generator.integers(0, 256, (1, 7, 1)),
        "noise": generator.integers(0, 256, (33, 57, 4)),
        "constant": np.full((9, 8, 3), 77),
        "dark": generator.integers(0, 7, (20, 30, 3)),
        "two_levels": generator.choice([3, 250], (40, 40, 3), p=[0.9, 0.1]),
        "bell": generator.normal(100, 20, (64, 48, 3)).clip(0, 255),
        "mixed_channels": np.stack(
            [np.full((40, 40), 9), np.arange(1600).reshape(40, 40) % 256], axis=-1
        ),
    }
    return {name: image.astype(np.uint8) for name, image in images.items()}


IMAGES = make_images()
LIKE_PIL = {
    "invert": (tone.invert, ImageOps.invert),
    "equalize": (tone.equalize, ImageOps.equalize),
    "autocontrast": (tone.autocontrast, ImageOps.autocontrast),
    **{
        f"autocontrast_{cutoff}": (
            functools.partial(tone.autocontrast, cutoff=cutoff),
            functools.partial(ImageOps.autocontrast, cutoff=cutoff),
        )
        for cutoff in (0.7, 5, 40)
    },
    **{
        f"posterize_{bits}": (
            functools.partial(tone.posterize, bits=bits),
            functools.partial(ImageOps.posterize, bits=bits),
        )
        for bits in (1, 3, 8)
    },
    **{
        f"solarize_{threshold}": (
            functools.partial(tone.solarize, threshold=threshold),
            functools.partial(ImageOps.solarize, threshold=threshold),
        )
        for threshold in (0, 1, 100, 100.5, 255, 256)
    },
}


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize(("ours", "of_pil"), LIKE_PIL.values(), ids=LIKE_PIL)
@pytest.mark.sampled(40)
def test_equals_pil_to_the_bit_in_each_channel(ours, of_pil, image, dtype):
    result = ours(tf.cast(image, dtype))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, by_channel(of_pil, image))


@pytest.mark.parametrize("name", ["equalize", "autocontrast", "autocontrast_5"])
@pytest.mark.sampled(1)
def test_equals_pil_to_the_bit_under_xla(name):
    ours, of_pil = LIKE_PIL[name]
    compiled = tf.function(ours, jit_compile=True, autograph=False)
    image = IMAGES["bell"]
    np.testing.assert_array_equal(compiled(tf.constant(image)), by_channel(of_pil, image))


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.slow
def test_autocontrast_has_pythons_rounding_for_every_lowest_and_highest_level(jit_compile, at_once):
    """All pairs at once, each a channel, by PIL's arithmetic: `int(level * scale + offset)`.

    Where the true value is whole, its rounding errors decide, and a fused multiply-add fails.
    """
    low, high = np.triu_indices(256, 1)
    levels = np.clip(np.arange(256)[:, None], low, high)
    scale = 255.0 / (high - low)
    expected = np.clip((levels * scale + -low * scale).astype(int), 0, 255)
    images = tf.constant(levels[None, :, None], tf.uint8)
    if at_once:
        operation = augment.random_autocontrast.operation()
        assert operation.over_batch is not None
        function = chain_of([operation], cast_follows=True)
        result = tf.function(function, jit_compile=jit_compile, autograph=False)(
            images, [0, 0], 1.0
        )
        assert result.dtype == tf.float32
    else:
        function = tf.function(tone.autocontrast, jit_compile=jit_compile, autograph=False)
        result = function(images[0])[None]
    np.testing.assert_array_equal(result[0, :, 0], expected)


@pytest.mark.parametrize("ours", [tone.equalize, tone.autocontrast, tone.posterize])
def test_floats_are_rounded_to_levels_first(ours):
    if ours is tone.posterize:
        ours = functools.partial(ours, bits=3)
    image = IMAGES["bell"]
    shifts = np.random.default_rng(0).uniform(-0.49, 0.49, image.shape)
    shifted = tf.constant(np.clip(image + shifts, 0, 255), tf.float32)
    np.testing.assert_array_equal(ours(shifted), ours(tf.constant(image)))


def test_posterize_to_no_bits_is_black():
    assert not tone.posterize(tf.constant(IMAGES["noise"]), 0).numpy().any()


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
@pytest.mark.parametrize(
    ("amount", "threshold"), [(110, 128), (0, 128), (-40, 100), (300, 256), (7, 0)]
)
def test_solarize_add(amount, threshold, dtype):
    image = IMAGES["noise"]
    raised = np.clip(image.astype(int) + amount, 0, 255)
    expected = np.where(image < threshold, raised, image)
    result = tone.solarize_add(tf.cast(image, dtype), amount, threshold)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("ours", "of_pil"),
    [
        (augment.random_equalize, ImageOps.equalize),
        (augment.random_autocontrast, ImageOps.autocontrast),
    ],
)
def test_a_dark_image_keeps_its_own_histogram_beside_a_bright_one(ours, of_pil):
    """Keras' Equalization makes one histogram of the whole batch."""
    generator = np.random.default_rng(1)
    images = generator.integers(0, 60, (2, 32, 32, 3), dtype=np.uint8)
    images[1] += 190
    expected = np.stack([by_channel(of_pil, image) for image in images])
    assert (expected.max((1, 2, 3)) == 255).all()
    np.testing.assert_array_equal(ours(images, [0, 0]), expected)


@pytest.mark.slow
def test_equalize_gives_the_same_pixels_eager_graph_xla_and_in_tf_data(map_seeds):
    """Needs larger images than the table of all operations has."""
    images = tf.constant(np.random.default_rng(1).integers(20, 90, (5, 20, 24, 3), np.uint8))

    def equalize(seed, images=images):
        return augment.random_equalize(images, seed, probability=0.6)

    expected = [equalize([7, step]).numpy() for step in range(4)]
    assert any((expected[0] != result).any() for result in expected[1:])
    np.testing.assert_array_equal(map_seeds(equalize, 4), expected)
    unknown = [tf.TensorSpec([2], tf.int32), tf.TensorSpec([None] * 4, tf.uint8)]
    graph = tf.function(equalize, autograph=False, input_signature=unknown)
    np.testing.assert_array_equal(graph(tf.constant([7, 0]), images), expected[0])
    compiled = tf.function(equalize, autograph=False, jit_compile=True)
    np.testing.assert_array_equal(compiled(tf.constant([7, 0])), expected[0])
    floats = equalize([7, 0], tf.cast(images, tf.float32))
    assert floats.dtype == tf.float32
    np.testing.assert_array_equal(floats, expected[0])


@pytest.fixture
def ramps():
    """Make images with each level once, in order."""
    return lambda count: np.tile(
        np.arange(256, dtype=np.uint8).reshape(16, 16, 1), (count, 1, 1, 1)
    )


def test_posterize_draws_every_number_of_bits_equally_often(ramps):
    """Keras' RandomPosterization(4) never draws 4."""
    result = augment.random_posterize(ramps(2000), [0, 1], bits=(3, 6)).numpy()
    levels = [len(np.unique(image)) for image in result]
    counts = [levels.count(2**bits) for bits in (3, 4, 5, 6)]
    assert sum(counts) == 2000
    assert stats.chisquare(counts).pvalue > 0.001


def test_solarize_draws_thresholds_evenly(ramps):
    images = ramps(2000)
    result = augment.random_solarize(images, [0, 1], threshold=(64, 192)).numpy()
    kept = (result == images).sum((1, 2, 3))
    # A threshold between two levels is as good as the higher one.
    assert stats.kstest(kept - 0.5, stats.uniform(64, 128).cdf).pvalue > 0.001
    expected = [ImageOps.solarize(Image.fromarray(images[0, ..., 0]), count) for count in kept[:50]]
    np.testing.assert_array_equal(result[:50, ..., 0], np.stack(expected))


@pytest.mark.parametrize(
    "operation", [augment.random_invert, augment.random_equalize, augment.random_autocontrast]
)
@pytest.mark.sampled(1)
def test_each_image_is_chosen_on_its_own(operation):
    images = np.random.default_rng(0).integers(50, 120, (1500, 32, 32, 1), dtype=np.uint8)
    changed = (operation(images, [2, 2], probability=0.3).numpy() != images).any((1, 2, 3))
    assert stats.binomtest(int(changed.sum()), 1500, 0.3).pvalue > 0.001


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_moves_draws_towards_no_change(strength):
    sizes = (500, 8, 8, 3)
    drawn, _ = augment.random_posterize.operation(bits=(2, 4)).draw([0, 0], sizes, strength)
    assert set(drawn["bits"].numpy()) == ({8} if strength == 0 else {5, 6} | {round(5.5)})
    operation = augment.random_solarize.operation(threshold=(0, 100))
    thresholds = operation.draw([0, 0], sizes, strength)[0]["threshold"].numpy()
    assert thresholds.min() >= 256 - strength * 256
    assert thresholds.max() <= 256 - strength * 156
    selected = augment.random_equalize.operation().draw([0, 0], sizes, strength)[0]["selected"]
    assert abs(selected.numpy().mean() - strength) < 0.08


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        (augment.random_posterize, {"bits": 0}, "bits must be an integer from 1 to 8"),
        (augment.random_posterize, {"bits": (3, 9)}, r"bits\[1\] must be an integer from 1 to 8"),
        (augment.random_posterize, {"bits": (5, 4)}, "bits must be in rising order"),
        (augment.random_posterize, {"bits": (1, 2, 3)}, "bits must be a number or two numbers"),
        (augment.random_posterize, {"bits": 4.5}, "bits must be an integer"),
        (augment.random_solarize, {"threshold": -1}, r"threshold must be a number in \[0"),
        (augment.random_solarize, {"threshold": (9, 3)}, "threshold must be in rising order"),
        (augment.random_autocontrast, {"cutoff": 50}, "cutoff must be a number in"),
        (augment.random_invert, {"probability": 2}, "probability must be a number in"),
    ],
)
@pytest.mark.sampled(2)
def test_bad_arguments(operation, arguments, message):
    with pytest.raises(ValueError, match=message):
        operation(np.zeros((1, 2, 2, 3), np.uint8), [0, 0], **arguments)
