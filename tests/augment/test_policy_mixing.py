"""AugMix and 3-Augment: laws of what is drawn, and pixels against NumPy and PIL."""

import collections
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from scipy import ndimage, stats

import augment
from augment import _random, aug_mix, three_augment
from augment._chain import chain_of


def drawn_by(function, count=4000, sizes=(32, 48), strength=1.0, seed=(4, 2), **arguments):
    """Return what is drawn for images: NumPy arrays, without computing any pixels."""
    rows, _ = function.operation(**arguments).draw(list(seed), (count, *sizes, 3), strength)
    return {name: value.numpy() for name, value in rows.items()}


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_mixing_weights_are_beta_times_dirichlet(alpha, width):
    weights = drawn_by(aug_mix, 6000, alpha=alpha, width=width, depth=1)["weights"] / 2**16
    mixed = weights.sum(1)
    assert stats.kstest(mixed, stats.beta(alpha, alpha).cdf).pvalue > 0.001
    shares = weights[mixed > 0.05] / mixed[mixed > 0.05, None]
    if width > 1:
        law = stats.beta(alpha, alpha * (width - 1))
        for share in shares.T:
            # Weights are whole parts of 65536.
            assert stats.kstest(share, law.cdf).statistic < 0.03
    if width > 2:
        # Each pair of weights of a Dirichlet distribution has this correlation.
        correlation = np.corrcoef(shares.T)[np.triu_indices(width, 1)]
        np.testing.assert_allclose(correlation, -1 / (width - 1), atol=0.05)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 2.0), (0.3, 0.9), (2.0, 5.0)])
def test_uneven_beta_draws(alpha, beta):
    uniform = _random.random_uniform([1, 2], (20_000,), "test")
    draws = _random.uniform_to_beta(uniform, alpha, beta).numpy()
    assert stats.kstest(draws, stats.beta(alpha, beta).cdf).pvalue > 0.001


def test_chains_have_one_to_three_operations_of_even_magnitude():
    drawn = drawn_by(aug_mix, severity=5, operations=("shear_x",))
    counts = np.bincount(drawn["lengths"].ravel(), minlength=4)[1:]
    assert counts.sum() == 12_000
    assert stats.chisquare(counts).pvalue > 0.001
    shears = drawn["argument"].ravel()
    # Levels are uniform from 0.1 to the severity; a level of 10 shears by 0.3.
    law = stats.uniform(0.1, 4.9).cdf
    assert stats.kstest(np.abs(shears) / 0.03, law).pvalue > 0.001
    assert stats.binomtest(int((shears > 0).sum()), shears.size).pvalue > 0.001


def test_magnitudes_are_those_of_the_published_code():
    # posterize: 4 - int(level * 4 / 10) bits; solarize: 256 - int(level * 256 / 10);
    # rotate: int(level * 30 / 10); translate: int(level * (size / 3) / 10).
    most = {"severity": 10, "depth": 1}
    bits = drawn_by(aug_mix, operations=("posterize",), **most)["argument"]
    assert set(bits.ravel()) == {1, 2, 3, 4}
    thresholds = drawn_by(aug_mix, operations=("solarize",), **most)["argument"]
    assert set(thresholds.ravel()) == set(range(1, 255))
    degrees = drawn_by(aug_mix, operations=("rotate",), **most)["argument"]
    assert set(degrees.ravel()) == set(range(-29, 30))
    for axis, size in (("x", 48), ("y", 32)):
        shifts = drawn_by(aug_mix, operations=(f"translate_{axis}",), **most)["argument"]
        reach = int(np.nextafter(10, 0) * size / 30)
        assert set(shifts.ravel()) == set(range(-reach, reach + 1))


def mixed_by_hand(image, drawn, kernels):
    """Compute AugMix of one image from what was drawn for it: (1 - m) * image + sum of versions."""
    image = image.astype(float)
    mixed = image * (1 - drawn["weights"].sum() / 2**16)
    for chain, weight in enumerate(drawn["weights"] / 2**16):
        version = image
        for step in range(drawn["lengths"][chain]):
            argument = drawn["argument"][chain, step]
            if kernels[drawn["branch"][chain, step]] == "posterize":
                cut = 2 ** (8 - argument)
                version = np.floor(version / cut) * cut
            else:
                version = np.where(version < argument, version, 255 - version)
        mixed = mixed + weight * version
    return mixed


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.slow
def test_pixels_are_the_weighted_sum_of_the_chains(random_images, dtype):
    images = random_images(12, 6, 7)
    arguments = {"severity": 10, "operations": ("posterize", "solarize"), "alpha": 0.7}
    results = aug_mix(images.astype(dtype), [8, 1], **arguments).numpy()
    assert results.dtype == dtype
    drawn = drawn_by(aug_mix, 12, (6, 7), seed=(8, 1), **arguments)
    kernels = ("identity", "posterize", "solarize")
    for place, (image, result) in enumerate(zip(images, results, strict=True)):
        own = {name: value[place] for name, value in drawn.items()}
        expected = mixed_by_hand(image, own, kernels)
        np.testing.assert_allclose(result, expected, atol=0.502 if dtype == np.uint8 else 1e-3)


def test_strength_0_changes_nothing(random_images):
    images = tf.constant(random_images(12, 9, 10))
    names = ("rotate", "posterize", "equalize", "solarize")
    chain = chain_of([aug_mix.operation(operations=names)])
    compiled = tf.function(chain, jit_compile=True, autograph=False)
    np.testing.assert_array_equal(compiled(images, tf.constant([3, 3]), 0.0), images)


@pytest.mark.slow
def test_augmix_in_tf_data_is_not_frozen_when_traced(random_images):
    """Keras draws which operations it applies while tracing, once for all batches."""
    image = random_images(1, 8, 8)
    images = tf.constant(np.broadcast_to(image, (6, 8, 8, 3)))
    layer = augment.AugMix(operations=("posterize", "solarize", "shear_x"), seed=3)
    batches = tf.data.Dataset.from_tensors(images).repeat(20)
    results = list(batches.map(lambda batch: layer(batch, training=True)).as_numpy_iterator())
    distinct = {result.tobytes() for batch in results for result in batch}
    assert len(distinct) > 100
    for step, result in enumerate(results[:3]):
        expected = aug_mix(images, [3, step], operations=("posterize", "solarize", "shear_x"))
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    "name", ["AugMix", "AutoAugment", "RandAugment", "ThreeAugment", "TrivialAugmentWide"]
)
def test_layers_are_named_after_their_papers_and_survive_json(name):
    layer = getattr(augment, name)(seed=5)
    assert type(layer).__name__ == name
    saved = keras.saving.serialize_keras_object(layer)
    again = keras.saving.deserialize_keras_object(saved)
    assert again.get_config() == layer.get_config()
    assert str(again) == str(layer)
    assert len(str(layer).splitlines()) > 5


def test_three_augment_does_exactly_one_of_three():
    generator = np.random.default_rng(2)
    image = generator.integers(0, 256, (14, 14, 3), dtype=np.uint8)
    images = np.broadcast_to(image, (900, *image.shape))
    results = three_augment(images, [1, 5], jitter=0, sigma=(1.0, 1.0)).numpy().astype(int)
    gray = np.asarray(Image.fromarray(image).convert("L").convert("RGB")).astype(int)
    solarized = np.asarray(ImageOps.solarize(Image.fromarray(image))).astype(int)
    blurred = ndimage.gaussian_filter(
        image.astype(float), (1, 1, 0), mode="reflect", truncate=6, radius=(6, 6, 0)
    )
    expected = np.array([gray, solarized, blurred])
    distances = np.abs(results[:, None] - expected).max((2, 3, 4))
    # PIL cuts the grey off and this rounds it; the blur is rounded.
    fits = distances <= [1, 0, 1.0]
    assert (fits.sum(1) == 1).all()
    assert stats.chisquare(fits.sum(0)).pvalue > 0.001


def test_three_augment_jitters_in_every_order_and_range():
    drawn = drawn_by(three_augment, 6000)
    kernels = ("identity", "gray", "solarize", "blur", "brightness", "contrast", "saturation")
    assert set(drawn["branch"][:, 0]) == {1, 2, 3}
    orders = collections.Counter(tuple(row) for row in drawn["branch"][:, 1:])
    places = [kernels.index(name) for name in ("brightness", "contrast", "saturation")]
    assert set(orders) == set(itertools.permutations(places))
    assert stats.chisquare(list(orders.values())).pvalue > 0.001
    assert (
        stats.kstest(drawn["argument"][:, 1:].ravel(), stats.uniform(0.7, 0.6).cdf).pvalue > 0.001
    )
    sigmas = drawn["argument"][drawn["branch"][:, 0] == 3, 0]
    assert stats.kstest(sigmas, stats.uniform(0.1, 1.9).cdf).pvalue > 0.001
    assert set(drawn["argument"][drawn["branch"][:, 0] == 2, 0]) == {128}


def test_three_augment_at_half_strength():
    drawn = drawn_by(three_augment, 6000, strength=0.5)
    assert stats.binomtest(int((drawn["branch"][:, 0] > 0).sum()), 6000).pvalue > 0.001
    law = stats.uniform(0.85, 0.3).cdf
    assert stats.kstest(drawn["argument"][:, 1:].ravel(), law).pvalue > 0.001


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (aug_mix, {"severity": 11}, r"severity must be a number in \[0.1, 10\]"),
        (aug_mix, {"width": 0}, "width must be an integer of at least 1"),
        (aug_mix, {"depth": 0}, r"depth \(or -1\) must be an integer of at least 1"),
        (aug_mix, {"alpha": 0}, r"alpha must be a number in \(0, inf\]"),
        (aug_mix, {"operations": ("invert",)}, "operations must be"),
        (three_augment, {"jitter": -0.1}, "jitter must be a number"),
        (three_augment, {"sigma": (0, 3)}, r"sigma\[1\] must be a number in \[0, 2"),
        (three_augment, {"threshold": 300}, "threshold must be a number"),
    ],
)
def test_bad_arguments(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function.operation(**arguments)
