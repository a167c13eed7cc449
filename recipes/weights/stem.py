"""Adapting the first convolution of a network to images of other channels."""

import keras
import numpy as np

from callbacks._layers import sublayers


def find_stem(model):
    """Return the first layer with weights if it is a convolution, or `None`.

    Nested models are looked into, and layers that are made of layers.
    """
    first = next((layer for layer in sublayers(model) if layer.weights), None)
    if first is None or isinstance(first, keras.layers.Conv2D):
        return first
    return find_stem(first)


def adapt_channels(kernel: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, str | None]:
    """Return `kernel` for the input channels of `shape`, and how, or as it is and `None`.

    - To one channel: the sum over the channels. A grey image then gives what the same image gives
      as three equal channels.
    - To more channels: the new ones get the mean of the old, and all are scaled by old / new, so
      that the outputs keep their size.

    Args:
        kernel: Shape `(height, width, channels, filters)`.
        shape: What the layer takes. Unless it differs in the channels alone, and they are one or
            more than the file's, the kernel comes back as it is.

    Example:
        >>> kernel = np.ones((3, 3, 3, 8), "float32")
        >>> adapt_channels(kernel, (3, 3, 1, 8))[1]
        'the kernels for 3 channels were summed into 1'
        >>> float(adapt_channels(kernel, (3, 3, 4, 8))[0].sum() / kernel.sum())
        1.0
    """
    if kernel.ndim != 4 or len(shape) != 4 or kernel.shape == shape:
        return kernel, None
    height, width, old, filters = kernel.shape
    new = shape[2]
    if (height, width, filters) != (shape[0], shape[1], shape[3]) or 1 != new < old:
        return kernel, None
    if new == 1:
        return (
            kernel.sum(axis=2, keepdims=True),
            f"the kernels for {old} channels were summed into 1",
        )
    extra = np.repeat(kernel.mean(axis=2, keepdims=True), new - old, axis=2)
    adapted = np.concatenate([kernel, extra], axis=2) * np.float32(old / new)
    return adapted, (
        f"the kernels for {old} channels were extended to {new}: the others get their mean, and "
        f"all are scaled by {old}/{new}"
    )
