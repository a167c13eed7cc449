"""Colour jitter against the four operations done one after the other in NumPy."""

import colorsys
import itertools

import numpy as np
import pytest
from scipy import stats

import augment
from augment._chain import chain_of
from augment._compiled import compiled

LUMA = np.array([0.299, 0.587, 0.114])
NAMES = ("brightness", "contrast", "saturation", "hue")


def _hue(image, turns):
    result = np.empty(image.shape)
    for place in np.ndindex(image.shape[:-1]):
        tone, purity, value = colorsys.rgb_to_hsv(*image[place])
        result[place] = colorsys.hsv_to_rgb((tone + turns) % 1, purity, value)
    return result


REFERENCES = {
    "brightness": lambda image, factor: image * factor,
    "contrast": lambda image, factor: (image @ LUMA).mean() * (1 - factor) + image * factor,
    "saturation": lambda image, factor: (image @ LUMA)[..., None] * (1 - factor) + image * factor,
    "hue": _hue,
}


def jitter_by_hand(images, seed, places, active=NAMES, **arguments):
    """Return the images jittered in NumPy: the same factors, in the order of `places`."""
    made = augment.random_color_jitter.operation(**arguments)
    drawn, _ = made.draw(seed, images.shape, 1.0)
    results = []
    for number, image in enumerate(images.astype(float)):
        for place in places[number]:
            name = active[place]
            factor = float(drawn[name][number])
            image = np.clip(REFERENCES[name](image, factor), 0, 255)
        results.append(image)
    return np.array(results)


def places_of(seed, shape, **arguments):
    made = augment.random_color_jitter.operation(**arguments)
    return made.draw(seed, shape, 1.0)[0]["places"].numpy()


STRONG = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.4}


@pytest.mark.parametrize("size", [(6, 7), (1, 1), (13, 4)])
@pytest.mark.sampled(1)
def test_random_order_is_the_sequence_of_operations(random_images, size):
    images, seed = random_images(60, *size), [5, 1]
    places = places_of(seed, images.shape, **STRONG)
    expected = jitter_by_hand(images, seed, places, **STRONG)
    found = augment.random_color_jitter(images.astype(np.float32), seed, **STRONG).numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)
    rounded = augment.random_color_jitter(images, seed, **STRONG).numpy()
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - expected).max() <= 0.52
    # The order matters: in another one, the result is another.
    if size != (1, 1):
        reverse = jitter_by_hand(images, seed, places[:, ::-1], **STRONG)
        assert (np.abs(found - reverse).max((1, 2, 3)) > 5).mean() > 0.7


def test_fixed_order(random_images):
    images, seed = random_images(20), [5, 2]
    places = [range(4)] * 20
    expected = jitter_by_hand(images, seed, places, order="fixed", **STRONG)
    found = augment.random_color_jitter(
        images.astype(np.float32), seed, order="fixed", **STRONG
    ).numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_what_is_zero_is_left_out(random_images):
    images, seed = random_images(30), [5, 3]
    arguments = {"brightness": (1.2, 1.6), "contrast": 0, "saturation": 0.7, "hue": (0, 0)}
    active = ("brightness", "saturation")
    places = places_of(seed, images.shape, **arguments)
    assert places.shape == (30, 2)
    expected = jitter_by_hand(images, seed, places, active, **arguments)
    found = augment.random_color_jitter(images, seed, **arguments).numpy()
    assert np.abs(found - expected).max() <= 0.52


def test_one_alone_and_none(random_images):
    images = random_images(4)
    off = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
    np.testing.assert_array_equal(augment.random_color_jitter(images, [1, 1], **off), images)
    half = augment.random_color_jitter(images, [1, 1], **{**off, "brightness": (0.5, 0.5)})
    assert np.abs(half.numpy() - images * 0.5).max() <= 0.501


def test_orders_are_equally_likely_and_differ_between_images():
    places = places_of([1, 1], (6000, 4, 4, 3))
    assert places.shape == (6000, 4)
    orders = dict.fromkeys(itertools.permutations(range(4)), 0)
    for row in places.tolist():
        orders[tuple(row)] += 1
    assert stats.chisquare(list(orders.values())).pvalue > 0.001


def test_factors_are_uniform_and_independent():
    made = augment.random_color_jitter.operation(brightness=(0.2, 0.7), hue=(-0.1, 0.4))
    drawn, _ = made.draw([3, 3], (4000, 4, 4, 3), 1.0)
    ranges = {
        "brightness": (0.2, 0.7),
        "contrast": (0.6, 1.4),
        "saturation": (0.6, 1.4),
        "hue": (-0.1, 0.4),
    }
    rows = []
    for name, (low, high) in ranges.items():
        rows.append(drawn[name].numpy())
        assert stats.kstest(rows[-1], stats.uniform(low, high - low).cdf).pvalue > 0.001
    alone, _ = augment.random_brightness.operation(factor=(0.2, 0.7)).draw([3, 3], (4000,) * 4, 1.0)
    rows.append(alone["factor"].numpy())
    assert np.abs(np.corrcoef(rows) - np.eye(5)).max() < 0.06


def test_no_strength_changes_nothing(random_images):
    images = random_images(6)
    made = augment.random_color_jitter.operation(**STRONG)
    chain = compiled(chain_of([made]))
    np.testing.assert_array_equal(chain(images, [1, 1], 0.0), images)
    assert (chain(images, [1, 1], 1.0) != images).numpy().any()


def test_grey_images_and_other_numbers_of_channels(random_images):
    images = random_images(5, channels=1)
    found = augment.random_color_jitter(images, [2, 2]).numpy()
    colored = np.repeat(images, 3, axis=3)
    equal = augment.random_color_jitter(colored, [2, 2]).numpy()
    assert np.abs(found.astype(int) - equal).max() <= 1
    with pytest.raises(ValueError, match="random_color_jitter, received: 4 channels"):
        augment.random_color_jitter(random_images(2, channels=4), [2, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"brightness": -1}, "brightness must be a number in"),
        ({"contrast": (1.5, 1)}, "contrast must be in rising order"),
        ({"saturation": None}, "saturation must be a number or two numbers"),
        ({"hue": 0.6}, "hue must be a number in"),
        ({"order": "reverse"}, "order must be 'random' or 'fixed'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        augment.random_color_jitter(np.zeros((1, 2, 2, 3), np.uint8), [0, 0], **arguments)
