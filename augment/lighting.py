"""Lighting noise: shift the colours of an image along the principal components of a data set."""

import math

import numpy as np
import tensorflow as tf

from augment import _validation, color
from augment._operation import Operation, each_pixel, operation

# Published with fb.resnet.torch (Gross and Wilber, 2016) and used since for ImageNet: components of
# the RGB values of its training images, scaled to [0, 1]. Columns are the eigenvectors.
IMAGENET = (
    (0.2175, 0.0188, 0.0045),
    (
        (-0.5675, 0.7192, 0.4009),
        (-0.5808, -0.0045, -0.8140),
        (-0.5836, -0.6948, 0.4203),
    ),
)

# Values of an image that are turned to float64 at once while components are computed.
_CHUNK = 2**22


def shift_colors(image, shift):
    """Add `shift`, a number in grey levels for each channel, to all pixels: float32 in and out.

    Args:
        image: As many channels as `shift` has numbers; or one, if these are red, green and blue: it
            then gets their grey. Or a batch of images.
        shift: Shape `(channels,)`; for a batch `(batch, 1, 1, channels)`.
    """
    count, channels = shift.shape[-1], image.shape[-1]
    if channels is None:
        image = tf.ensure_shape(image, [*image.shape[:-1], count])
    elif channels == 1 and count == 3:
        luma = tf.constant(color.LUMA, tf.float32)
        shift = tf.reduce_sum(shift * luma, axis=-1, keepdims=True)
    elif channels != count:
        expected = "1 channel (grey) or 3 (RGB)" if count == 3 else f"{count} channels"
        raise ValueError(
            f"images must have {expected} for lighting with components of {count} channels, "
            f"received: {channels} channels"
        )
    return tf.clip_by_value(image + shift, 0.0, 255.0)


@operation
def random_lighting(*, components="imagenet", deviation=0.1):
    """Shift all pixels of each image by a random amount along each principal component of colour.

    In values scaled to `[0, 1]` the shift is `sum_i a_i * eigenvalue_i * eigenvector_i` with each
    `a_i` drawn for each image from the normal distribution with mean 0 and `deviation`. The formula
    depends on the scale, since eigenvalues are variances; `[0, 1]` is what the published constants
    are for. With these and 0.1 the brightness moves by about 3.2 grey levels (its standard
    deviation).

    Args:
        components: `"imagenet"`, or eigenvalues `(channels,)` and eigenvectors
            `(channels, channels)`, one a column, as `fit_lighting` computes them from your images.
        deviation: Standard deviation of each `a_i`, at least 0.

    Example:
        >>> images = tf.fill((2, 4, 4, 3), tf.constant(100, tf.uint8))
        >>> random_lighting(images, [0, 0], deviation=0.0)[0, 0, 0].numpy().tolist()
        [100, 100, 100]

    Source:
        Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012,
        section 4.1. A grey image gets the grey of the shift.
    """
    values, vectors = check_components(components)
    deviation = _validation.check_number("deviation", deviation, 0, math.inf)
    steps = tf.constant(255.0 * deviation * values[:, None] * vectors.T, tf.float64)

    def sample(draw):
        amounts = draw.strength * draw.normal("amount", shape=(len(values),))
        # Summed in a fixed order, so that the shift is the same bits wherever it is computed.
        return {"shift": sum(amounts[:, i, None] * steps[i] for i in range(len(values)))}

    over_batch = each_pixel(shift_colors, tf.float32)
    return Operation(sample, shift_colors, over_batch, kind="color")


def check_components(components):
    """Return eigenvalues and eigenvectors as float64 arrays, or raise `ValueError`."""
    if isinstance(components, str):
        _validation.check_choice("components", components, ("imagenet",))
        components = IMAGENET
    try:
        values, vectors = (np.asarray(part, np.float64) for part in components)
    except (TypeError, ValueError):
        raise ValueError(
            "components must be 'imagenet' or eigenvalues and eigenvectors, received: "
            f"{components!r}"
        ) from None
    if values.ndim != 1 or not values.size or vectors.shape != (values.size, values.size):
        raise ValueError(
            "components must be eigenvalues (channels,) and eigenvectors (channels, channels), "
            f"received: shapes {values.shape} and {vectors.shape}"
        )
    if not (np.isfinite(values).all() and (values >= 0).all() and np.isfinite(vectors).all()):
        raise ValueError(
            "components must be finite, eigenvalues at least 0, received: eigenvalues "
            f"{values.tolist()}"
        )
    return values, vectors


def fit_lighting(images, *, value_range=(0, 255)):
    """Compute the principal components of colour over all pixels of a data set.

    Args:
        images: Images of shape `(count, height, width, channels)`, or a `tf.data.Dataset` of
            batches of them or of single images, alone, first in a tuple, or in a dictionary under
            "images". uint8 or float. Sizes may differ between the elements of a dataset.
        value_range: Lowest and highest value of float images.

    Returns:
        Eigenvalues `(channels,)` of the covariance of values scaled to `[0, 1]`, float64, the
        largest first, and eigenvectors `(channels, channels)`, one a column, of length 1 and with a
        sum that is not negative: the `components` of `random_lighting`.

    Raises:
        ValueError: If there are fewer than two pixels, the shape is another, or the number of
            channels changes.

    Example:
        >>> values, vectors = fit_lighting(np.array([[[[0, 0]], [[255, 255]]]], np.uint8))
        >>> values.round(3).tolist(), vectors[:, 0].round(3).tolist()
        ([1.0, 0.0], [0.707, 0.707])

    Source:
        As for `random_lighting`: "PCA on the set of RGB pixel values throughout the training set".
    """
    low, high = _validation.check_value_range(value_range)
    count, total, products, highest = 0, 0.0, 0.0, 0.0
    for pixels, is_integer in _pixel_chunks(images):
        start, scale = (0.0, 255.0) if is_integer else (low, high - low)
        # About the middle of the range, so that nothing is lost where all values are large.
        values = (pixels.astype(np.float64) - start) / scale - 0.5
        if count and values.shape[1] != len(total):
            raise ValueError(
                f"images must all have {len(total)} channels, received: {values.shape[1]}"
            )
        highest = max(highest, pixels.max(initial=0) if not is_integer else 255)
        count += len(values)
        total = total + values.sum(axis=0)
        products = products + values.T @ values
    if count < 2:
        raise ValueError(f"images must hold at least 2 pixels, received: {count}")
    if (low, high) == (0, 255) and 0 < highest <= 1:
        raise ValueError(
            f"images must be in [0, 255], received values up to {highest:g}: if they are in [0, 1],"
            " say value_range=(0, 1)"
        )
    mean = total / count
    covariance = (products - count * np.outer(mean, mean)) / (count - 1)
    values, vectors = np.linalg.eigh(covariance)
    vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1.0, 1.0)
    # Rounding can leave the variance of a constant a hair below 0.
    return np.maximum(values, 0.0)[::-1].copy(), vectors[:, ::-1].copy()


def _pixel_chunks(images):
    """Yield arrays `(pixels, channels)` and whether they are integers."""
    elements = images.as_numpy_iterator() if isinstance(images, tf.data.Dataset) else [images]
    for element in elements:
        if isinstance(element, dict):
            element = element["images"]
        elif isinstance(element, (tuple, list)) and isinstance(images, tf.data.Dataset):
            element = element[0]
        array = np.asarray(element)
        if array.ndim not in (3, 4) or (array.ndim == 3 and element is images):
            raise ValueError(
                "images must have the shape (count, height, width, channels), received: "
                f"{array.shape}"
            )
        if array.dtype != np.uint8:
            array = array.astype(np.float32, copy=False)
        pixels = array.reshape(-1, array.shape[-1])
        step = max(1, _CHUNK // array.shape[-1])
        for start in range(0, len(pixels), step):
            yield pixels[start : start + step], array.dtype == np.uint8
