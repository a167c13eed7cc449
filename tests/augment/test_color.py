"""Colour operations against NumPy, `colorsys` and PIL."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance
from scipy import stats

import augment
from augment import _chain, _compiled, color

LUMA = np.array([0.299, 0.587, 0.114])


def brightness(image, factor):
    return np.clip(image * factor, 0, 255)


def shifted(image, delta):
    return np.clip(image + delta, 0, 255)


def contrast(image, factor):
    gray = image[..., 0] if image.shape[-1] == 1 else image @ LUMA
    return np.clip(gray.mean() + factor * (image - gray.mean()), 0, 255)


def saturation(image, factor):
    gray = (image @ LUMA)[..., None]
    return np.clip(gray + factor * (image - gray), 0, 255)


def hue(image, turns):
    result = np.empty(image.shape)
    for place in np.ndindex(image.shape[:-1]):
        tone, purity, value = colorsys.rgb_to_hsv(*image[place])
        result[place] = colorsys.hsv_to_rgb((tone + turns) % 1, purity, value)
    return result


def hue_linear(image, turns):
    """Turn I + iQ in the complex plane, the way from I towards -Q being that of rising hue."""
    to_yiq = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    luma, first, second = np.moveaxis(image @ to_yiq.T, -1, 0)
    turned = (first - 1j * second) * np.exp(2j * np.pi * turns)
    yiq = np.stack([luma, turned.real, -turned.imag], axis=-1)
    return np.clip(yiq @ np.linalg.inv(to_yiq).T, 0, 255)


def gray(image, _):
    return np.repeat((image @ LUMA)[..., None], 3, axis=-1)


KERNELS = {
    "brightness": (color.adjust_brightness, brightness, (0, 0.3, 1.7, 9)),
    "shift": (color.shift_brightness, shifted, (-300, -30.5, 40, 300)),
    "contrast": (color.adjust_contrast, contrast, (0, 0.3, 1.7, 9)),
    "saturation": (color.adjust_saturation, saturation, (0, 0.3, 1.7, 9)),
    "hue": (color.adjust_hue, hue, (0.1, -0.2, 1 / 3, 0.5, -0.5, 0.97, -1.25, 3)),
    "hue_linear": (color.rotate_hue_linear, hue_linear, (0.1, -0.2, 0.5, 0.97, -1.25)),
    "gray": (lambda image, _: color.to_gray(image), gray, (0,)),
}
NEUTRAL = {
    "brightness": 1.0,
    "shift": 0.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.0,
    "hue_linear": 0.0,
}
ON_COLORS = ("contrast", "saturation", "hue", "hue_linear", "gray")


@pytest.fixture
def colorful():
    """Float pixels: random ones, greys, black, white, primaries, two equal channels each way."""
    generator = np.random.default_rng(1)
    image = generator.integers(0, 256, (14, 11, 3)).astype(np.float32)
    image[0] = image[0, :, :1]
    for row, (place, source) in enumerate([(1, 0), (2, 1), (2, 0)], start=1):
        image[row, :, place] = image[row, :, source]
    corners = np.array(list(np.ndindex(2, 2, 2)), np.float32) * 255
    image[4, :8] = corners
    image[5] = generator.uniform(0, 255, (11, 3))
    return image


def assert_rounded(found, expected, slack=2e-3):
    """Assert that whole numbers are the nearest to exact ones."""
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + slack


@pytest.mark.parametrize(
    ("name", "amount"), [(name, amount) for name in KERNELS for amount in KERNELS[name][2]]
)
def test_kernels_equal_their_definition(colorful, name, amount):
    kernel, reference, _ = KERNELS[name]
    for image in (colorful, colorful[:1, :1], colorful[4:7, 2:5]):
        found = kernel(tf.constant(image), np.float32(amount)).numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, reference(image.astype(float), amount), atol=2e-3)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_equal_their_definition_under_xla(colorful, name):
    kernel, reference, amounts = KERNELS[name]
    compiled = tf.function(kernel, jit_compile=True, autograph=False)
    for amount in amounts:
        found = compiled(tf.constant(colorful), tf.constant(amount, tf.float32))
        np.testing.assert_allclose(found, reference(colorful.astype(float), amount), atol=2e-3)


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_neutral_amount_changes_nothing_at_all(colorful, name):
    whole = np.round(colorful)
    np.testing.assert_array_equal(KERNELS[name][0](whole, NEUTRAL[name]), whole)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.6])
@pytest.mark.parametrize("name", ["Brightness", "Color", "Contrast"])
def test_near_pil(colorful, name, factor):
    """PIL cuts off what is behind the point, and rounds the grey it mixes with before."""
    whole = np.round(colorful).astype(np.uint8)
    pil = getattr(ImageEnhance, name)(Image.fromarray(whole)).enhance(factor)
    operation = {
        "Brightness": color.adjust_brightness,
        "Color": color.adjust_saturation,
        "Contrast": color.adjust_contrast,
    }[name]
    difference = operation(whole.astype(np.float32), factor).numpy() - np.asarray(pil)
    rounding = 0.0 if name == "Brightness" else 0.5 * abs(1 - factor)
    assert difference.min() >= -rounding - 0.01
    assert difference.max() <= 1 + rounding + 0.01


def test_gray_is_that_of_pil(colorful):
    whole = np.round(colorful).astype(np.uint8)
    found = augment.random_grayscale(whole[None], [0, 0], probability=1.0)[0].numpy()
    pil = np.asarray(Image.fromarray(whole).convert("L")).astype(int)
    # PIL's weights are rounded to 16 bits, which tells where a grey lies half between two levels.
    assert np.abs(found - pil[..., None]).max() <= 1
    assert (found == pil[..., None]).mean() > 0.99


def test_turned_hues_keep_saturation_and_value(random_images):
    images = random_images(40).astype(np.float32)
    turned = augment.random_hue(images, [1, 2], turns=0.5).numpy()
    np.testing.assert_allclose(turned.max(-1), images.max(-1), atol=2e-3)
    np.testing.assert_allclose(turned.min(-1), images.min(-1), atol=2e-3)
    assert np.abs(turned - images).max() > 100


def test_linear_hue_keeps_luma_and_is_not_the_hue_of_hsv(colorful):
    pale = 100 + colorful / 8
    turned = color.rotate_hue_linear(pale, 0.3).numpy()
    np.testing.assert_allclose(turned @ LUMA, pale @ LUMA, atol=1e-2)
    assert np.abs(turned - color.adjust_hue(pale, 0.3)).max() > 5
    # The same way round: both take red towards yellow.
    red = np.array([[[140, 110, 110]]], np.float32)
    for kernel in (color.rotate_hue_linear, color.adjust_hue):
        assert 0.02 < colorsys.rgb_to_hsv(*kernel(red, 0.1).numpy()[0, 0])[0] < 0.2


def test_the_mean_of_a_large_image_does_not_stagnate():
    """One float32 sum over these pixels would be wrong by several levels."""
    image = tf.fill((2000, 2100, 1), 131.3)
    compiled = tf.function(color.adjust_contrast, jit_compile=True, autograph=False)
    assert abs(compiled(image, tf.constant(0.0))[0, 0, 0].numpy() - 131.3) < 0.01


# Operation, arguments, ends of the range, one pixel row of an image, and how to measure the amount
# from what it became.
AMOUNTS = {
    "brightness": (
        augment.random_brightness,
        {"factor": 0.4},
        (0.6, 1.4),
        [[100, 20, 50]],
        lambda row: row[0, 0] / 100,
    ),
    "brightness_range": (
        augment.random_brightness,
        {"factor": (0.2, 0.9)},
        (0.2, 0.9),
        [[100, 20, 50]],
        lambda row: row[0, 0] / 100,
    ),
    "shift": (
        augment.random_brightness_shift,
        {"delta": 0.3},
        (-0.3, 0.3),
        [[100, 130, 150]],
        lambda row: (row[0, 1] - 130) / 255,
    ),
    "contrast": (
        augment.random_contrast,
        {"factor": 0.6},
        (0.4, 1.6),
        [[90, 90, 90], [150, 150, 150]],
        lambda row: (row[1, 0] - row[0, 0]) / 60,
    ),
    "saturation": (
        augment.random_saturation,
        {"factor": 0.5},
        (0.5, 1.5),
        [[150, 110, 110]],
        lambda row: (row[0, 0] - row[0, 1]) / 40,
    ),
    "hue": (
        augment.random_hue,
        {"turns": 0.4},
        (-0.4, 0.4),
        [[200, 100, 100]],
        lambda row: (colorsys.rgb_to_hsv(*row[0])[0] + 0.5) % 1 - 0.5,
    ),
    "hue_linear": (
        augment.random_hue_linear,
        {"turns": (-0.1, 0.3)},
        (-0.1, 0.3),
        [[130, 110, 110]],
        lambda row: _angle(row[0]),
    ),
}


def _angle(pixel):
    chroma = [
        complex(0.596 * r - 0.274 * g - 0.322 * b, -(0.211 * r - 0.523 * g + 0.312 * b))
        for r, g, b in (pixel, (130, 110, 110))
    ]
    return np.angle(chroma[0] / chroma[1]) / (2 * np.pi)


@pytest.mark.parametrize("name", AMOUNTS)
@pytest.mark.sampled(2)
def test_amounts_are_uniform_over_their_range(name):
    operation, arguments, (low, high), row, measure = AMOUNTS[name]
    images = np.tile(np.array(row, np.float32)[None, None], (3000, 1, 1, 1))
    changed = operation(images, [4, 2], **arguments).numpy()
    amounts = np.array([measure(image[0].astype(float)) for image in changed])
    assert amounts.min() >= low - 1e-4
    assert amounts.max() <= high + 1e-4
    assert stats.kstest(amounts, stats.uniform(low, high - low).cdf).pvalue > 0.001


@pytest.mark.parametrize("name", AMOUNTS)
def test_strength_shrinks_the_range_towards_no_change(name):
    operation, arguments, (low, high), *_ = AMOUNTS[name]
    made = operation.operation(**arguments)
    scale, neutral = (255, 0) if name == "shift" else (1, float("hue" not in name))
    for strength in (0.0, 0.25, 1.0):
        drawn, _ = made.draw([1, 2], (2000, 4, 4, 3), strength)
        (amounts,) = (value for key, value in drawn.items() if key != "selected")
        ends = np.array([low, high]) * scale - neutral
        np.testing.assert_allclose(
            [np.min(amounts) - neutral, np.max(amounts) - neutral],
            strength * ends,
            atol=0.01 * strength * scale,
        )


@pytest.mark.parametrize("factor", [(0.5, 0.75), (0.8, 1.0), (4.0, 5.0)])
def test_saturation_stays_in_the_range(factor):
    """Keras 3.15.1 gives values down to -64770 here."""
    generator = np.random.default_rng(3)
    images = generator.uniform(0, 255, (64, 4, 4, 3)).astype(np.float32)
    changed = augment.random_saturation(images, [1, 1], factor=factor).numpy()
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_bright_uint8_images_do_not_wrap():
    images = np.full((3, 2, 2, 3), 200, np.uint8)
    np.testing.assert_array_equal(augment.random_brightness(images, [0, 0], factor=(2, 3)), 255)
    lifted = augment.random_brightness_shift(images, [0, 0], delta=(0.4, 0.5))
    np.testing.assert_array_equal(lifted, 255)
    lowered = augment.random_brightness_shift(images, [0, 0], delta=(-0.3, -0.2)).numpy()
    assert lowered.min() >= 200 - 0.3 * 255 - 1
    assert lowered.max() <= 200 - 0.2 * 255 + 1


def test_neighbours_are_rounded_once(random_images):
    members = [
        augment.random_brightness.operation(factor=(0.5, 0.9)),
        augment.random_contrast.operation(factor=(0.5, 0.9)),
        augment.random_saturation.operation(factor=(0.3, 1.6)),
        augment.random_hue.operation(turns=0.5),
        augment.random_brightness_shift.operation(delta=0.2),
    ]
    images, seed = random_images(8, 6, 5), [3, 1]
    amounts = [
        np.stack([value.numpy() for key, value in member.draw(seed, images.shape, 1.0)[0].items()])
        for member in members
    ]
    references = (brightness, contrast, saturation, hue, shifted)
    once, often = images.astype(float), images.astype(float)
    for reference, amount in zip(references, amounts, strict=True):
        once = np.stack([reference(*pair) for pair in zip(once, amount[0], strict=True)])
        often = np.stack([reference(*pair) for pair in zip(often, amount[0], strict=True)])
        often = np.round(often)
    chain = _compiled.compiled(_chain.chain_of(members))
    assert_rounded(chain(images, seed, 1.0).numpy(), once)
    assert np.abs(often - once).max() > 1.5


def test_shares_of_the_range_in_images_from_0_to_1():
    images = np.full((4, 2, 2, 3), 0.4, np.float32)
    shifted = augment.random_brightness_shift(
        images, [0, 0], delta=(0.2, 0.2), value_range=(0, 1)
    ).numpy()
    np.testing.assert_allclose(shifted, 0.6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in ON_COLORS if name != "contrast"])
def test_a_grey_image_has_no_colours_to_change(colorful, name):
    image = colorful[:, :, :1]
    np.testing.assert_array_equal(KERNELS[name][0](image, 0.3), image)


def test_contrast_of_a_grey_image_is_that_of_equal_channels(colorful):
    one, three = colorful[:, :, :1], np.repeat(colorful[:, :, :1], 3, axis=2)
    np.testing.assert_allclose(color.adjust_contrast(one, 0.4), contrast(one, 0.4), atol=2e-3)
    np.testing.assert_allclose(
        color.adjust_contrast(three, 0.4), np.repeat(contrast(one, 0.4), 3, axis=2), atol=2e-3
    )


@pytest.mark.parametrize("channels", [2, 4, 5])
@pytest.mark.parametrize("name", ON_COLORS)
def test_other_numbers_of_channels_are_refused(name, channels):
    image = tf.zeros((4, 4, channels))
    message = rf"1 channel \(grey\) or 3 \(RGB\) for \w+, received: {channels} channels"
    with pytest.raises(ValueError, match=message):
        KERNELS[name][0](image, 0.5)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_brightness_takes_any_number_of_channels(random_images, channels):
    images = random_images(3, channels=channels)
    changed = augment.random_brightness(images, [0, 0], factor=(0.5, 0.5)).numpy()
    assert_rounded(changed, images * 0.5)


def test_where_channels_are_unknown_three_are_required(random_images):
    unknown = [tf.TensorSpec([None] * 4, tf.uint8), tf.TensorSpec([2], tf.int32)]
    function = tf.function(
        lambda images, seed: augment.random_saturation(images, seed, factor=(0, 0)),
        input_signature=unknown,
        autograph=False,
    )
    images = random_images(2)
    assert_rounded(function(images, [0, 0]).numpy(), gray(images.astype(float), None))
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        function(random_images(2, channels=4), [0, 0])


def test_the_share_of_images_turned_grey(random_images):
    images = random_images(2000, 2, 2)
    changed = augment.random_grayscale(images, [1, 1], probability=0.3).numpy()
    turned = (changed != images).any((1, 2, 3))
    assert stats.binomtest(int(turned.sum()), 2000, 0.3).pvalue > 0.001
    assert_rounded(changed[turned], gray(images[turned].astype(float), None))
    few = augment.random_grayscale.operation(probability=0.3).draw([1, 1], images.shape, 0.5)[0]
    assert 0.1 < few["selected"].numpy().mean() < 0.2


def test_orders_of_channels_are_equally_likely():
    images = np.tile(np.array([10, 20, 30], np.uint8), (3000, 1, 2, 1))
    shuffled = augment.random_channel_shuffle(images, [2, 2]).numpy()
    np.testing.assert_array_equal(shuffled[:, 0, 0], shuffled[:, 0, 1])
    np.testing.assert_array_equal(np.sort(shuffled, axis=-1), images)
    _, counts = np.unique(shuffled[:, 0, 0], axis=0, return_counts=True)
    assert counts.size == 6
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(
    ("operation", "arguments", "message"),
    [
        (augment.random_brightness, {"factor": -0.1}, "factor must be a number in"),
        (augment.random_brightness_shift, {"delta": 1.5}, "delta must be a number in"),
        (augment.random_brightness_shift, {"delta": (-2, 0)}, r"delta\[0\] must be a number in"),
        (augment.random_contrast, {"factor": (-1, 1)}, r"factor\[0\] must be a number in"),
        (augment.random_contrast, {"factor": (1.2, 0.8)}, "factor must be in rising order"),
        (augment.random_saturation, {"factor": "much"}, "factor"),
        (augment.random_hue, {"turns": 0.7}, "turns must be a number in"),
        (augment.random_hue, {"turns": (0, 90)}, r"turns\[1\] must be a number in"),
        (augment.random_hue_linear, {"turns": None}, "turns must be a number or two numbers"),
        (augment.random_grayscale, {"probability": 2}, "probability must be a number"),
    ],
)
def test_bad_arguments(operation, arguments, message):
    with pytest.raises(ValueError, match=message):
        operation(np.zeros((1, 2, 2, 3), np.uint8), [0, 0], **arguments)
