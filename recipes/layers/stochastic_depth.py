"""Stochastic depth: residual branches that are dropped at random."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_recipes")
class StochasticDepth(keras.layers.Layer):
    """Drops the residual branch of an image, whole, with probability `rate`.

    Stands at the end of a residual branch, before the addition. In training each image of the
    batch draws for itself; the branches that stay are divided by `1 - rate`, so that inference,
    in which the layer does nothing, sees the expectation.

    Args:
        rate: Probability of dropping, in `[0, 1)`.
        seed: Integer for repeatable draws, or `None`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Floating-point tensor, shape `(batch, ...)`.
        training: Whether to drop.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ValueError: If `rate` is not in `[0, 1)`.

    Example:
        >>> branch = keras.ops.ones((4, 2))
        >>> StochasticDepth(0.5)(branch).numpy().tolist()
        [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]

    Source:
        Huang et al., "Deep Networks with Stochastic Depth", 2016. The paper drops one draw a
        mini-batch and scales in inference; drawing for each image and scaling in training is what
        EfficientNet and torchvision (mode "row") do.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), received: {rate!r}")
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None

    def call(self, inputs, training=False):
        """Return the inputs, in training with some images of the batch set to 0."""
        if not training or not self.rate:
            return inputs
        shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        # Drawn in float32: bfloat16 has 128 numbers in [0.5, 1), too few for a small rate.
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        factor = ops.where(draw >= self.rate, 1.0 / (1.0 - self.rate), 0.0)
        return inputs * ops.cast(factor, inputs.dtype)

    def compute_output_shape(self, input_shape):
        """Return the input shape unchanged."""
        return input_shape

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
