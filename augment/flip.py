"""Mirror images left to right and upside down."""

import tensorflow as tf

from augment import _validation
from augment._operation import Operation, operation


@operation
def random_flip(*, horizontal=True, vertical=False, probability=0.5):
    """Mirror each image along each chosen axis, with a draw of its own for either axis.

    Args:
        horizontal: Whether to mirror left to right.
        vertical: Whether to mirror upside down.
        probability: Chance in `[0, 1]` of each chosen flip, drawn for each image and each axis.

    Example:
        >>> image = tf.constant([[[[1], [2]], [[3], [4]]]], tf.uint8)
        >>> random_flip(image, [0, 0], probability=1.0)[0, :, :, 0].numpy().tolist()
        [[2, 1], [4, 3]]
    """
    _validation.check_choice("horizontal", horizontal, (True, False))
    _validation.check_choice("vertical", vertical, (True, False))
    _validation.check_number("probability", probability, 0, 1)

    def sample(draw):
        chances = probability * draw.strength
        flips = draw.chance("", chances, shape=(2,)) & tf.constant([horizontal, vertical])
        return {"flips": flips, "selected": tf.reduce_any(flips, axis=1)}

    def apply(image, flips):
        image = tf.cond(flips[0], lambda: image[:, ::-1], lambda: image)
        return tf.cond(flips[1], lambda: image[::-1], lambda: image)

    def over_batch(images, flips):
        for place, axis in enumerate((2, 1)):
            if (horizontal, vertical)[place]:
                flipped = tf.reverse(images, [axis])
                images = tf.where(flips[:, place, None, None, None], flipped, images)
        return images

    def matrix(drawn, draw):
        signs = tf.where(drawn["flips"], tf.constant(-1.0, tf.float64), 1.0)
        ends = tf.cast(tf.stack([draw.width - 1, draw.height - 1]), tf.float64)
        shifts = tf.where(drawn["flips"], ends, 0.0)
        zero, one = tf.zeros_like(signs[:, 0]), tf.ones_like(signs[:, 0])
        rows = [
            [signs[:, 0], zero, shifts[:, 0]],
            [zero, signs[:, 1], shifts[:, 1]],
            [zero, zero, one],
        ]
        return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)

    return Operation(sample, apply, over_batch, kind="geometry", matrix=matrix)
