"""Normalisation of images by the statistics of the training set."""

import math

import keras
import numpy as np
from keras import ops

# Images whose statistics are taken at a time: float64 takes eight times the room of bytes.
_AT_A_TIME = 256


@keras.saving.register_keras_serializable(package="keras_recipes")
class ChannelNormalization(keras.layers.Layer):
    """`(inputs - mean) / sqrt(variance)` for each channel, computed in float32.

    The first layer of every model here, so that a model takes images as they are stored. It is
    float32 whatever the dtype policy, since bfloat16 cannot tell 200 from 200.5; the next layer
    casts to its own type. Unlike `keras.layers.Normalization` and `keras.layers.Rescaling` it is
    a plain layer: Keras 3.15's preprocessing layers inside a model can make `model(x)` run later
    batch normalisations in training mode.

    Args:
        mean: One number a channel, in the units of the inputs.
        variance: One number a channel, in those units squared; 0 or more. A channel that is
            constant (variance 0) is only centred.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Images of any numeric dtype, shape `(..., channels)`.

    Returns:
        Tensor of the shape of `inputs`, float32.

    Raises:
        ValueError: If the two lists are empty, differ in length, hold something that is not a
            finite number, or do not fit the channels of the inputs.

    Example:
        >>> layer = ChannelNormalization(mean=[100.0], variance=[25.0])
        >>> layer(keras.ops.array([[[[110.0]]]])).numpy().item()
        2.0
    """

    def __init__(self, mean, variance, **kwargs):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.mean = _numbers("mean", mean)
        self.variance = _numbers("variance", variance)
        if len(self.mean) != len(self.variance):
            raise ValueError(
                "mean and variance must have one number a channel each, "
                f"received {len(self.mean)} and {len(self.variance)}"
            )
        if min(self.variance) < 0:
            raise ValueError(f"variance must not be negative, received: {self.variance}")

    @classmethod
    def from_images(cls, images, **kwargs):
        """Return the layer for the mean and variance of training images.

        Args:
            images: Array `(n, height, width, channels)` of any numeric dtype; or an iterable that
                ends, such as a `tf.data.Dataset`, of batches of such arrays (sizes may differ) or
                of tuples that begin with one. Only training images belong here.
            **kwargs: Base layer arguments, such as `name`.

        Returns:
            A layer whose outputs on these images have mean 0 and variance 1 a channel. The sums
            are taken in float64, exactly enough for any number of images.

        Raises:
            ValueError: If there are no images, or what comes is not a batch of images.

        Example:
            >>> images = np.array([[[[10.0]], [[14.0]]]])
            >>> layer = ChannelNormalization.from_images(images)
            >>> layer.mean, layer.variance
            ([12.0], [4.0])

        Source:
            Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
            Sample Variances", 1979, equation 2.1, by which batches are joined.
        """
        count, mean, squares, origin = 0, 0.0, 0.0, None
        for values in _batches_of_pixels(images):
            size = len(values)
            if count and len(origin) != values.shape[1]:
                raise ValueError(
                    "images must have the same number of channels throughout, "
                    f"received {len(origin)} and {values.shape[1]}"
                )
            if not size:
                continue
            # About the first pixel, so that the variance of a constant channel is 0 exactly.
            origin = values[0].copy() if origin is None else origin
            values = values - origin
            batch_mean = values.mean(axis=0)
            shift = batch_mean - mean
            within = ((values - batch_mean) ** 2).sum(axis=0)
            squares = squares + within + shift**2 * count * size / (count + size)
            mean = mean + shift * size / (count + size)
            count += size
        if not count:
            raise ValueError("images must hold at least one image, received none")
        return cls((origin + mean).tolist(), (squares / count).tolist(), **kwargs)

    def build(self, input_shape):
        """Check that there is a mean and a variance for each channel."""
        if input_shape[-1] != len(self.mean):
            raise ValueError(
                f"{self.name} has the mean and variance of {len(self.mean)} channels, "
                f"received inputs of shape {tuple(input_shape)}"
            )

    def call(self, inputs):
        """Return the normalised images."""
        scale = [1.0 / math.sqrt(variance) if variance else 1.0 for variance in self.variance]
        inputs = ops.cast(inputs, "float32")
        return (inputs - ops.array(self.mean, "float32")) * ops.array(scale, "float32")

    def compute_output_shape(self, input_shape):
        """Return the input shape unchanged."""
        return input_shape

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "mean": self.mean, "variance": self.variance}


def _batches_of_pixels(images):
    """Yield float64 arrays `(pixels, channels)` of a few images at a time."""
    batches = [images] if hasattr(images, "shape") else images
    for batch in batches:
        batch = np.asarray(batch[0] if isinstance(batch, list | tuple) else batch)
        if batch.ndim != 4:
            raise ValueError(
                "images must come in batches (n, height, width, channels), "
                f"received the shape {batch.shape}"
            )
        for start in range(0, len(batch), _AT_A_TIME):
            chosen = batch[start : start + _AT_A_TIME]
            yield chosen.reshape(-1, chosen.shape[-1]).astype("float64")


def _numbers(name, values):
    numbers = [float(value) for value in values]
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} must hold one finite number a channel, received: {values!r}")
    return numbers
