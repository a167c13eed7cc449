"""Random resized crops straight from files: of a JPEG only the crop is decoded."""

import functools

import tensorflow as tf

from augment import _random, _validation, resize
from augment._compiled import compiled
from augment._draw import Draw
from augment.resized_crop import RATIO, SCALE, check_random_resized_crop, random_boxes

# By how much a JPEG decoder can make an image smaller at no cost.
_REDUCTIONS = (1, 2, 4, 8)


@tf.autograph.experimental.do_not_convert
def decode_random_resized_crop(
    contents,
    seed,
    *,
    size,
    scale=SCALE,
    ratio=RATIO,
    interpolation="bilinear",
    antialias=False,
    channels=3,
    reduce=True,
):
    """Decode a random rectangle of an image file and resize it, as `random_resized_crop` does.

    For `Dataset.map` on single files, before they are batched, as their sizes differ. With the same
    seed it takes the rectangle that `random_resized_crop` takes from a batch of this image alone.
    At the edges of a rectangle colours may be a few levels off those of the whole image, since the
    decoder does not look beyond it to smooth them. Files that are no JPEGs (PNG, BMP, the first
    frame of a GIF) are decoded whole, which takes longer, and then cropped. An EXIF orientation is
    not applied, as TensorFlow's decoders do not: turn the pixels of such files before.

    Args:
        contents: The file's bytes, a string scalar.
        seed: Two integers, such as a number of the run and the place of the file in all epochs; the
            same seed gives the same result.
        size: Height and width of the result, or one number for both.
        scale: As for `random_resized_crop`.
        ratio: As for `random_resized_crop`.
        interpolation: As for `random_resized_crop`.
        antialias: As for `random_resized_crop`.
        channels: 3 for colour, 1 for grey; JPEG and PNG files are converted.
        reduce: Whether a JPEG's rectangle that is at least 2, 4 or 8 times as high and as wide as
            the result is decoded at a half, a quarter or an eighth of its size: faster, and the
            mean of the pixels instead of one of them. The rectangle is then rounded to whole pixels
            of what is decoded. Not done for `interpolation="nearest"`.

    Returns:
        uint8 tensor of shape `(*size, channels)`.

    Raises:
        ValueError: If an argument is out of shape or range.
        tf.errors.InvalidArgumentError: If the file is no image or is damaged.

    Example:
        >>> contents = tf.io.encode_jpeg(tf.zeros((60, 80, 3), tf.uint8))
        >>> decode_random_resized_crop(contents, [0, 0], size=32).shape
        TensorShape([32, 32, 3])

    Source:
        Szegedy et al., "Going Deeper with Convolutions", 2014, section 6, as `random_resized_crop`
        says. Sizes of one half to one eighth: the scaled inverse cosine transform of libjpeg.
    """
    contents = tf.convert_to_tensor(contents)
    if contents.dtype != tf.string or contents.shape.rank != 0:
        raise ValueError(
            "contents must be the bytes of one file, a string scalar, received: "
            f"{contents.dtype.name} of shape {contents.shape}"
        )
    seed = _random.check_seed(seed)
    size = resize.check_size("size", size)
    check_random_resized_crop(scale, ratio, interpolation, antialias)
    _validation.check_choice("channels", channels, (1, 3))
    _validation.check_choice("reduce", reduce, (True, False))
    reductions = _REDUCTIONS if reduce and interpolation != "nearest" else (1,)

    draw_box = _box_of(tuple(scale), tuple(ratio))

    def from_jpeg():
        shape = tf.io.extract_jpeg_shape(contents)
        box = draw_box(seed, shape[0], shape[1])
        return _decoded_box(contents, box, shape, size, channels, reductions)

    def from_other():
        image = tf.io.decode_image(contents, channels=channels, expand_animations=False)
        box = draw_box(seed, tf.shape(image)[0], tf.shape(image)[1])
        return tf.slice(image, [box[0], box[1], 0], [box[2], box[3], channels])

    crop = tf.cond(tf.io.is_jpeg(contents), from_jpeg, from_other)
    crop = tf.ensure_shape(crop, (None, None, channels))
    return _resized(crop, size, interpolation, antialias)


@functools.lru_cache(maxsize=64)
def _box_of(scale, ratio):
    """Return the compiled function of seed, height and width that draws a rectangle."""

    def draw_box(seed, height, width):
        draw = Draw("random_resized_crop", seed, (1, height, width, 1))
        return random_boxes(draw, scale, ratio)[0]

    # Its hundreds of small steps would take as long as decoding, run one by one. Sizes are numbers
    # here, no shapes, so that it is compiled once for all images.
    return compiled(draw_box)


def _decoded_box(contents, box, shape, size, channels, reductions):
    """Return uint8 pixels of a rectangle of a JPEG, made smaller if `size` is small enough."""
    wanted = [box[2] // size[0], box[3] // size[1]]
    fitting = [tf.reduce_min(wanted) >= reduction for reduction in reductions[1:]]
    choice = tf.reduce_sum(tf.cast(tf.stack([False, *fitting]), tf.int32))

    def decode(reduction):
        def pixels():
            whole = (shape[:2] + reduction - 1) // reduction
            sides = (box[2:] + reduction // 2) // reduction
            corner = tf.minimum((box[:2] + reduction // 2) // reduction, whole - sides)
            window = tf.concat([corner, sides], axis=0)
            return tf.image.decode_and_crop_jpeg(
                contents, window, channels=channels, ratio=reduction
            )

        return pixels

    return tf.switch_case(choice, [decode(reduction) for reduction in reductions])


def _resized(image, size, interpolation, antialias):
    # Not by `crop_and_resize`, which XLA would have to compile for each size that it meets.
    result = tf.image.resize(image, size, interpolation, antialias=antialias)
    if interpolation == "nearest":
        return result
    if interpolation == "bicubic":
        result = tf.clip_by_value(result, 0.0, 255.0)
    return tf.cast(result + 0.5, tf.uint8)
