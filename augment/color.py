"""Change the colours of images smoothly."""

import tensorflow as tf

from augment import _validation
from augment._operation import Operation, operation


def adjust_brightness(image, factor):
    """Multiply an image by `factor`: float32 in `[0, 255]` in and out."""
    return tf.clip_by_value(image * factor, 0.0, 255.0)


@operation
def random_brightness(*, factor=0.2):
    """Multiply all values of each image by a factor of its own.

    Args:
        factor: Lowest and highest multiplier, at least 0; or one number `f` for
            `(max(0, 1 - f), 1 + f)`.

    Example:
        >>> images = tf.fill((2, 4, 4, 3), tf.constant(100, tf.uint8))
        >>> random_brightness(images, [0, 0], factor=(1.5, 1.5))[0, 0, 0].numpy().tolist()
        [150, 150, 150]
    """
    low, high = _validation.check_factor("factor", factor)

    def sample(draw):
        return {"factor": draw.uniform("factor", low, high, neutral=1.0)}

    return Operation(sample, adjust_brightness, kind="color")
