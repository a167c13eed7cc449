"""What holds for every operation: dtypes, sizes, seeds, and the same result wherever it runs."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import augment

OPERATIONS = {
    "aug_mix": functools.partial(augment.aug_mix, width=2, operations=("solarize", "posterize")),
    "rand_augment": functools.partial(
        augment.rand_augment, m=20, operations=("rotate", "posterize", "translate_y")
    ),
    "affine": functools.partial(
        augment.random_affine, rotation=40, shear=9, perspective=0.2, flip="both", value=9
    ),
    "elastic": functools.partial(augment.random_elastic, alpha=9, sigma=2),
    "perspective": augment.random_perspective,
    "rotation": functools.partial(augment.random_rotation, degrees=90, fill="reflect"),
    "shear": functools.partial(augment.random_shear, horizontal=30, interpolation="nearest"),
    "translation": functools.partial(augment.random_translation, fill="nearest", probability=0.7),
    "zoom": functools.partial(augment.random_zoom, factor=(0.5, 2), anisotropic=True, value=9),
    "brightness": augment.random_brightness,
    "brightness_shift": augment.random_brightness_shift,
    "channel_shuffle": augment.random_channel_shuffle,
    "color_jitter": augment.random_color_jitter,
    "contrast": functools.partial(augment.random_contrast, factor=0.8),
    "grayscale": functools.partial(augment.random_grayscale, probability=0.7),
    "hue": functools.partial(augment.random_hue, turns=0.5, probability=0.8),
    "hue_linear": augment.random_hue_linear,
    "lighting": functools.partial(augment.random_lighting, deviation=1.0),
    "saturation": augment.random_saturation,
    "jpeg_quality": functools.partial(augment.random_jpeg_quality, quality=(20, 60)),
    "gaussian_blur": functools.partial(augment.random_gaussian_blur, sigma=(0.3, 1.2)),
    "sharpness": augment.random_sharpness,
    "gaussian_noise": augment.random_gaussian_noise,
    "salt_and_pepper_noise": functools.partial(augment.random_salt_and_pepper_noise, share=0.3),
    "shot_noise": augment.random_shot_noise,
    # `random_equalize` leaves images as small as these as they are: see test_tone.py.
    "autocontrast": functools.partial(augment.random_autocontrast, cutoff=9, probability=0.6),
    "invert": functools.partial(augment.random_invert, probability=0.5),
    "posterize": functools.partial(augment.random_posterize, bits=(1, 5)),
    "solarize": augment.random_solarize,
    "flip": functools.partial(augment.random_flip, vertical=True),
    "crop": functools.partial(augment.random_crop, padding=3, value=9),
    "crop_reflect": functools.partial(augment.random_crop, padding=3, fill="reflect"),
    "multi_scale_crop": functools.partial(
        augment.random_multi_scale_crop, size=8, shorter_side=(9, 14), antialias=True
    ),
    "resized_crop": functools.partial(augment.random_resized_crop, size=8),
    "resized_crop_bicubic": functools.partial(
        augment.random_resized_crop, size=(8, 8), interpolation="bicubic", probability=0.8
    ),
    "erasing_noise": functools.partial(augment.random_erasing, probability=0.7),
    "erasing_mean": functools.partial(augment.random_erasing, probability=0.7, fill="mean"),
    "cutout": functools.partial(augment.cutout, size=4, fill=30),
    "grid_mask": functools.partial(augment.random_grid_mask, degrees=30, fill="noise"),
}
MIXES = {
    "mixup": functools.partial(augment.mixup, alpha=1.0, classes=4),
    "cutmix": functools.partial(augment.cutmix, classes=4),
    "either": functools.partial(augment.mixup_or_cutmix, classes=4, probability=0.8),
    "either_pair": functools.partial(augment.mixup_or_cutmix, classes=4, mode="pair"),
    "cutmix_sides": functools.partial(augment.cutmix, classes=4, minmax=(0.2, 0.6)),
    "either_batch": functools.partial(augment.mixup_or_cutmix, classes=4, mode="batch"),
}


def bind(name):
    """Return the operation as a function of images and seed, with a list of results."""
    if name in OPERATIONS:
        return lambda images, seed: [OPERATIONS[name](images, seed)]
    return lambda images, seed: list(MIXES[name](images, tf.range(tf.shape(images)[0]) % 4, seed))


# One of each kind, for the default run: each operation is compiled several times over.
QUICK = {
    *("rotation", "affine", "elastic", "color_jitter", "contrast", "jpeg_quality", "gaussian_blur"),
    *("gaussian_noise", "posterize", "flip", "crop", "resized_crop", "erasing_noise"),
    *("mixup", "cutmix", "either"),
}


def names(of):
    """Return parameters: all these operations, those that are not quick for the slower runs."""
    rest = [name for name in of if name not in QUICK]
    # Every ninth is for the gate: what the laws say of it, they say of the others.
    marks = dict.fromkeys(rest, pytest.mark.exhaustive) | dict.fromkeys(rest[::9], pytest.mark.slow)
    return [pytest.param(name, marks=marks.get(name, ())) for name in of]


ALL = [*OPERATIONS, *MIXES]


def assert_equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", names(ALL))
@pytest.mark.sampled(2)
def test_same_pixels_eager_graph_xla_and_unknown_sizes(random_images, name):
    operation, images = bind(name), tf.constant(random_images(11, 7, 10))
    seed = tf.constant([3, 4])
    expected = operation(images, seed)
    assert (expected[0] != images).numpy().any()
    unknown = [tf.TensorSpec([None] * 4, tf.uint8), tf.TensorSpec([2], tf.int32)]
    graph = tf.function(operation, autograph=False, input_signature=unknown)
    assert_equal(graph(images, seed), expected)
    compiled = tf.function(operation, autograph=False, jit_compile=True)
    assert_equal(compiled(images, seed), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", names(ALL))
def test_xla_compiles_it_once_for_all_seeds(random_images, name):
    """A slice that begins at a drawn place makes the seed a constant: one program for each seed.

    `tf.slice` and `x[place]` do; `tf.gather` and `tf.roll` do not.
    """
    operation, images = bind(name), tf.constant(random_images(11, 7, 10))
    seed = tf.constant([3, 4], tf.int64)
    compiled = tf.function(operation, autograph=False, jit_compile=True)
    program = compiled.experimental_get_compiler_ir(images, seed)(stage="hlo")
    assert "s64[2]" in program.splitlines()[0]


@pytest.mark.parametrize("name", names(ALL))
@pytest.mark.sampled(2)
def test_same_pixels_in_parallel_tf_data(random_images, map_seeds, name):
    operation, images = bind(name), tf.constant(random_images(5))
    results = map_seeds(lambda seed: tuple(operation(images, seed)), 6)
    for step, result in enumerate(results):
        assert_equal(result, operation(images, [7, step]))
    assert any((results[0][0] != result[0]).any() for result in results[1:])


@pytest.mark.parametrize(
    "dtype",
    [
        tf.uint8,
        tf.float32,
        *(pytest.param(half, marks=pytest.mark.slow) for half in (tf.float16, tf.bfloat16)),
    ],
)
@pytest.mark.parametrize("name", names(ALL))
@pytest.mark.sampled(6)
def test_dtype_and_range_are_kept(random_images, name, dtype):
    operation, whole = bind(name), random_images(6, channels=1)
    result = operation(tf.cast(whole, dtype), [1, 1])[0]
    assert result.dtype == dtype
    assert result.shape == whole.shape
    values = tf.cast(result, tf.float32).numpy()
    assert values.min() >= 0
    assert values.max() <= 255
    # float16 and bfloat16 hold whole numbers up to 255; means and blends round further.
    expected = operation(whole, [1, 1])[0].numpy().astype(np.float32)
    np.testing.assert_allclose(values, expected, atol=1.001 if dtype != tf.uint8 else 0)


@pytest.mark.parametrize("name", names(OPERATIONS))
@pytest.mark.sampled(2)
def test_an_image_is_treated_the_same_in_a_shorter_batch(random_images, name):
    operation, images = bind(name), random_images(9)
    assert_equal([operation(images[:4], [1, 1])[0]], [operation(images, [1, 1])[0][:4]])


@pytest.mark.parametrize("name", names(ALL))
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), ValueError, r"\(8, 8, 3\); batch them first"),
        (np.zeros((1, 2, 8, 8, 3), np.uint8), ValueError, "images must have the shape"),
        (np.zeros((2, 8, 8, 3), np.int32), TypeError, "received: int32"),
        (np.zeros((2, 8, 8, 3), np.float64), TypeError, "received: float64"),
    ],
)
def test_bad_images(name, images, error, message):
    with pytest.raises(error, match=message):
        bind(name)(images, [1, 2])


@pytest.mark.parametrize("name", names(ALL))
def test_unknown_rank_is_refused(name):
    function = tf.function(bind(name), autograph=False)
    with pytest.raises(ValueError, match="images must have the shape"):
        function.get_concrete_function(tf.TensorSpec(None, tf.uint8), tf.TensorSpec([2], tf.int32))


def test_operations_with_one_seed_are_not_correlated():
    """Draws of each operation, seen from outside, in 3000 images with the same seed."""
    columns = np.tile(np.arange(1, 10, dtype=np.uint8), (3000, 9, 1))[..., None]
    seed = [5, 5]
    flips = augment.random_flip(columns, seed).numpy()[:, 0, 0, 0] == 9
    shifts = augment.random_crop(columns, seed, padding=4).numpy()[:, 4, 4, 0]
    cuts = (augment.cutout(columns, seed, size=3).numpy() == 0).argmax(2)[:, :, 0].max(1)
    erased = (augment.random_erasing(columns, seed, fill=0).numpy() == 0).any((1, 2, 3))
    _, targets = augment.mixup(columns, np.arange(3000), seed, alpha=1.0, classes=3000)
    weights = targets.numpy()[np.arange(3000), np.arange(3000)]
    seen = np.array([flips, shifts, cuts, erased, weights], float)
    assert (seen.std(1) > 0).all()
    assert np.abs(np.corrcoef(seen) - np.eye(5)).max() < 0.07


@pytest.mark.parametrize(
    ("function", "arguments", "name", "expected"),
    [
        (
            augment.random_multi_scale_crop,
            {"size": 8, "shorter_side": np.int64(16)},
            "shorter_side",
            16,
        ),
        (augment.random_rotation, {"value": np.array([1, 2, 3])}, "value", (1, 2, 3)),
        (augment.random_gaussian_blur, {"sigma": np.array([0.5, 1])}, "sigma", (0.5, 1.0)),
        (augment.random_posterize, {"bits": np.array([2, 3])}, "bits", (2, 3)),
    ],
)
def test_arguments_may_be_arrays_as_those_of_layers(function, arguments, name, expected):
    layer = getattr(augment, function.__name__.title().replace("_", ""))(**arguments)
    for kept in (function.operation(**arguments).arguments, layer.get_config()):
        assert kept[name] == expected
        assert type(kept[name]) is type(expected)


@pytest.mark.parametrize(
    "operation",
    [
        functools.partial(augment.random_crop, padding=1),
        augment.random_autocontrast,
        lambda images, seed: augment.resize_crop(images, [0, 0, 2, 2], size=8),
    ],
)
def test_no_images_become_no_images(operation):
    found = operation(np.zeros((0, 8, 8, 3), np.uint8), [0, 0])
    assert (found.shape, found.dtype) == ((0, 8, 8, 3), tf.uint8)


@pytest.mark.parametrize("refuse", [augment.random_hue, augment.random_color_jitter])
def test_an_error_leaves_nothing_behind(refuse):
    """A caching device left in the process's scope would break the next distribution strategy."""
    with pytest.raises(ValueError, match="received: 4 channels"):
        refuse(np.zeros((2, 5, 5, 4), np.uint8), [0, 0])
    assert tf.compat.v1.get_variable_scope().caching_device is None
