"""Wide residual networks: fewer blocks than ResNet, each with more channels."""

from recipes.errors import ConfigError
from recipes.models import _common as common
from recipes.models import resnet_blocks as blocks
from recipes.models.resnet import CIFAR, DEPTHS, IMAGENET, torch_layers

# The bottleneck networks that the paper widens for ImageNet.
_IMAGENET_DEPTHS = (50, 101)


def build_wide_resnet(
    depth,
    width,
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
    block_dropout=0.0,
    stochastic_depth=0.0,
    zero_init_residual=False,
    name=None,
):
    """Build a wide residual network, WRN-`depth`-`width`.

    Depths of the form 6n + 4 are those for CIFAR: a 3x3 stem of 16 channels and three stages of n
    basic blocks, `width` times 16, 32 and 64 channels wide, activated before each convolution
    (version "v2" of `build_resnet`). Depths 50 and 101 are those for ImageNet: version "v1.5" with
    bottlenecks whose inner convolutions are `width` times as wide, as in torchvision.

    Args:
        depth: 10, 16, 22, 28, 34, 40 and so on; or 50 or 101.
        width: By how much to widen, an integer of at least 1.
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (He et al. 2015, by fan-out), or a source that
            `recipes.weights.load_weights` takes.
        input_shape: `(height, width, channels)`. Default `(32, 32, 3)`, at least 8 pixels a side;
            for depths 50 and 101 `(224, 224, 3)` and at least 32. `None` for a side leaves it open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes. Default 10; 1000 for depths 50 and 101.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            ImageNet's.
        variance: Variance likewise.
        dropout: Rate of dropout before the classifier, in `[0, 1)`.
        block_dropout: Rate of dropout between the two convolutions of each block, in `[0, 1)`; the
            paper's 0.3. Not for depths 50 and 101.
        stochastic_depth: Probability of dropping the last residual branch, in `[0, 1)`; earlier
            ones are dropped less, in proportion to their place.
        zero_init_residual: Whether each residual branch starts at 0.
        name: Name of the model; default `wide_resnet{depth}_{width}`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, two do not go together, or `weights` do not fit.

    Example:
        >>> model = build_wide_resnet(16, 4, block_dropout=0.3)
        >>> model.get_layer("stage3_block2_conv2").output.shape
        (None, 8, 8, 256)

    Source:
        Zagoruyko and Komodakis, "Wide Residual Networks", 2016, table 1 and section 2.4;
        torchvision's `resnet.py` for depths 50 and 101.
    """
    family, block, version, counts = _architecture(depth)
    common.check_positive_integer("width", width)
    if block_dropout and family is IMAGENET:
        raise ConfigError(f"block_dropout is for depths 6n + 4, received it with depth {depth}")
    input_shape = family.input_shape if input_shape is None else input_shape
    classes = family.classes if classes is None else classes
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=family.minimum_size,
        dropout=dropout,
        block_dropout=block_dropout,
        stochastic_depth=stochastic_depth,
    )

    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    plan = blocks.Plan(
        block=block,
        version=version,
        shortcut="B",
        initialization="he_fan_out",
        zero_init=zero_init_residual,
        drop_step=stochastic_depth / sum(counts),
        dropout=block_dropout,
        widening=width if family is IMAGENET else 1,
    )
    if family is IMAGENET:
        x = blocks.large_stem(x, plan, family.widths[0])
        widths = family.widths
    else:
        x = blocks.small_stem(x, plan, family.widths[0])
        widths = [width * base for base in family.widths]
    x = blocks.stages(x, plan, counts, widths)
    if include_top:
        outputs = blocks.classifier(x, classes, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(
        inputs,
        outputs,
        name=name or f"wide_resnet{depth}_{width}",
        weights=weights,
        torch_layers=torch_layers,
    )


def _architecture(depth):
    """Return the family of a depth, its kind of block, its version, and its blocks by stage."""
    if depth in _IMAGENET_DEPTHS:
        _, block, counts = DEPTHS[depth]
        return IMAGENET, block, "v1.5", counts
    common.check_positive_integer("depth", depth)
    count, rest = divmod(depth - 4, 6)
    if rest or count < 1:
        near = max(10, 4 + 6 * round((depth - 4) / 6))
        raise ConfigError(
            "depth must be 6n + 4 for a whole n of at least 1 (such as 16, 28 or 40), or 50 or "
            f"101, received: {depth}; the nearest is {near}"
        )
    return CIFAR, "basic", "v2", (count,) * 3
