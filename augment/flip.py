"""Mirror images left to right and upside down."""

import tensorflow as tf

from augment import _random, _validation


def random_flip(images, seed, *, horizontal=True, vertical=False, probability=0.5):
    """Mirror each image along each chosen axis, with a mask of its own for either axis.

    Args:
        images: uint8, float16, bfloat16 or float32, shape `(batch, height, width, channels)`; any
            size may be unknown.
        seed: Two integers; the same seed gives the same result.
        horizontal: Whether to mirror left to right.
        vertical: Whether to mirror upside down.
        probability: Chance in `[0, 1]` of each chosen flip, drawn for each image and each axis.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: If `images`, `seed` or `probability` is out of shape or range.
        TypeError: If the dtype of `images` is another.

    Example:
        >>> image = tf.constant([[[[1], [2]], [[3], [4]]]], tf.uint8)
        >>> random_flip(image, [0, 0], probability=1.0)[0, :, :, 0].numpy().tolist()
        [[2, 1], [4, 3]]
    """
    images = _validation.check_images(images)
    check_random_flip(horizontal, vertical, probability)
    seed = _random.check_seed(seed)
    batch = _validation.image_sizes(images)[0]
    flips = _random.random_uniform(seed, (batch, 2), "random_flip") < probability
    if horizontal:
        images = tf.where(flips[:, 0, None, None, None], images[:, :, ::-1], images)
    if vertical:
        images = tf.where(flips[:, 1, None, None, None], images[:, ::-1], images)
    return images


def check_random_flip(horizontal=True, vertical=False, probability=0.5):
    """Raise `ValueError` if an argument of `random_flip` is out of range."""
    _validation.check_choice("horizontal", horizontal, (True, False))
    _validation.check_choice("vertical", vertical, (True, False))
    _validation.check_number("probability", probability, 0, 1)
