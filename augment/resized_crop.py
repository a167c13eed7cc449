"""Crop images at random sizes and resize them, in one step: what photographs are trained on."""

import math

import tensorflow as tf

from augment import _validation, resize
from augment._operation import Operation, operation

# Defaults of the random resized crop: shares of the image's area, and width divided by height.
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)

# Steps of Newton's method in which an area is found; four make its error 1e-12.
_STEPS = 5


@operation
def random_resized_crop(
    *,
    size,
    scale=SCALE,
    ratio=RATIO,
    interpolation="bilinear",
    antialias=False,
    probability=1.0,
):
    """Cut a rectangle of random area, shape and place out of each image and resize it to `size`.

    Area (uniform over `scale`) and aspect ratio (log-uniform over `ratio`) are uniform over all
    pairs of which the rectangle fits into the image; its place is uniform over all where it lies
    inside. A curriculum's strength shrinks how far its sides fall short of the image's, in
    proportion; at 0 the whole image is resized.

    Args:
        size: Height and width of the result, or one number for both.
        scale: Lowest and highest area of the rectangle, as a share of the image in `(0, 1]`.
        ratio: Lowest and highest width divided by height, positive.
        interpolation: `"nearest"`, `"bilinear"`, or `"bicubic"` (Keys' cubic of parameter -1/2).
        antialias: Whether to widen the kernel where the rectangle is made smaller, as PIL and
            `tf.image.resize(..., antialias=True)` do; takes longer. Without it pixels are skipped.
        probability: Chance in `[0, 1]` that an image is cropped; the others are resized whole.

    Example:
        >>> images = tf.zeros((2, 40, 50, 3), tf.uint8)
        >>> random_resized_crop(images, [0, 0], size=32).shape
        TensorShape([2, 32, 32, 3])

    Source:
        Szegedy et al., "Going Deeper with Convolutions", 2014, section 6. Where the paper is silent
        this draws as torchvision's `RandomResizedCrop` does, which throws away pairs that do not
        fit and draws again, ten times, and then takes the middle of the image; here the law that
        remains is computed, so nothing is thrown away, and of a very long image, which no
        rectangle of the wanted shape and area may fit, the largest of the wanted shape is taken, at
        a random place.
    """
    size = resize.check_size("size", size)
    check_random_resized_crop(scale, ratio, interpolation, antialias)
    _validation.check_number("probability", probability, 0, 1)

    def sample(draw):
        box = random_boxes(draw, scale, ratio)
        whole = tf.stack([0, 0, draw.height, draw.width])
        return {"box": tf.where(draw.chance("probability", probability)[:, None], box, whole)}

    def apply(image, box):
        return resize.crop_and_resize(
            image, box, size, interpolation=interpolation, antialias=antialias
        )

    return Operation(sample, apply, size=size)


def check_random_resized_crop(scale, ratio, interpolation, antialias):
    """Raise `ValueError` if an argument of `random_resized_crop` is out of range."""
    _validation.check_range("scale", scale, 0, 1)
    _validation.check_range("ratio", ratio, 0, math.inf)
    resize.check_resize(interpolation, antialias)


def random_boxes(draw, scale=SCALE, ratio=RATIO):
    """Draw rectangles as `random_resized_crop` does.

    Args:
        draw: `Draw` with the sizes of the images.
        scale: Lowest and highest area, as a share of the image.
        ratio: Lowest and highest width divided by height.

    Returns:
        int32 `(batch, 4)`: top, left, height, width.
    """
    uniform = draw.uniform("shape", shape=(2,))
    image = [tf.cast(side, tf.float64) for side in (draw.height, draw.width)]
    shares = _fitting_sides(uniform[:, 0], uniform[:, 1], image[1] / image[0], scale, ratio)
    sides = []
    for side, share in zip(image, shares, strict=True):
        # Powers of the shares keep both to what fits.
        pixels = tf.round(side * share**draw.strength)
        sides.append(tf.cast(tf.clip_by_value(pixels, 1.0, side), tf.int32))
    free = tf.stack([draw.height - sides[0], draw.width - sides[1]], axis=1)
    return tf.concat(
        [draw.integer("place", 0, free + 1, shape=(2,)), tf.stack(sides, axis=1)], axis=1
    )


def _fitting_sides(area_uniform, ratio_uniform, shape, scale, ratio):
    """Return heights and widths, as shares of the image's, of rectangles that fit into it.

    In shares of the image's area `a` and logarithms `l` of width divided by height the rectangle
    fits if `log(a * shape) <= l <= log(shape / a)`. `a` has the density of the length of what
    this leaves of the range of `l`, and `l` is uniform over it.

    Args:
        area_uniform: float64 `(batch,)` in `[0, 1)`.
        ratio_uniform: Likewise.
        shape: float64 scalar, width of the image divided by its height.
        scale: Lowest and highest `a`.
        ratio: Lowest and highest width divided by height.
    """
    # A range that is one point has no length: a millionth more makes none of a pixel's difference.
    low, high = ratio[0], max(ratio[1], ratio[0] * (1 + 1e-6))
    largest = tf.minimum(tf.minimum(shape / low, high / shape), scale[1])
    smallest = tf.minimum(largest, scale[0])

    def below(area):
        """Return the integral up to `area` of the length of what is left for `l`, and that length.

        The integral is that of the upper end of the range less that of the lower one.
        """
        upper = tf.minimum(tf.math.log(shape / area), math.log(high))
        lower = tf.maximum(tf.math.log(area * shape), math.log(low))
        above = tf.where(area < shape / high, area * upper, area * (upper + 1) - shape / high)
        under = tf.where(area < low / shape, area * lower, area * (lower - 1) + low / shape)
        return above - under, upper - lower

    start, _ = below(smallest)
    end, _ = below(largest)
    goal = start + area_uniform * (end - start)
    # What is left shrinks towards the largest area, often to nothing: if it did so evenly from the
    # smallest one on, this were the answer. From here Newton's method doubles its digits each step.
    area = largest - (largest - smallest) * tf.sqrt(1 - area_uniform)

    def improve(step, area):
        reached, length = below(area)
        area += (goal - reached) / tf.maximum(length, 1e-12)
        return step + 1, tf.clip_by_value(area, smallest, largest)

    # A loop, since XLA would compute each step again for every use of it.
    _, area = tf.while_loop(lambda step, _: step < _STEPS, improve, (0, area))
    narrowest = tf.maximum(tf.math.log(area * shape), math.log(low))
    widest = tf.minimum(tf.math.log(shape / area), math.log(high))
    drawn = tf.exp(narrowest + (widest - narrowest) * ratio_uniform)
    return tf.sqrt(area * shape / drawn), tf.sqrt(area * drawn / shape)


@operation
def random_multi_scale_crop(
    *,
    size=224,
    shorter_side=(256, 480),
    interpolation="bilinear",
    antialias=False,
    probability=1.0,
):
    """Resize each image to a random scale and cut a random window of `size` out of it.

    Each image's shorter side gets a length of its own, uniform over the whole numbers in
    `shorter_side`, the longer one in proportion; the place of the window is uniform. Only the
    window is computed. A curriculum's strength shrinks the lengths towards the lowest and moves the
    windows towards the middle.

    Args:
        size: Height and width of the result, or one number for both.
        shorter_side: Shortest and longest length of the resized image's shorter side, in pixels, at
            least the larger side of `size`; or one number.
        interpolation: As for `random_resized_crop`.
        antialias: As for `random_resized_crop`.
        probability: Chance in `[0, 1]` that scale and place are random; the others get the lowest
            length and the window in the middle.

    Example:
        >>> images = tf.zeros((2, 40, 50, 3), tf.uint8)
        >>> random_multi_scale_crop(images, [0, 0], size=32, shorter_side=(32, 64)).shape
        TensorShape([2, 32, 32, 3])

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2015, section 3.4; Simonyan and
        Zisserman, "Very Deep Convolutional Networks", 2014, section 3.1.
    """
    size = resize.check_size("size", size)
    low, high = _validation.check_spread(
        "shorter_side", shorter_side, resize.check_shorter_side, size
    )
    resize.check_resize(interpolation, antialias)
    _validation.check_number("probability", probability, 0, 1)

    def sample(draw):
        moved = draw.strength * tf.cast(draw.chance("probability", probability), tf.float64)
        lengths = tf.cast(draw.integer("shorter_side", low, high + 1) - low, tf.float64)
        lengths = low + tf.cast(tf.round(moved * lengths), tf.int32)
        scaled = tf.stack(resize.scaled_sizes(draw.height, draw.width, lengths), axis=1)
        free = scaled - tf.constant(size)
        middle = free // 2
        place = tf.cast(draw.integer("place", 0, free + 1, shape=(2,)) - middle, tf.float64)
        place = middle + tf.cast(tf.round(moved[:, None] * place), tf.int32)
        whole = tf.broadcast_to(tf.stack([0, 0, draw.height, draw.width]), (draw.batch, 4))
        return {"box": whole, "window": tf.concat([scaled, place], axis=1)}

    def apply(image, box, window):
        return resize.crop_and_resize(
            image, box, size, window=window, interpolation=interpolation, antialias=antialias
        )

    return Operation(sample, apply, size=size)
