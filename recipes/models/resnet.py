"""Residual networks: the CIFAR family of He et al. and the ImageNet family of torchvision."""

import dataclasses

import keras

from recipes.layers.stochastic_depth import StochasticDepth
from recipes.models import _common as common


@dataclasses.dataclass(frozen=True)
class _Family:
    """What the depths of one family have in common."""

    stem: str
    widths: tuple[int, ...]
    shortcut: str
    input_shape: tuple[int, int, int]
    classes: int
    minimum_size: int


_CIFAR = _Family("cifar", (16, 32, 64), "A", (32, 32, 3), 10, minimum_size=8)
_IMAGENET = _Family("imagenet", (64, 128, 256, 512), "B", (224, 224, 3), 1000, minimum_size=32)

# depth: family, kind of block, blocks in each stage
_DEPTHS = {
    20: (_CIFAR, "basic", (3, 3, 3)),
    32: (_CIFAR, "basic", (5, 5, 5)),
    44: (_CIFAR, "basic", (7, 7, 7)),
    56: (_CIFAR, "basic", (9, 9, 9)),
    110: (_CIFAR, "basic", (18, 18, 18)),
    18: (_IMAGENET, "basic", (2, 2, 2, 2)),
    34: (_IMAGENET, "basic", (3, 4, 6, 3)),
    50: (_IMAGENET, "bottleneck", (3, 4, 6, 3)),
    101: (_IMAGENET, "bottleneck", (3, 4, 23, 3)),
    152: (_IMAGENET, "bottleneck", (3, 8, 36, 3)),
}

# The last convolution of a bottleneck has four times as many channels as the others.
_EXPANSION = {"basic": 1, "bottleneck": 4}


def build_resnet(
    depth,
    *,
    include_top=True,
    weights=None,
    input_shape=None,
    pooling=None,
    classes=None,
    classifier_activation="softmax",
    include_preprocessing=True,
    mean=None,
    variance=None,
    dropout=0.0,
    stochastic_depth=0.0,
    shortcut=None,
    zero_init_residual=False,
    name=None,
):
    """Build a residual network of a published depth.

    Depths 20, 32, 44, 56 and 110 are those for CIFAR: a 3x3 stem and three stages of 16, 32 and
    64 channels. Depths 18, 34, 50, 101 and 152 are those for ImageNet: a 7x7 stem with pooling
    and four stages; from 50 on with bottleneck blocks that stride on the 3x3 convolution
    ("v1.5"). No convolution has a bias. Feature maps and parameters are counted and padded as in
    torchvision, so that weights can be carried over.

    Args:
        depth: One of the depths above.
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (He et al. 2015: by fan-in for CIFAR depths, by fan-out
            for ImageNet depths), or the path of a `.weights.h5` or `.keras` file.
        input_shape: `(height, width, channels)`. Default `(32, 32, 3)` for CIFAR depths,
            `(224, 224, 3)` for ImageNet depths. At least 8 and 32 pixels a side; `None` for a
            side leaves it open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes. Default 10 for CIFAR depths, 1000 for ImageNet depths.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            ImageNet's.
        variance: Variance likewise.
        dropout: Rate of dropout before the classifier, in `[0, 1)`.
        stochastic_depth: Probability of dropping the last residual branch, in `[0, 1)`; earlier
            ones are dropped less, in proportion to their place (the paper's linear rule).
        shortcut: What stands in for the identity where a block changes the shape: "A", every
            second pixel and zero channels, no parameters (default of the CIFAR depths); "B", a
            1x1 convolution (default of the ImageNet depths).
        zero_init_residual: Whether each residual branch starts at 0 (Goyal et al., 2017).
        name: Name of the model; default `resnet{depth}`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> model = build_resnet(20, input_shape=(28, 28, 1), mean=[73.0], variance=[8100.0])
        >>> model.output_shape
        (None, 10)

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2016, table 1 and section 4.2;
        torchvision's `resnet.py` for the ImageNet depths.
    """
    common.check_choice("depth", depth, sorted(_DEPTHS))
    family, block, blocks = _DEPTHS[depth]
    input_shape = family.input_shape if input_shape is None else input_shape
    classes = family.classes if classes is None else classes
    shortcut = family.shortcut if shortcut is None else shortcut
    common.check_choice("shortcut", shortcut, ("A", "B"))
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=family.minimum_size,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )

    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    plan = _Plan(
        block=block,
        shortcut=shortcut,
        initializer="he_normal" if family is _CIFAR else common.he_fan_out,
        zero_gamma=zero_init_residual,
        drop_step=stochastic_depth / sum(blocks),
    )
    x = _stem(x, family, plan)
    before = 0
    for stage, (count, width) in enumerate(zip(blocks, family.widths, strict=True), start=1):
        x = _stage(x, plan, stage, count, width, before)
        before += count
    if include_top:
        outputs = _classifier(x, classes, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(inputs, outputs, name=name or f"resnet{depth}", weights=weights)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all blocks of one network have in common."""

    block: str
    shortcut: str
    initializer: object
    zero_gamma: bool
    drop_step: float


def _stem(x, family, plan):
    if family.stem == "cifar":
        x = common.convolution(x, family.widths[0], initializer=plan.initializer, name="stem_conv")
        x = common.batch_normalization(x, name="stem_bn")
        return common.relu(x, name="stem_relu")
    x = common.convolution(
        x, family.widths[0], 7, strides=2, initializer=plan.initializer, name="stem_conv"
    )
    x = common.batch_normalization(x, name="stem_bn")
    x = common.relu(x, name="stem_relu")
    # Nothing is below 0 after the ReLU, so padding with 0 is padding with minus infinity.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


def _stage(x, plan, stage, count, width, before):
    """Return `x` after the blocks of a stage; `before` blocks came earlier in the network."""
    for block in range(1, count + 1):
        strides = 2 if block == 1 and stage > 1 else 1
        drop = plan.drop_step * (before + block)
        x = _block(x, plan, width, strides, drop, name=f"stage{stage}_block{block}")
    return x


def _block(x, plan, width, strides, drop, *, name):
    branch = {"basic": _basic_branch, "bottleneck": _bottleneck_branch}[plan.block]
    residual = branch(x, plan, width, strides, name=name)
    if drop:
        residual = StochasticDepth(drop, name=f"{name}_drop")(residual)
    shortcut = x
    channels = width * _EXPANSION[plan.block]
    if strides > 1 or x.shape[-1] != channels:
        make = {"A": _padded_shortcut, "B": _projected_shortcut}[plan.shortcut]
        shortcut = make(x, plan, channels, strides, name=name)
    x = keras.layers.Add(name=f"{name}_add")([residual, shortcut])
    return common.relu(x, name=f"{name}_relu")


def _basic_branch(x, plan, width, strides, *, name):
    initializer = plan.initializer
    x = common.convolution(x, width, strides=strides, initializer=initializer, name=f"{name}_conv1")
    x = common.batch_normalization(x, name=f"{name}_bn1")
    x = common.relu(x, name=f"{name}_relu1")
    x = common.convolution(x, width, initializer=initializer, name=f"{name}_conv2")
    return common.batch_normalization(x, zero_gamma=plan.zero_gamma, name=f"{name}_bn2")


def _bottleneck_branch(x, plan, width, strides, *, name):
    initializer = plan.initializer
    x = common.convolution(x, width, 1, initializer=initializer, name=f"{name}_conv1")
    x = common.batch_normalization(x, name=f"{name}_bn1")
    x = common.relu(x, name=f"{name}_relu1")
    x = common.convolution(x, width, strides=strides, initializer=initializer, name=f"{name}_conv2")
    x = common.batch_normalization(x, name=f"{name}_bn2")
    x = common.relu(x, name=f"{name}_relu2")
    channels = width * _EXPANSION["bottleneck"]
    x = common.convolution(x, channels, 1, initializer=initializer, name=f"{name}_conv3")
    return common.batch_normalization(x, zero_gamma=plan.zero_gamma, name=f"{name}_bn3")


def _padded_shortcut(x, plan, channels, strides, *, name):
    if strides > 1:
        # Pooling over single pixels takes every second one.
        x = keras.layers.AveragePooling2D(1, strides=strides, name=f"{name}_shortcut_subsample")(x)
    extra = channels - x.shape[-1]
    # Told that the channels come first, the layer pads the last two axes: width, by nothing, and
    # the channels. So a stock layer does it, which every converter knows.
    return keras.layers.ZeroPadding2D(
        ((0, 0), (extra // 2, extra - extra // 2)),
        data_format="channels_first",
        name=f"{name}_shortcut_pad",
    )(x)


def _projected_shortcut(x, plan, channels, strides, *, name):
    x = common.convolution(
        x,
        channels,
        1,
        strides=strides,
        initializer=plan.initializer,
        name=f"{name}_shortcut_conv",
    )
    return common.batch_normalization(x, name=f"{name}_shortcut_bn")


def _classifier(x, classes, dropout, classifier_activation):
    x = common.pool(x, "avg")
    x = common.dropout_layer(x, dropout, name="head_dropout", dtype="float32")
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    return common.activation(logits, classifier_activation)
