"""GoogLeNet (Inception v1) with batch normalisation, with or without its auxiliary classifiers."""

import dataclasses

import keras

from recipes.errors import ConfigError
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.models import _common as common
from recipes.weights import TorchLayer


@dataclasses.dataclass(frozen=True)
class _Inception:
    """Channels of one inception block; `reduce` are the 1x1 convolutions before the large ones."""

    letter: str
    branch1: int
    reduce2: int
    branch2: int
    reduce3: int
    branch3: int
    branch4: int


# Table 1 of the paper, whose stages these are: it counts the convolutions of the stem as 1 and 2.
_STAGES = {
    3: (
        _Inception("a", 64, 96, 128, 16, 32, 32),
        _Inception("b", 128, 128, 192, 32, 96, 64),
    ),
    4: (
        _Inception("a", 192, 96, 208, 16, 48, 64),
        _Inception("b", 160, 112, 224, 24, 64, 64),
        _Inception("c", 128, 128, 256, 24, 64, 64),
        _Inception("d", 112, 144, 288, 32, 64, 64),
        _Inception("e", 256, 160, 320, 32, 128, 128),
    ),
    5: (
        _Inception("a", 256, 160, 320, 32, 128, 128),
        _Inception("b", 384, 192, 384, 48, 128, 128),
    ),
}
# Sizes of the pools before the stages, all of stride 2. The paper has 3 for stage 5, too.
_POOLS = {3: 3, 4: 3, 5: 2}

# The blocks that the auxiliary classifiers look at, and the side of the map that they pool to.
_AUXILIARY = {"stage4_block1": "head_auxiliary1", "stage4_block4": "head_auxiliary2"}
_AUXILIARY_SIZE = 4
_AUXILIARY_FILTERS = 128
_AUXILIARY_UNITS = 1024

_MOMENTUM = 0.9
_EPSILON = 1e-3


def build_googlenet(
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
    auxiliary=False,
    auxiliary_dropout=0.7,
    large_kernel=3,
    name=None,
):
    """Build a GoogLeNet.

    Nine inception blocks, each of four branches side by side: a 1x1 convolution, two with a large
    kernel behind a 1x1 one that reduces the channels, and max pooling with a 1x1 convolution.
    Every convolution is batch-normalised, as in torchvision (the paper has none of that).

    With `auxiliary`, the model has three outputs, to be trained by one loss each and weighed as
    in the paper: `model.compile(loss=[loss] * 3, loss_weights=[1.0, 0.3, 0.3], ...)`, and the
    labels given three times. For inference take the first:
    `keras.Model(model.input, model.output[0])`, or build without and load the weights.

    Args:
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (He et al. 2015, by fan-in; deviation 0.01 for the
            classifiers), or a source that `recipes.weights.load_weights` takes.
        input_shape: `(height, width, channels)`, at least 32 pixels a side; `None` for a side
            leaves it open, unless there are auxiliary classifiers.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of all outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            ImageNet's.
        variance: Variance likewise.
        dropout: Rate of dropout before the classifier, in `[0, 1)`; the paper has 0.4.
        auxiliary: Whether to add the two auxiliary classifiers. They pool their map to 4x4 as the
            paper does (of 14x14 by windows of 5 every 3 pixels), or take a map smaller than that
            as it is. torchvision's adaptive pooling gives the same where 4 divides the map's
            sides, and differs a little at 14x14.
        auxiliary_dropout: Rate of dropout in them.
        large_kernel: 3 or 5: the kernel of the third branch. The paper has 5; torchvision's 3 is
            a known mistake (github.com/pytorch/vision/issues/906) that its weights have learnt
            to live with.
        name: Name of the model; default `googlenet`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy; or to a list of three such:
        of the classifier, and of the auxiliary ones from the first to the second.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> model = build_googlenet(input_shape=(64, 64, 3), classes=10, auxiliary=True)
        >>> model.output_shape
        [(None, 10), (None, 10), (None, 10)]

    Source:
        Szegedy et al., "Going Deeper with Convolutions", 2015, table 1; torchvision's
        `googlenet.py`.
    """
    common.check_choice("large_kernel", large_kernel, (3, 5))
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=32,
        dropout=dropout,
        auxiliary_dropout=auxiliary_dropout,
    )
    _check_auxiliary(auxiliary, include_top, input_shape)

    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    x, tapped = _stages(_stem(x), large_kernel)
    if include_top:
        x = common.pool(x, "avg")
        x = common.dropout_layer(x, dropout, name="head_dropout", dtype="float32")
        outputs = common.activation(_logits(x, classes, name="logits"), classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    if auxiliary:
        outputs = [outputs]
        for block, at in _AUXILIARY.items():
            outputs.append(
                _auxiliary(tapped[block], classes, auxiliary_dropout, classifier_activation, at)
            )
    return common.finish(
        inputs, outputs, name=name or "googlenet", weights=weights, torch_layers=torch_layers
    )


def _check_auxiliary(auxiliary, include_top, input_shape):
    if not auxiliary:
        return
    if not include_top:
        raise ConfigError("auxiliary classifiers need include_top=True")
    if None in input_shape:
        raise ConfigError(
            "auxiliary classifiers need images of a known size, "
            f"received input_shape {tuple(input_shape)}"
        )


def _stem(x):
    x = keras.layers.ZeroPadding2D(3, name="stem_conv1_pad")(x)
    x = _convolution(x, 64, 7, strides=2, name="stem", number=1)
    x = _max_pool(x, 3, name="stem_pool")
    x = _convolution(x, 64, name="stem", number=2)
    return _convolution(x, 192, 3, name="stem", number=3)


def _stages(x, large_kernel):
    """Return the last feature map, and those that the auxiliary classifiers look at."""
    tapped = {}
    for stage, blocks in _STAGES.items():
        x = _max_pool(x, _POOLS[stage], name=f"stage{stage}_pool")
        for block, channels in enumerate(blocks, start=1):
            at = f"stage{stage}_block{block}"
            x = tapped[at] = _inception(x, channels, large_kernel, name=at)
    return x, tapped


def _inception(x, channels, large_kernel, *, name):
    first = _convolution(x, channels.branch1, name=f"{name}_branch1")
    second = _convolution(x, channels.reduce2, name=f"{name}_branch2_reduce")
    second = _convolution(second, channels.branch2, 3, name=f"{name}_branch2")
    third = _convolution(x, channels.reduce3, name=f"{name}_branch3_reduce")
    third = _convolution(third, channels.branch3, large_kernel, name=f"{name}_branch3")
    fourth = keras.layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_branch4_pool")(x)
    fourth = _convolution(fourth, channels.branch4, name=f"{name}_branch4")
    return keras.layers.Concatenate(name=f"{name}_concat")([first, second, third, fourth])


def _max_pool(x, size, *, name):
    """Return `x` pooled with stride 2, the last window reaching over the edge if it must.

    One row and column of zeros does that: nothing is below 0 after a ReLU, and where the windows
    fit without, it is left over.
    """
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)
    return keras.layers.MaxPooling2D(size, strides=2, name=name)(x)


def _auxiliary(x, classes, dropout, classifier_activation, at):
    steps = [max(1, side // _AUXILIARY_SIZE) for side in x.shape[1:3]]
    window = [
        max(1, side - (_AUXILIARY_SIZE - 1) * step)
        for side, step in zip(x.shape[1:3], steps, strict=True)
    ]
    x = keras.layers.AveragePooling2D(tuple(window), strides=tuple(steps), name=f"{at}_pool")(x)
    x = _convolution(x, _AUXILIARY_FILTERS, name=at)
    x = keras.layers.Flatten(name=f"{at}_flatten")(x)
    x = keras.layers.Dense(_AUXILIARY_UNITS, kernel_initializer="he_normal", name=f"{at}_dense")(x)
    x = common.relu(x, name=f"{at}_dense_relu")
    x = common.dropout_layer(x, dropout, name=f"{at}_dropout")
    logits = _logits(x, classes, name=f"{at}_logits")
    if classifier_activation is None:
        return logits
    return keras.layers.Activation(
        classifier_activation, dtype="float32", name=f"{at}_predictions"
    )(logits)


def _logits(x, classes, *, name):
    initializer = keras.initializers.RandomNormal(stddev=0.01)
    return keras.layers.Dense(classes, kernel_initializer=initializer, dtype="float32", name=name)(
        x
    )


def _convolution(x, filters, size=1, *, strides=1, name, number=""):
    x = keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same" if strides == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv{number}",
    )(x)
    x = FusedBatchNormalization(momentum=_MOMENTUM, epsilon=_EPSILON, name=f"{name}_bn{number}")(x)
    return common.relu(x, name=f"{name}_relu{number}")


_BRANCHES = {
    "branch1": "branch1",
    "branch2_reduce": "branch2.0",
    "branch2": "branch2.1",
    "branch3_reduce": "branch3.0",
    "branch3": "branch3.1",
    "branch4": "branch4.1",
}


def torch_layers(model):
    """Return where the weights of each layer are in torchvision's state dict of GoogLeNet.

    Args:
        model: Of `build_googlenet`, with or without its top and the auxiliary classifiers.

    Returns:
        Prefixes in the state dict by layer name.

    Example:
        >>> torch_layers(build_googlenet())["stage4_block2_branch3_bn"]
        'inception4b.branch3.1.bn'
    """
    modules = {}
    for number in (1, 2, 3):
        modules[f"stem_conv{number}"] = f"conv{number}.conv"
        modules[f"stem_bn{number}"] = f"conv{number}.bn"
    for stage, blocks in _STAGES.items():
        for block, channels in enumerate(blocks, start=1):
            for ours, theirs in _BRANCHES.items():
                prefix = f"inception{stage}{channels.letter}.{theirs}"
                modules[f"stage{stage}_block{block}_{ours}_conv"] = f"{prefix}.conv"
                modules[f"stage{stage}_block{block}_{ours}_bn"] = f"{prefix}.bn"
    names = [layer.name for layer in model.layers]
    for number, at in enumerate(_AUXILIARY.values(), start=1):
        modules[f"{at}_conv"] = f"aux{number}.conv.conv"
        modules[f"{at}_bn"] = f"aux{number}.conv.bn"
        modules[f"{at}_logits"] = f"aux{number}.fc2"
        if f"{at}_flatten" in names:
            height, width, channels = model.get_layer(f"{at}_flatten").input.shape[1:]
            modules[f"{at}_dense"] = TorchLayer(f"aux{number}.fc1", (channels, height, width))
    modules["logits"] = "fc"
    return {name: modules[name] for name in names if name in modules}
