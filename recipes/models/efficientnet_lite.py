"""EfficientNet-Lite 0 to 4: EfficientNet without squeeze-excite and swish, made for int8."""

import dataclasses
import math
import re

import keras

from recipes.layers.channels import make_divisible
from recipes.models import _common as common
from recipes.models import _mobile as mobile


@dataclasses.dataclass(frozen=True)
class _Variant:
    """How a variant scales the base network, and what it was trained with."""

    width: float
    depth: float
    size: int
    dropout: float


_VARIANTS = {
    0: _Variant(1.0, 1.0, 224, 0.2),
    1: _Variant(1.0, 1.1, 240, 0.2),
    2: _Variant(1.1, 1.2, 260, 0.3),
    3: _Variant(1.2, 1.4, 280, 0.3),
    4: _Variant(1.4, 1.8, 300, 0.3),
}


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Blocks of one stage of the base network; the first block has the stride."""

    blocks: int
    size: int
    strides: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)

# No variant scales these two.
_STEM_FILTERS = 32
_HEAD_FILTERS = 1280

# Of the training images, in units of 0..255, for every channel.
_MEAN = 127.0
_VARIANCE = 128.0**2


def build_efficientnet_lite(
    variant,
    *,
    include_top=True,
    weights=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    mean=None,
    variance=None,
    dropout=None,
    stochastic_depth=0.0,
    name=None,
):
    """Build an EfficientNet-Lite.

    EfficientNet with what quantises badly, or what phones compute slowly, left out: no
    squeeze-excite, ReLU6 instead of swish, and a stem and a head that do not grow with the
    variant. Padding is that of TensorFlow ("same"), batch normalisation adds 0.001.

    Args:
        variant: 0, 1, 2, 3 or 4.
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (normal with variance 2 / fan-out, as published), or a
            source that `recipes.weights.load_weights` takes, or "imagenet" (variants 0 to 2).
        input_shape: `(height, width, channels)`, at least 32 pixels a side; `None` for a side
            leaves it open. Default 224, 240, 260, 280 or 300 pixels a side, by variant.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default 127.
        variance: Variance likewise; default 128 squared.
        dropout: Rate of dropout before the classifier, in `[0, 1)`; default 0.2 for variants 0
            and 1, 0.3 for the others.
        stochastic_depth: Probability of dropping the residual branch of the last block, in
            `[0, 1)`; earlier ones are dropped less, in proportion to their place. The published
            training used 0.2.
        name: Name of the model; default `efficientnet_lite{variant}`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> model = build_efficientnet_lite(0, input_shape=(64, 64, 3), classes=10)
        >>> model.get_layer("head_relu").output.shape
        (None, 2, 2, 1280)

    Source:
        `efficientnet/lite` of github.com/tensorflow/tpu, "EfficientNet-Lite", 2020; Tan and Le,
        "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019. Here the
        moving statistics have momentum 0.9 instead of 0.99.
    """
    common.check_choice("variant", variant, sorted(_VARIANTS))
    scaling = _VARIANTS[variant]
    input_shape = (scaling.size, scaling.size, 3) if input_shape is None else input_shape
    dropout = scaling.dropout if dropout is None else dropout
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=32,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )

    if include_preprocessing and mean is None and variance is None:
        mean, variance = [_MEAN] * input_shape[-1], [_VARIANCE] * input_shape[-1]
    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    style = mobile.TENSORFLOW
    x = mobile.convolution(x, style, _STEM_FILTERS, 3, strides=2, name="stem")
    x = _blocks(x, style, _scaled_stages(scaling), stochastic_depth)
    x = mobile.convolution(x, style, _HEAD_FILTERS, name="head")
    if include_top:
        outputs = mobile.classifier(
            x,
            classes,
            dropout,
            classifier_activation,
            initializer=keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform"),
        )
    else:
        outputs = common.features_only(x, pooling)
    package = f"efficientnet_lite{variant}"
    return common.finish(
        inputs,
        outputs,
        name=name or package,
        weights=weights,
        torch_layers=torch_layers,
        package=package,
    )


def _scaled_stages(scaling):
    """Return the stages of a variant; the first and the last keep their number of blocks."""
    last = len(_STAGES) - 1
    return [
        dataclasses.replace(
            stage,
            filters=make_divisible(stage.filters * scaling.width),
            blocks=stage.blocks if index in (0, last) else math.ceil(stage.blocks * scaling.depth),
        )
        for index, stage in enumerate(_STAGES)
    ]


def _blocks(x, style, stages, stochastic_depth):
    total = sum(stage.blocks for stage in stages)
    done = 0
    for number, stage in enumerate(stages, start=1):
        for block in range(1, stage.blocks + 1):
            done += 1
            x = mobile.inverted_residual(
                x,
                style,
                stage.expansion,
                stage.filters,
                stage.size,
                strides=stage.strides if block == 1 else 1,
                drop=stochastic_depth * done / total,
                name=f"stage{number}_block{block}",
            )
    return x


_OUTER_LAYERS = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "head_conv": "_conv_head",
    "head_bn": "_bn1",
    "logits": "_fc",
}
_BLOCK_LAYERS = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}


def torch_layers(model):
    """Return where the weights of each layer are in the PyTorch package's state dict.

    Args:
        model: Of `build_efficientnet_lite`, with or without its top.

    Returns:
        Prefixes in the state dict of `efficientnet_lite_pytorch` by layer name.

    Example:
        >>> torch_layers(build_efficientnet_lite(0))["stage2_block1_depthwise_bn"]
        '_blocks.1._bn1'
    """
    names = [layer.name for layer in model.layers]
    blocks = list(dict.fromkeys(re.findall(r"\b(stage\d+_block\d+)_", " ".join(names))))
    table = dict(_OUTER_LAYERS)
    for number, block in enumerate(blocks):
        for ours, theirs in _BLOCK_LAYERS.items():
            table[f"{block}_{ours}"] = f"_blocks.{number}.{theirs}"
    return {name: table[name] for name in names if name in table}
