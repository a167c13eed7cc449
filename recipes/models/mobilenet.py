"""MobileNet v1 and v2."""

import dataclasses
import re

import keras

from recipes.errors import ConfigError
from recipes.layers.channels import make_divisible
from recipes.models import _common as common
from recipes.models import _mobile as mobile


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Blocks of one stage; the first block has the stride."""

    blocks: int
    strides: int
    filters: int
    expansion: int | None = None


# Table 1 of the first paper: pairs of a depthwise and a 1x1 convolution.
_STAGES_V1 = (
    _Stage(1, 1, 64),
    _Stage(2, 2, 128),
    _Stage(2, 2, 256),
    _Stage(6, 2, 512),
    _Stage(2, 2, 1024),
)
# Table 2 of the second paper: inverted residuals.
_STAGES_V2 = (
    _Stage(1, 1, 16, expansion=1),
    _Stage(2, 2, 24, expansion=6),
    _Stage(3, 2, 32, expansion=6),
    _Stage(4, 2, 64, expansion=6),
    _Stage(3, 1, 96, expansion=6),
    _Stage(3, 2, 160, expansion=6),
    _Stage(1, 1, 320, expansion=6),
)
_STEM_FILTERS = 32
_HEAD_FILTERS_V2 = 1280

# TensorFlow's MobileNets take images in [-1, 1].
_MEAN = 127.5
_VARIANCE = 127.5**2

_STYLES = {"torchvision": mobile.TORCH, "keras": mobile.TENSORFLOW}


def build_mobilenet(
    *,
    include_top=True,
    weights=None,
    input_shape=(224, 224, 3),
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    mean=None,
    variance=None,
    dropout=0.001,
    width=1.0,
    name=None,
):
    """Build a MobileNet, version 1: depthwise-separable convolutions one after the other.

    Padding is that of TensorFlow ("same"), batch normalisation adds 0.001.

    Args:
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (He et al. 2015, by fan-out), or a source that
            `recipes.weights.load_weights` takes.
        input_shape: `(height, width, channels)`, at least 32 pixels a side; `None` for a side
            leaves it open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            127.5, which with the default variance takes images to `[-1, 1]`.
        variance: Variance likewise; default 127.5 squared.
        dropout: Rate of dropout before the classifier, in `[0, 1)`.
        width: Multiplies the channels of every layer, rounded to multiples of 8; the paper has
            0.25, 0.5, 0.75 and 1.
        name: Name of the model; default `mobilenet`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> build_mobilenet(input_shape=(32, 32, 3), width=0.25, classes=10).output_shape
        (None, 10)

    Source:
        Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
        Applications", 2017, table 1; `keras.applications.MobileNet`, with which it agrees for
        sides that are multiples of 32 (Keras drops the odd row of other maps). Here the moving
        statistics have momentum 0.9, and the classifier is a dense layer instead of a 1x1
        convolution, which computes the same.
    """
    _check(input_shape, classes, pooling, width, dropout=dropout)
    inputs, x = _images(input_shape, include_preprocessing, mean, variance)
    style = mobile.TENSORFLOW
    x = mobile.convolution(
        x, style, make_divisible(_STEM_FILTERS * width), 3, strides=2, name="stem"
    )
    for at, stage, strides, _ in _blocks(_STAGES_V1):
        x = mobile.depthwise_convolution(x, style, 3, strides=strides, name=f"{at}_depthwise")
        filters = make_divisible(stage.filters * width)
        x = mobile.convolution(x, style, filters, name=f"{at}_pointwise")
    if include_top:
        outputs = mobile.classifier(
            x, classes, dropout, classifier_activation, initializer="glorot_uniform"
        )
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(inputs, outputs, name=name or "mobilenet", weights=weights)


def build_mobilenet_v2(
    *,
    include_top=True,
    weights=None,
    input_shape=(224, 224, 3),
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    mean=None,
    variance=None,
    dropout=0.2,
    stochastic_depth=0.0,
    width=1.0,
    style="torchvision",
    name=None,
):
    """Build a MobileNet, version 2: inverted residuals with linear bottlenecks.

    Args:
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (torchvision's: He et al. 2015 by fan-out, deviation 0.01
            for the classifier), or a source that `recipes.weights.load_weights` takes.
        input_shape: `(height, width, channels)`, at least 32 pixels a side; `None` for a side
            leaves it open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            that of the style.
        variance: Variance likewise.
        dropout: Rate of dropout before the classifier, in `[0, 1)`.
        stochastic_depth: Probability of dropping the residual branch of the last block, in
            `[0, 1)`; earlier ones are dropped less, in proportion to their place.
        width: Multiplies the channels, rounded to multiples of 8; the last convolution only grows
            with it and never shrinks.
        style: Whose weights fit. "torchvision": padded evenly, batch normalisation adds 0.00001,
            images normalised by the statistics of ImageNet. "keras": padded as by TensorFlow,
            0.001, images taken to `[-1, 1]`.
        name: Name of the model; default `mobilenet_v2`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> model = build_mobilenet_v2(input_shape=(32, 32, 3), classes=10)
        >>> model.get_layer("stage2_block2_add").output.shape
        (None, 8, 8, 24)

    Source:
        Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, table 2;
        torchvision's `mobilenetv2.py`; `keras.applications.MobileNetV2`.
    """
    common.check_choice("style", style, tuple(_STYLES))
    _check(input_shape, classes, pooling, width, dropout=dropout, stochastic_depth=stochastic_depth)
    if style == "keras":
        inputs, x = _images(input_shape, include_preprocessing, mean, variance)
    else:
        inputs, x = common.image_input(
            input_shape, include_preprocessing=include_preprocessing, mean=mean, variance=variance
        )
    style = _STYLES[style]
    x = mobile.convolution(
        x, style, make_divisible(_STEM_FILTERS * width), 3, strides=2, name="stem"
    )
    for at, stage, strides, place in _blocks(_STAGES_V2):
        x = mobile.inverted_residual(
            x,
            style,
            stage.expansion,
            make_divisible(stage.filters * width),
            3,
            strides=strides,
            drop=stochastic_depth * place,
            name=at,
        )
    x = mobile.convolution(
        x, style, make_divisible(_HEAD_FILTERS_V2 * max(1.0, width)), name="head"
    )
    if include_top:
        outputs = mobile.classifier(
            x,
            classes,
            dropout,
            classifier_activation,
            initializer=keras.initializers.RandomNormal(stddev=0.01),
        )
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(
        inputs, outputs, name=name or "mobilenet_v2", weights=weights, torch_layers=torch_layers
    )


def _check(input_shape, classes, pooling, width, **rates):
    common.check_arguments(
        input_shape=input_shape, classes=classes, pooling=pooling, minimum_size=32, **rates
    )
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 16:
        raise ConfigError(f"width must be above 0 and at most 16, received: {width!r}")


def _images(input_shape, include_preprocessing, mean, variance):
    """Return the input tensor and the images, taken to [-1, 1] unless told otherwise."""
    if include_preprocessing and mean is None and variance is None:
        mean, variance = [_MEAN] * input_shape[-1], [_VARIANCE] * input_shape[-1]
    return common.image_input(
        input_shape, include_preprocessing=include_preprocessing, mean=mean, variance=variance
    )


def _blocks(stages):
    """Yield name, stage, stride and place, above 0 and up to 1, of each block."""
    total = sum(stage.blocks for stage in stages)
    done = 0
    for number, stage in enumerate(stages, start=1):
        for block in range(1, stage.blocks + 1):
            done += 1
            strides = stage.strides if block == 1 else 1
            yield f"stage{number}_block{block}", stage, strides, done / total


def torch_layers(model):
    """Return where the weights of each layer are in torchvision's state dict of MobileNetV2.

    Args:
        model: Of `build_mobilenet_v2`, with or without its top. torchvision has no version 1.

    Returns:
        Prefixes in the state dict by layer name.

    Example:
        >>> torch_layers(build_mobilenet_v2())["stage1_block1_project_bn"]
        'features.1.conv.2'
    """
    names = [layer.name for layer in model.layers]
    blocks = list(dict.fromkeys(re.findall(r"\b(stage\d+_block\d+)_", " ".join(names))))
    table = {"logits": "classifier.1"}
    for part, place in (("stem", 0), ("head", len(blocks) + 1)):
        table |= {f"{part}_conv": f"features.{place}.0", f"{part}_bn": f"features.{place}.1"}
    for number, block in enumerate(blocks, start=1):
        at = f"features.{number}.conv"
        # A convolution with its normalisation and ReLU is a module of its own; the projection,
        # which has no ReLU, is two.
        activated = [f"{block}_expand", f"{block}_depthwise"]
        if f"{block}_expand_conv" not in names:
            del activated[0]
        for index, part in enumerate(activated):
            table |= {f"{part}_conv": f"{at}.{index}.0", f"{part}_bn": f"{at}.{index}.1"}
        index = len(activated)
        table |= {
            f"{block}_project_conv": f"{at}.{index}",
            f"{block}_project_bn": f"{at}.{index + 1}",
        }
    return {name: table[name] for name in names if name in table}
