"""Multiplication by a constant."""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_recipes")
class Scale(keras.layers.Layer):
    """`inputs * factor`, for logits whose size at the start of training is to be set.

    Args:
        factor: A finite number other than 0.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Floating-point tensor of any shape.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ValueError: If `factor` is 0 or not finite.

    Example:
        >>> Scale(0.125)(keras.ops.array([8.0, 16.0])).numpy().tolist()
        [1.0, 2.0]
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        if not factor or not math.isfinite(factor):
            raise ValueError(f"factor must be a finite number other than 0, received: {factor!r}")
        self.factor = factor

    def call(self, inputs):
        """Return the scaled inputs."""
        return inputs * ops.cast(self.factor, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Return the input shape unchanged."""
        return input_shape

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "factor": self.factor}
