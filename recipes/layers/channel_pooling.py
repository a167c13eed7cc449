"""Pooling over the channels instead of over the pixels."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_recipes")
class ChannelPooling(keras.layers.Layer):
    """The mean and the largest value over the channels of each pixel, as two channels.

    The mean is taken in float32 whatever the dtype policy.

    Args:
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Floating-point tensor, shape `(..., channels)`.

    Returns:
        Tensor of shape `(..., 2)`, in the layer's compute dtype.

    Example:
        >>> ChannelPooling()(keras.ops.array([[1.0, 2.0, 6.0]])).numpy().tolist()
        [[3.0, 6.0]]

    Source:
        Woo et al., "CBAM: Convolutional Block Attention Module", 2018, equation 3.
    """

    def call(self, inputs):
        """Return the two maps."""
        mean = ops.mean(ops.cast(inputs, "float32"), axis=-1, keepdims=True)
        largest = ops.max(inputs, axis=-1, keepdims=True)
        return ops.concatenate([ops.cast(mean, largest.dtype), largest], axis=-1)

    def compute_output_shape(self, input_shape):
        """Return the shape with two channels."""
        return (*input_shape[:-1], 2)

    def get_config(self):
        """Return every argument."""
        # Without a method of its own, a layer that was given a dtype policy cannot be saved.
        return super().get_config()
