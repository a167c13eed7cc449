"""Normalisation of images by the statistics of the training set."""

import math

import keras
from keras import ops


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


def _numbers(name, values):
    numbers = [float(value) for value in values]
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} must hold one finite number a channel, received: {values!r}")
    return numbers
