"""Layer scale: residual branches that begin small."""

import keras
from keras import ops

from recipes.layers import _checks as checks


@keras.saving.register_keras_serializable(package="keras_recipes")
class LayerScale(keras.layers.Layer):
    """`inputs * gamma`, one trainable factor a channel, computed in float32.

    Stands at the end of a residual branch. A factor near 0 starts a deep network near the
    identity; float16 has no digits left for a product as small as that.

    Args:
        initial: Finite number that all factors start at.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Floating-point tensor, shape `(batch, ..., channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If `initial` is not a finite number.

    Example:
        >>> LayerScale(0.5)(keras.ops.array([[2.0, 6.0]])).numpy().tolist()
        [[1.0, 3.0]]

    Source:
        Touvron et al., "Going deeper with Image Transformers", 2021, equation 4.
    """

    def __init__(self, initial=1e-6, **kwargs):
        super().__init__(**kwargs)
        checks.finite_number("initial", initial)
        self.initial = initial

    def build(self, input_shape):
        """Make the factors."""
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial),
            autocast=False,
        )

    def call(self, inputs):
        """Return the scaled inputs."""
        return ops.cast(ops.cast(inputs, self.gamma.dtype) * self.gamma, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Return the input shape unchanged."""
        return input_shape

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "initial": self.initial}
