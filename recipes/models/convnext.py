"""ConvNeXt: a ResNet with the design of vision transformers."""

import dataclasses
import re

import keras

from recipes.errors import ConfigError
from recipes.layers.layer_scale import LayerScale
from recipes.layers.stochastic_depth import StochasticDepth
from recipes.models import _common as common


@dataclasses.dataclass(frozen=True)
class _Variant:
    blocks: tuple[int, ...]
    widths: tuple[int, ...]


_VARIANTS = {
    "tiny": _Variant((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": _Variant((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": _Variant((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": _Variant((3, 3, 27, 3), (192, 384, 768, 1536)),
}
_EXPANSION = 4
_EPSILON = 1e-6


def build_convnext(
    variant="tiny",
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
    dropout=0.0,
    stochastic_depth=0.0,
    layer_scale=1e-6,
    name=None,
):
    """Build a ConvNeXt.

    Four stages of blocks made of a 7x7 depthwise convolution, layer normalisation, and a dense
    layer up to four times the channels and back with a GELU between them; here the dense layers
    are 1x1 convolutions, which compute the same. There is no batch normalisation anywhere.

    Args:
        variant: "tiny", "small", "base" or "large".
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (normal, deviation 0.02), or a source that
            `recipes.weights.load_weights` takes.
        input_shape: `(height, width, channels)`, at least 32 pixels a side; `None` for a side
            leaves it open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector,
            not normalised.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            ImageNet's.
        variance: Variance likewise.
        dropout: Rate of dropout before the classifier, in `[0, 1)`.
        stochastic_depth: Probability of dropping the last residual branch, in `[0, 1)`; it grows
            linearly from 0 for the first. The published trainings used 0.1, 0.4, 0.5 and 0.5.
        layer_scale: What each channel of a residual branch is multiplied by at first; `None` for
            no such factors.
        name: Name of the model; default `convnext_{variant}`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> model = build_convnext("tiny", input_shape=(32, 32, 3), include_top=False)
        >>> model.output_shape
        (None, 1, 1, 768)

    Source:
        Liu et al., "A ConvNet for the 2020s", 2022, section 2 and figure 4; torchvision's
        `convnext.py`; `keras.applications.ConvNeXtTiny`.
    """
    common.check_choice("variant", variant, tuple(_VARIANTS))
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=32,
        dropout=dropout,
        stochastic_depth=stochastic_depth,
    )
    _check_layer_scale(layer_scale)

    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    sizes = _VARIANTS[variant]
    x = _patches(x, sizes.widths[0], 4, name="stem")
    x = _normalization(x, name="stem_norm")
    last, done = sum(sizes.blocks) - 1, 0
    for stage, (blocks, width) in enumerate(zip(sizes.blocks, sizes.widths, strict=True), start=1):
        if stage > 1:
            x = _normalization(x, name=f"stage{stage}_downsample_norm")
            x = _patches(x, width, 2, name=f"stage{stage}_downsample")
        for block in range(1, blocks + 1):
            drop = stochastic_depth * done / last
            x = _block(x, width, layer_scale, drop, name=f"stage{stage}_block{block}")
            done += 1
    if include_top:
        outputs = _classifier(x, classes, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(
        inputs,
        outputs,
        name=name or f"convnext_{variant}",
        weights=weights,
        torch_layers=torch_layers,
    )


def _check_layer_scale(layer_scale):
    if layer_scale is None:
        return
    if isinstance(layer_scale, bool) or not isinstance(layer_scale, int | float):
        raise ConfigError(f"layer_scale must be a number or None, received: {layer_scale!r}")
    if not 0 < layer_scale <= 1:
        raise ConfigError(f"layer_scale must be above 0 and at most 1, received: {layer_scale!r}")


def _patches(x, filters, size, *, name):
    """Return a convolution over patches that do not overlap."""
    return keras.layers.Conv2D(
        filters, size, strides=size, kernel_initializer=_initializer(), name=f"{name}_conv"
    )(x)


def _block(x, width, layer_scale, drop, *, name):
    residual = keras.layers.DepthwiseConv2D(
        7,
        padding="same",
        depthwise_initializer=_initializer(),
        name=f"{name}_depthwise_conv",
    )(x)
    residual = _normalization(residual, name=f"{name}_norm")
    residual = keras.layers.Conv2D(
        _EXPANSION * width, 1, kernel_initializer=_initializer(), name=f"{name}_expand_conv"
    )(residual)
    residual = keras.layers.Activation("gelu", name=f"{name}_gelu")(residual)
    residual = keras.layers.Conv2D(
        width, 1, kernel_initializer=_initializer(), name=f"{name}_project_conv"
    )(residual)
    if layer_scale is not None:
        residual = LayerScale(layer_scale, name=f"{name}_scale")(residual)
    if drop:
        residual = StochasticDepth(drop, name=f"{name}_drop")(residual)
    return keras.layers.Add(name=f"{name}_add")([residual, x])


def _classifier(x, classes, dropout, classifier_activation):
    x = common.pool(x, "avg")
    x = _normalization(x, name="head_norm", dtype="float32")
    x = common.dropout_layer(x, dropout, name="head_dropout", dtype="float32")
    logits = keras.layers.Dense(
        classes, kernel_initializer=_initializer(), dtype="float32", name="logits"
    )(x)
    return common.activation(logits, classifier_activation)


def _normalization(x, *, name, dtype=None):
    return keras.layers.LayerNormalization(epsilon=_EPSILON, dtype=dtype, name=name)(x)


def _initializer():
    return keras.initializers.TruncatedNormal(stddev=0.02)


# Places in the `block` of torchvision's CNBlock; 1 and 6 permute the axes, 4 is the GELU.
_BLOCK_LAYERS = {
    "depthwise_conv": "block.0",
    "norm": "block.2",
    "expand_conv": "block.3",
    "project_conv": "block.5",
    "scale": "layer_scale",
}


def torch_layers(model):
    """Return where the weights of each layer are in torchvision's state dict of ConvNeXt.

    Args:
        model: Of `build_convnext`, with or without its top.

    Returns:
        Prefixes in the state dict by layer name.

    Example:
        >>> torch_layers(build_convnext())["stage2_block3_scale"]
        'features.3.2.layer_scale'
    """
    table = {
        "stem_conv": "features.0.0",
        "stem_norm": "features.0.1",
        "head_norm": "classifier.0",
        "logits": "classifier.2",
    }
    names = [layer.name for layer in model.layers]
    for name in names:
        # Stages are at the odd places, what leads down to them at the even ones.
        if match := re.fullmatch(r"stage(\d+)_downsample_(norm|conv)", name):
            index = ("norm", "conv").index(match[2])
            table[name] = f"features.{2 * int(match[1]) - 2}.{index}"
        elif match := re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", name):
            stage, block, part = int(match[1]), int(match[2]), match[3]
            if part in _BLOCK_LAYERS:
                at = f"features.{2 * stage - 1}.{block - 1}"
                table[name] = f"{at}.{_BLOCK_LAYERS[part]}"
    return {name: table[name] for name in names if name in table}
