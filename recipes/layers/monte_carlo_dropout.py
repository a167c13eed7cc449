"""Dropout that also draws in inference, to ask a network how sure it is."""

import keras
import numpy as np

from recipes.errors import ConfigError
from recipes.layers import _checks as checks
from recipes.layers._copies import carry_flags, carry_variables, copy_layer, copy_model


@keras.saving.register_keras_serializable(package="keras_recipes")
class MonteCarloDropout(keras.layers.Layer):
    """Dropout that is active in training and in inference.

    Each call sets values to 0 with probability `rate` and divides the others by `1 - rate`. The
    spread of several predictions says how much the network knows about an image. Calling a whole
    model with `training=True` instead would also let batch normalisations use the statistics of
    the batch, and move their averages; with this layer everything else stays in inference mode.

    Args:
        rate: Probability of dropping a value, in `[0, 1)`.
        by_channel: Whether whole channels of a feature map are dropped: neighbouring pixels tell
            much the same, so dropping single ones hides little.
        seed: Integer for repeatable draws, or `None`.
        **kwargs: Base layer arguments, such as `name`.

    Call arguments:
        inputs: Floating-point tensor, shape `(batch, ..., channels)`.

    Returns:
        Tensor of the shape of `inputs`, in the layer's compute dtype.

    Raises:
        ConfigError: If an argument is wrong.

    Example:
        >>> outputs = MonteCarloDropout(0.5, seed=0)(keras.ops.ones((1, 1000)))
        >>> sorted(set(outputs.numpy().ravel().tolist()))
        [0.0, 2.0]

    Source:
        Gal and Ghahramani, "Dropout as a Bayesian Approximation: Representing Model Uncertainty
        in Deep Learning", 2016; Tompson et al., "Efficient Object Localization Using
        Convolutional Networks", 2015, for `by_channel`. TFLite has no kernel for the draws: put a
        `keras.layers.Dropout` in its place before the export.
    """

    def __init__(self, rate, by_channel=False, seed=None, **kwargs):
        super().__init__(**kwargs)
        checks.rate("rate", rate)
        checks.boolean("by_channel", by_channel)
        self.rate = rate
        self.by_channel = by_channel
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None

    def call(self, inputs):
        """Return the inputs with some values set to 0."""
        if not self.rate:
            return inputs
        noise_shape = None
        if self.by_channel:
            shape = keras.ops.shape(inputs)
            noise_shape = (shape[0], *(1,) * (len(shape) - 2), shape[-1])
        return keras.random.dropout(
            inputs, self.rate, noise_shape=noise_shape, seed=self.seed_generator
        )

    def compute_output_shape(self, input_shape):
        """Return the input shape unchanged."""
        return input_shape

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "by_channel": self.by_channel,
            "seed": self.seed,
        }


def with_monte_carlo_dropout(model):
    """Return a copy of a model, weights included, whose dropout layers draw in inference, too.

    Args:
        model: Functional or sequential Keras model; one with layers of kind `keras.layers.Dropout`
            or `keras.layers.SpatialDropout2D` outside nested models and blocks.

    Returns:
        A `keras.Model`, not compiled; `model` is left as it is.

    Raises:
        ConfigError: If the model has no such layer, one with a `noise_shape`, or a layer that
            cannot be copied.

    Example:
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dropout(0.5, name="drop")(inputs))
        >>> type(with_monte_carlo_dropout(model).get_layer("drop")).__name__
        'MonteCarloDropout'
    """
    kinds = (keras.layers.Dropout, keras.layers.SpatialDropout2D)
    if not any(type(layer) in kinds for layer in model.layers):
        raise ConfigError(f"model {model.name!r} has no dropout layer that could draw in inference")
    for layer in model.layers:
        if type(layer) is keras.layers.Dropout and layer.noise_shape is not None:
            raise ConfigError(
                f"{layer.name} has the noise_shape {layer.noise_shape}, which MonteCarloDropout "
                "does not know: use keras.layers.SpatialDropout2D to drop whole channels"
            )

    def clone(layer):
        if type(layer) not in kinds:
            return copy_layer(layer)
        return MonteCarloDropout(
            layer.rate,
            by_channel=isinstance(layer, keras.layers.SpatialDropout2D),
            seed=layer.seed,
            name=layer.name,
            dtype=layer.dtype_policy,
        )

    copy = copy_model(model, clone)
    for new, old in zip(copy.layers, model.layers, strict=True):
        if type(old) not in kinds:
            carry_variables(old, new)
            carry_flags(old, new)
    return copy


def monte_carlo_samples(model, images, samples=20, *, batch_size=32):
    """Return several predictions for each image, for a model with Monte-Carlo dropout.

    Args:
        model: Keras model with `MonteCarloDropout` in it.
        images: Array of images, as the model takes them, `(n, height, width, channels)`.
        samples: How many predictions to draw, 1 or more.
        batch_size: Images in one step.

    Returns:
        Float array `(samples, n, classes)`. Its mean over the samples is the prediction; its
        spread is what the network does not know.

    Raises:
        ConfigError: If `samples` is not a positive integer.

    Example:
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, MonteCarloDropout(0.5)(inputs))
        >>> monte_carlo_samples(model, np.ones((2, 4)), samples=3).shape
        (3, 2, 4)

    Source:
        Gal and Ghahramani, 2016, equations 6 and 7.
    """
    checks.positive_integer("samples", samples)
    return np.stack(
        [model.predict(images, batch_size=batch_size, verbose=0) for _ in range(samples)]
    )
