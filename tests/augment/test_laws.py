"""What must hold for every operation and layer, found by walking over the package.

Each operation runs with its default arguments on one small batch, so that few programs are
compiled: what an operation computes is for the tests of its module to say.
"""

import contextlib
import functools
import importlib
import inspect
import json
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment
from augment import _chain, _operation
from augment._layer_base import ImageAugmentation, MixAugmentation

MODULES = [
    importlib.import_module(f"augment.{module.name}")
    for module in pkgutil.iter_modules(augment.__path__)
]
# Arguments that have no default.
REQUIRED = {
    "cutout": {"size": 3},
    "random_crop": {"padding": 2},
    "random_multi_scale_crop": {"size": (8, 10), "shorter_side": (10, 14)},
    "random_resized_crop": {"size": (8, 10)},
}
FUNCTIONS = {
    name: function
    for module in MODULES
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and hasattr(function, "operation")
    and function.__module__ == module.__name__
}
LAYERS = {
    name: layer
    for name in augment.__all__
    if inspect.isclass(layer := getattr(augment, name))
    and issubclass(layer, (ImageAugmentation, MixAugmentation))
}
# One of each kind, for the default run: each operation is compiled several times over.
QUICK = {
    *("random_affine", "random_color_jitter", "random_equalize", "random_gaussian_blur"),
    *("random_flip", "random_erasing", "random_resized_crop", "random_shot_noise"),
}
GREYS_STAY = {"random_grayscale", "random_hue", "random_saturation"}
SHAPE = (3, 8, 10, 3)
SEED = (3, 4)


def names(*, without=()):
    """Return parameters: all operations, those that are not quick for the slower runs."""
    chosen = [name for name in sorted(FUNCTIONS) if name not in without]
    rest = [name for name in chosen if name not in QUICK]
    # Every ninth is for the gate: what the laws say of it, they say of the others.
    marks = dict.fromkeys(rest, pytest.mark.exhaustive) | dict.fromkeys(rest[::9], pytest.mark.slow)
    return [pytest.param(name, marks=marks.get(name, ())) for name in chosen]


def arguments_of(name, **more):
    return {**REQUIRED.get(name, {}), **more}


def operation_of(name, **more):
    return FUNCTIONS[name].operation(**arguments_of(name, **more))


def call(name, images, seed=SEED, **more):
    """Return what the public function makes of images, as NumPy."""
    result = FUNCTIONS[name](images, seed, **arguments_of(name, **more))
    return tf.cast(result, tf.float32).numpy() if result.dtype == tf.bfloat16 else result.numpy()


@pytest.fixture
def images():
    """Return uint8 images, noise about a slope: many levels, and places that can be told apart."""
    generator = np.random.default_rng(0)
    slope = np.linspace(0, 200, SHAPE[1] * SHAPE[2]).reshape(1, *SHAPE[1:3], 1)
    return (slope + generator.uniform(0, 55, SHAPE)).round().astype(np.uint8)


@contextlib.contextmanager
def plain_python():
    """Run what `tf.function` would trace as it is written."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture
def eagerly():
    with plain_python():
        yield


def test_every_operation_is_public_and_has_a_layer():
    missing = set(FUNCTIONS) - set(augment.__all__)
    assert not missing, "names for augment/__init__.py"
    expected = {name.title().replace("_", "") for name in FUNCTIONS}
    assert expected <= set(LAYERS), "layers for augment/layers.py"


@pytest.mark.parametrize("name", names())
@pytest.mark.sampled(2)
def test_draws_and_pixels_are_the_same_everywhere(name, images):
    """Pixels bit for bit in sequential and parallel maps under XLA, a level apart without it.

    Draws bit for bit everywhere, as they reach the images: float64 ones rounded to float32. Before
    that XLA's fused multiply-add may move a last bit.
    """
    operation = operation_of(name)
    # The public function is compiled wherever it is called.
    plain = _chain.chain_of([operation])

    def run(seed, *, public=False):
        drawn = operation.draw(seed, (300, *SHAPE[1:]), 1.0)[0]
        if public:
            pixels = FUNCTIONS[name](images, seed, **arguments_of(name))
        else:
            pixels = plain(tf.constant(images), seed, 1.0)
        return _chain._single_precision(drawn), pixels

    compiled = tf.function(functools.partial(run, public=True), autograph=False, jit_compile=True)
    seeds = tf.data.Dataset.from_tensor_slices([[7, step] for step in range(4)])
    first, *rest = seeds.map(compiled)
    for one, other in zip([first, *rest], seeds.map(compiled, num_parallel_calls=4), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    seed = tf.constant([7, 0])
    graph = tf.function(run, autograph=False)(seed)
    with plain_python():
        eager = run(seed, public=True)
    for way, (drawn, pixels) in {"eager": eager, "graph": graph}.items():
        assert set(drawn) == set(first[0]), way
        for key, expected in first[0].items():
            np.testing.assert_array_equal(drawn[key], expected, err_msg=f"{way}: {key}")
        assert pixels.dtype == first[1].dtype == tf.uint8
        assert np.abs(pixels.numpy().astype(int) - first[1].numpy()).max() <= 1, way


OVER_BATCHES = [name for name in sorted(FUNCTIONS) if operation_of(name).over_batch is not None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OVER_BATCHES)
@pytest.mark.sampled(4)
def test_a_batch_at_once_is_one_image_after_the_other(name, channels, images):
    """Greys of uint8 images are computed in whole numbers at once and in float32 one by one."""
    operation = operation_of(name, probability=0.6)
    at_once, one_by_one = (
        _chain.chain_of([operation], materialized=materialized) for materialized in (False, True)
    )
    images = tf.constant(np.tile(images, (4, 1, 1, 1))[..., :channels])
    result, expected = (
        tf.function(chain, jit_compile=True, autograph=False)(images, SEED, 1.0)
        for chain in (at_once, one_by_one)
    )
    difference = np.abs(result.numpy().astype(int) - expected)
    assert difference.max() <= (1 if name == "random_grayscale" else 0)
    assert (difference != 0).mean() < 0.005
    changed = (result != images).numpy().any((1, 2, 3))
    assert not changed.all(), "some are not chosen"
    assert changed.any() or (channels == 1 and name in GREYS_STAY)


# What follows runs as plain Python, which a test above finds equal to what is compiled.


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", names())
def test_dtype_range_and_shape_are_kept(name, images, channels, eagerly):
    whole = images[..., :channels]
    result = call(name, whole)
    assert result.dtype == np.uint8
    assert result.shape == whole.shape
    single = call(name, whole.astype(np.float32))
    assert single.dtype == np.float32
    assert single.shape == whole.shape
    assert single.min() >= 0
    assert single.max() <= 255
    # float16 and bfloat16 are rounded at the ends of the chain alone: half steps of 1/8 and 1.
    for dtype, step in ((tf.float16, 0.0626), (tf.bfloat16, 0.501))[: channels - 1]:
        half = FUNCTIONS[name](tf.cast(whole, dtype), SEED, **arguments_of(name))
        assert half.dtype == dtype
        np.testing.assert_allclose(tf.cast(half, tf.float32), single, atol=step)


@pytest.mark.parametrize("dtype", ["uint8", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", names())
def test_probability_zero_changes_nothing(name, images, dtype, eagerly):
    images = images.astype(dtype)
    if operation_of(name).size is None:
        np.testing.assert_array_equal(call(name, images, probability=0.0), images)


@pytest.mark.parametrize("dtype", ["uint8", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", names())
def test_strength_zero_changes_nothing(name, images, dtype, eagerly):
    operation, images = operation_of(name), tf.constant(images.astype(dtype))
    if operation.size is None:
        result = _chain.chain_of([operation])(images, SEED, 0.0)
        np.testing.assert_allclose(result, images, atol=0 if dtype == "uint8" else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_value_range_scales_and_no_more(name, images, eagerly):
    whole = images.astype(np.float32)
    expected = call(name, whole)
    for low, high in ((0, 1), (-1, 1)):
        scaled = low + whole / 255 * (high - low)
        found = call(name, scaled.astype(np.float32), value_range=(low, high))
        np.testing.assert_allclose((found - low) / (high - low) * 255, expected, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_seed_repeats_and_another_does_not(name, images, eagerly):
    first, again, other = (call(name, images, seed) for seed in (SEED, SEED, (3, 5)))
    np.testing.assert_array_equal(first, again)
    constant = {"random_autocontrast", "random_equalize", "random_grayscale", "random_invert"}
    if name not in constant:
        assert (first != other).any()
        drawn = operation_of(name).draw(SEED, (64, *SHAPE[1:]), 1.0)[0]
        assert any(len(np.unique(np.asarray(rows), axis=0)) > 1 for rows in drawn.values()), (
            "draws for each image"
        )


def layer_of(name, **more):
    needed = {
        function.title().replace("_", ""): arguments for function, arguments in REQUIRED.items()
    }
    if issubclass(LAYERS[name], MixAugmentation):
        needed = {name: {"classes": 5}}
    return LAYERS[name](**needed.get(name, {}), seed=1, **more)


def called(layer, images):
    """Return what training makes of images and labels, in a list."""
    labels = np.arange(len(images)) % 5
    pair = isinstance(layer, MixAugmentation)
    result = layer((images, labels) if pair else images, training=True)
    return [part.numpy() for part in (result if pair else [result])]


def assert_all_equal(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.sampled(8)
def test_a_layer_is_made_again_from_its_configuration(name, images, eagerly):
    layer = layer_of(name)
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert saved["registered_name"] == f"keras_recipes>{name}"
    again = keras.saving.deserialize_keras_object(saved)
    parameters = set(inspect.signature(LAYERS[name]).parameters) - {"kwargs"}
    assert parameters <= set(layer.get_config()), "every argument"
    assert json.dumps(again.get_config()) == json.dumps(layer.get_config())
    assert_all_equal(called(again, images), called(layer, images))


@pytest.mark.parametrize("name", sorted(LAYERS))
@pytest.mark.sampled(1)
def test_a_mixed_precision_policy_rounds_nothing(name, images, eagerly):
    images = images.astype(np.float32)
    mixed, plain = (
        called(layer_of(name, dtype=dtype), images) for dtype in ("mixed_bfloat16", "float32")
    )
    assert_all_equal(mixed, plain)
    assert plain[0].dtype == np.float32


def test_a_model_with_all_layers_is_saved_and_loaded(images, tmp_path):
    layers = [layer_of(name) for name in sorted(LAYERS)]
    layers = [layer for layer in layers if not isinstance(layer, MixAugmentation)]
    outputs = inputs = keras.Input(SHAPE[1:])
    for layer in layers:
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.layers) == len(model.layers) == len(layers) + 1
    for one, other in zip(model.layers, loaded.layers, strict=True):
        assert json.dumps(one.get_config()) == json.dumps(other.get_config())
    whole = images.astype(np.float32)
    np.testing.assert_array_equal(loaded(whole), whole, err_msg="nothing without training")


@pytest.mark.parametrize("name", ["cutmix", "mixup", "mixup_or_cutmix"])
@pytest.mark.sampled(1)
def test_a_mix_is_the_same_everywhere(name, images, map_seeds):
    """Targets bit for bit, images a level apart; labels follow the same draws."""
    labels = np.arange(len(images)) % 5

    def mixed(seed):
        return getattr(augment, name)(images, labels, seed, classes=5)

    plain = tf.function(mixed, autograph=False)(tf.constant([7, 0]))
    compiled = tf.function(mixed, autograph=False, jit_compile=True)(tf.constant([7, 0]))
    mapped = map_seeds(mixed, 2)[0]
    with plain_python():
        eager = mixed([7, 0])
    for way in (plain, compiled, mapped):
        np.testing.assert_array_equal(way[1], eager[1])
        assert np.abs(np.asarray(way[0]).astype(int) - eager[0].numpy()).max() <= 1


def test_nothing_is_traced_again_in_later_steps(images, monkeypatch):
    """Neither for another seed, nor for another batch of the same shape."""
    made = []
    inner = _operation.Draw
    monkeypatch.setattr(_operation, "Draw", lambda *args: made.append(args[0]) or inner(*args))
    for step in range(4):
        for name in ("random_brightness", "random_flip"):
            # A probability of its own, so that no other test has compiled it.
            call(name, images + np.uint8(step), (7, step), probability=0.625)
        if step == 0:
            traced = len(made)
    assert traced == len(made) == 2, made
