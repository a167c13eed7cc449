"""What the networks for phones share: depthwise convolutions, inverted residuals, the head."""

import dataclasses

import keras

from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.layers.stochastic_depth import StochasticDepth
from recipes.models import _common as common

_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class Style:
    """In what the same network differs between its implementations.

    Args:
        padding: "even" puts the same number of zeros on all sides (PyTorch); "same" puts the odd
            row and column, of stride 2 on an even size, at the bottom and right (TensorFlow).
        epsilon: What batch normalisation adds to the variance.
    """

    padding: str
    epsilon: float


TORCH = Style("even", 1e-5)
TENSORFLOW = Style("same", 1e-3)


def convolution(x, style, filters, size=1, *, strides=1, activate=True, name):
    """Return `x` through a convolution, batch normalisation and, unless told not to, a ReLU6.

    The layers are called `{name}_conv`, `{name}_bn` and `{name}_relu`.
    """
    x, padding = _padded(x, style, size, strides, name=name)
    x = keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=common.he_fan_out(),
        name=f"{name}_conv",
    )(x)
    return _normalized(x, style, activate, name=name)


def depthwise_convolution(x, style, size, *, strides=1, name):
    """Return `x` through a depthwise convolution, batch normalisation and a ReLU6."""
    x, padding = _padded(x, style, size, strides, name=name)
    x = keras.layers.DepthwiseConv2D(
        size,
        strides=strides,
        padding=padding,
        use_bias=False,
        # The kernel is (height, width, channels, 1), so the fan-out is that of one channel.
        depthwise_initializer=common.he_fan_out(),
        name=f"{name}_conv",
    )(x)
    return _normalized(x, style, True, name=name)


def inverted_residual(x, style, expansion, filters, size, *, strides, drop, name):
    """Return `x` through expansion, depthwise convolution and projection, with a shortcut.

    Args:
        x: Feature map.
        style: A `Style`.
        expansion: By how much the first convolution multiplies the channels; none at 1.
        filters: Output channels.
        size: Of the depthwise kernel.
        strides: Of the depthwise convolution. There is a shortcut if nothing changes the shape.
        drop: Probability of dropping the residual branch, where there is a shortcut.
        name: Prefix of the layers' names.
    """
    residual = x
    if expansion != 1:
        residual = convolution(residual, style, x.shape[-1] * expansion, name=f"{name}_expand")
    residual = depthwise_convolution(
        residual, style, size, strides=strides, name=f"{name}_depthwise"
    )
    residual = convolution(residual, style, filters, activate=False, name=f"{name}_project")
    if strides > 1 or x.shape[-1] != filters:
        return residual
    if drop:
        residual = StochasticDepth(drop, name=f"{name}_drop")(residual)
    return keras.layers.Add(name=f"{name}_add")([residual, x])


def _padded(x, style, size, strides, *, name):
    """Return `x`, padded if Keras cannot pad as the style wants, and the padding left to Keras."""
    if style.padding == "same" or strides == 1:
        return x, "same"
    if size > 1:
        x = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
    return x, "valid"


def _normalized(x, style, activate, *, name):
    x = FusedBatchNormalization(momentum=_MOMENTUM, epsilon=style.epsilon, name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value=6, name=f"{name}_relu")(x) if activate else x


def classifier(x, classes, dropout, classifier_activation, *, initializer):
    """Return the outputs: global average, dropout, dense layer, activation, all in float32."""
    x = common.pool(x, "avg")
    x = common.dropout_layer(x, dropout, name="head_dropout", dtype="float32")
    logits = keras.layers.Dense(
        classes, kernel_initializer=initializer, dtype="float32", name="logits"
    )(x)
    return common.activation(logits, classifier_activation)
