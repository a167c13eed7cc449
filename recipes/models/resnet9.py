"""ResNet-9: the small residual network of the speed contests."""

import keras

from recipes.layers.scale import Scale
from recipes.layers.stochastic_depth import StochasticDepth
from recipes.models import _common as common

# The logits are made smaller by this, so that the softmax starts out even (Page, 2018).
_LOGIT_SCALE = 0.125


def build_resnet9(
    *,
    width=32,
    include_top=True,
    weights=None,
    input_shape=(32, 32, 3),
    pooling=None,
    classes=10,
    classifier_activation="softmax",
    include_preprocessing=True,
    mean=None,
    variance=None,
    dropout=0.0,
    stochastic_depth=0.0,
    name=None,
):
    """Build a ResNet-9: eight convolutions and a classifier, for small images and short training.

    A convolution of `width` channels; twice: a convolution that doubles the channels, 2x2 max
    pooling, and a residual pair of convolutions; global max pooling; a linear classifier without
    a bias, its logits multiplied by 0.125. With the default width and images of 28x28x1 it has
    464,800 parameters, 1,216 of them batch-norm statistics.

    Args:
        width: Channels of the first convolution; the stages have 2 and 4 times as many.
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones, or a source that `recipes.weights.load_weights` takes,
            such as a `.weights.h5` or `.keras` file.
        input_shape: `(height, width, channels)`, at least 8 pixels a side. Beyond some 64 pixels
            the network sees too little of the image at once; take a deeper one.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            ImageNet's.
        variance: Variance likewise.
        dropout: Rate of dropout before the classifier, in `[0, 1)`.
        stochastic_depth: Probability of dropping the last residual branch, in `[0, 1)`; the first
            is dropped half as often.
        name: Name of the model; default `resnet9`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> build_resnet9(input_shape=(28, 28, 1)).count_params()
        464800

    Source:
        David Page, "How to Train Your ResNet", 2018 (widths 64, 128, 256, 512 for CIFAR-10).
        Deviations: half the width, one stage fewer, and the first stage is residual too.
    """
    common.check_positive_integer("width", width)
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=8,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )
    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    x = _unit(x, width, name="stem")
    for stage in (1, 2):
        x = _stage(x, width * 2**stage, stochastic_depth * stage / 2, name=f"stage{stage}")
    if include_top:
        outputs = _classifier(x, classes, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(inputs, outputs, name=name or "resnet9", weights=weights)


def _unit(x, width, *, name, number=""):
    """Return a 3x3 convolution, batch normalisation and ReLU of `x`."""
    x = common.convolution(x, width, initializer="he_normal", name=f"{name}_conv{number}")
    x = common.batch_normalization(x, name=f"{name}_bn{number}")
    return common.relu(x, name=f"{name}_relu{number}")


def _stage(x, width, drop, *, name):
    x = _unit(x, width, name=name)
    # ReLU before pooling costs training 1 % more than after, and lets an int8 converter fold it
    # into the convolution, which then spends no codes on negative numbers.
    x = keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    block = f"{name}_block1"
    residual = _unit(_unit(x, width, name=block, number=1), width, name=block, number=2)
    if drop:
        residual = StochasticDepth(drop, name=f"{block}_drop")(residual)
    return keras.layers.Add(name=f"{block}_add")([residual, x])


def _classifier(x, classes, dropout, classifier_activation):
    x = common.pool(x, "max")
    x = common.dropout_layer(x, dropout, name="head_dropout", dtype="float32")
    x = keras.layers.Dense(classes, use_bias=False, dtype="float32", name="head_dense")(x)
    logits = Scale(_LOGIT_SCALE, dtype="float32", name="logits")(x)
    return common.activation(logits, classifier_activation)
