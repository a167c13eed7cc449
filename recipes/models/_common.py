"""What all model builders share: input, convolution, head, weights, and checks of arguments."""

import logging

import keras

from recipes.errors import ConfigError, nearest
from recipes.layers.channel_normalization import ChannelNormalization
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.weights import IMAGENET, load_weights

_LOGGER = logging.getLogger(__name__)

# Mean and variance of ImageNet's training images, red, green and blue, in units of 0..255.
IMAGENET_MEAN, IMAGENET_VARIANCE = IMAGENET

# The values of PyTorch, where most published results of these networks come from. The moving
# statistics of Keras' default momentum, 0.99, lag behind a training of a few epochs.
_MOMENTUM = 0.9
_EPSILON = 1e-5


def image_input(input_shape, *, include_preprocessing, mean, variance):
    """Return the input tensor and the images to compute on, normalised if so asked.

    Args:
        input_shape: `(height, width, channels)`, checked already.
        include_preprocessing: Whether the images are in `[0, 255]` and to be normalised.
        mean: One number a channel in units of 0..255, or `None` for ImageNet's.
        variance: Likewise.
    """
    inputs = keras.Input(input_shape, dtype="float32", name="images")
    if not include_preprocessing:
        if mean is not None or variance is not None:
            raise ConfigError("mean and variance have no effect with include_preprocessing=False")
        return inputs, inputs
    mean, variance = _statistics(input_shape[-1], mean, variance)
    return inputs, ChannelNormalization(mean, variance, name="normalization")(inputs)


def _statistics(channels, mean, variance):
    if (mean is None) != (variance is None):
        raise ConfigError("mean and variance must be given together")
    if mean is None:
        if channels == 3:
            return IMAGENET_MEAN, IMAGENET_VARIANCE
        if channels == 1:
            return [sum(IMAGENET_MEAN) / 3], [sum(IMAGENET_VARIANCE) / 3]
        raise ConfigError(f"images of {channels} channels need mean and variance to be given")
    if len(mean) != channels or len(variance) != channels:
        raise ConfigError(
            f"mean and variance must have one number for each of the {channels} channels, "
            f"received {len(mean)} and {len(variance)}"
        )
    return mean, variance


def convolution(inputs, filters, size=3, *, strides=1, initializer, bias=False, name):
    """Return a convolution of `inputs`, padded evenly on all sides.

    With stride 2, the padding of Keras' "same" depends on the size of the image and puts the odd
    row at the bottom, which moves the samples by one pixel against the shortcut beside. Padding
    evenly keeps both on the same pixels, as in PyTorch.

    Args:
        inputs: Feature map, `(batch, height, width, channels)`.
        filters: Number of output channels.
        size: Height and width of the kernel, odd.
        strides: Step in both directions.
        initializer: Name of a Keras initializer, or a function that makes a new one.
        bias: Whether to add a bias.
        name: Name of the layer; the padding is called `name + "_pad"`.
    """
    padding = "same" if strides == 1 else "valid"
    if padding == "valid" and size > 1:
        inputs = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(inputs)
    return keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        use_bias=bias,
        kernel_initializer=initializer() if callable(initializer) else initializer,
        name=name,
    )(inputs)


def batch_normalization(inputs, *, zero_gamma=False, name):
    """Return the batch-normalised inputs; `zero_gamma` starts the scale at 0 instead of 1."""
    return FusedBatchNormalization(
        momentum=_MOMENTUM,
        epsilon=_EPSILON,
        gamma_initializer="zeros" if zero_gamma else "ones",
        name=name,
    )(inputs)


def relu(inputs, *, name):
    """Return the positive part of the inputs."""
    return keras.layers.ReLU(name=name)(inputs)


def he_fan_out():
    """Return a new initializer: normal with variance 2 / fan-out, as in torchvision."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def pool(inputs, kind, *, name="head_pool"):
    """Return the global "avg" or "max" of a feature map, in float32 whatever the policy."""
    layers = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }
    return layers[kind](dtype="float32", name=name)(inputs)


def features_only(inputs, pooling):
    """Return what a model without its top returns: the feature map, or its pooled vector."""
    return inputs if pooling is None else pool(inputs, pooling)


def dropout_layer(inputs, rate, *, name, dtype=None):
    """Return the inputs through dropout, or as they are if `rate` is 0."""
    return keras.layers.Dropout(rate, dtype=dtype, name=name)(inputs) if rate else inputs


def activation(logits, classifier_activation):
    """Return the outputs of the model: `logits`, or an activation of them."""
    if classifier_activation is None:
        return logits
    return keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(
        logits
    )


def check_arguments(*, input_shape, classes, pooling, minimum_size, **rates):
    """Check what all builders take.

    Args:
        input_shape: Must be `(height, width, channels)`; height and width may be `None`.
        classes: Must be a positive integer.
        pooling: Must be `None`, "avg" or "max".
        minimum_size: The fewest pixels that height and width may have.
        **rates: Probabilities by name; each must be in `[0, 1)`.

    Raises:
        ConfigError: If one of them is not so.
    """
    _check_input_shape(input_shape, minimum_size)
    check_positive_integer("classes", classes)
    if pooling not in (None, "avg", "max"):
        raise ConfigError(f"pooling must be None, 'avg' or 'max', received: {pooling!r}")
    for name, rate in rates.items():
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ConfigError(f"{name} must be in [0, 1), received: {rate!r}")


def _check_input_shape(input_shape, minimum_size):
    expected = "input_shape must be (height, width, channels)"
    if not isinstance(input_shape, list | tuple) or len(input_shape) != 3:
        raise ConfigError(f"{expected}, received: {input_shape!r}")
    *sizes, channels = input_shape
    if not all(size is None or _is_positive_integer(size) for size in sizes):
        raise ConfigError(f"{expected} in positive integers, received: {input_shape!r}")
    if not _is_positive_integer(channels):
        raise ConfigError(f"{expected} with a known number of channels, received: {input_shape!r}")
    if any(size is not None and size < minimum_size for size in sizes):
        raise ConfigError(
            f"images must have at least {minimum_size} pixels a side for this model, "
            f"received input_shape {tuple(input_shape)}"
        )


def check_known_size(input_shape, what):
    """Raise `ConfigError` if a side of the image is open, for classifiers that flatten a map.

    Args:
        input_shape: `(height, width, channels)`.
        what: Whose classifier it is, such as "AlexNet".
    """
    if None in input_shape:
        raise ConfigError(
            f"the classifier of {what} needs images of a known size, "
            f"received input_shape {tuple(input_shape)}"
        )


def _is_positive_integer(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_positive_integer(name, value):
    """Raise `ConfigError` unless `value` is an integer above 0."""
    if not _is_positive_integer(value):
        raise ConfigError(f"{name} must be a positive integer, received: {value!r}")


def check_choice(name, value, known):
    """Raise `ConfigError` unless `value` is one of `known`."""
    if value not in known:
        raise ConfigError(
            f"{name} must be one of {', '.join(map(str, known))}, received: {value!r}"
            f"{_nearest_choice(value, known)}"
        )


def _nearest_choice(value, known):
    """Return a hint at the choice nearest to a number or a name, or an empty string."""
    if isinstance(value, str):
        return nearest(value, [choice for choice in known if isinstance(choice, str)])
    numbers = [choice for choice in known if isinstance(choice, int)]
    if not numbers or isinstance(value, bool) or not isinstance(value, int):
        return ""
    return f"; the nearest is {min(numbers, key=lambda number: abs(number - value))}"


def finish(inputs, outputs, *, name, weights, torch_layers=None, package=None):
    """Return the model from `inputs` to `outputs`, with weights if some are given.

    Args:
        inputs: The input tensor.
        outputs: The output tensor.
        name: Name of the model.
        weights: `None` to leave the random ones, or what `load_weights` takes.
        torch_layers: The family's function from a model to the names of its layers in PyTorch, for
            weights that come from there.
        package: The name under which `weights="imagenet"` finds weights of this model, if any.
    """
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        report = load_weights(model, weights, torch_layers=torch_layers, package=package)
        for note in report.notes:
            _LOGGER.warning("%s: %s", name, note)
    return model
