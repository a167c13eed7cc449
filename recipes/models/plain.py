"""Plain networks: residual networks without their shortcuts, to show degradation."""

from recipes.models import _common as common
from recipes.models import resnet_blocks as blocks
from recipes.models.resnet import CIFAR, DEPTHS

_DEPTHS = {depth: row for depth, row in DEPTHS.items() if row[1] == "basic"}


def build_plain(
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
    name=None,
):
    """Build a plain network: what is left of a residual network without its shortcuts.

    Layers and parameters are those of `build_resnet` of the same depth, version "v1" and shortcut
    "A", whose weights load into it, and the other way round. Deep ones train worse than shallow
    ones, on the training images, too: the degradation that residual networks were made against.

    Args:
        depth: 20, 32, 44, 56 or 110 (for CIFAR), 18 or 34 (for ImageNet).
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (He et al. 2015: by fan-in for CIFAR depths, by fan-out
            for ImageNet depths), or a source that `recipes.weights.load_weights` takes.
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
        name: Name of the model; default `plain{depth}`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> build_plain(20).count_params() - 1376  # less the batch-norm statistics
        269722

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2016, figure 3 and section 4.2.
    """
    common.check_choice("depth", depth, sorted(_DEPTHS))
    family, block, counts = _DEPTHS[depth]
    input_shape = family.input_shape if input_shape is None else input_shape
    classes = family.classes if classes is None else classes
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=family.minimum_size,
        dropout=dropout,
    )
    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    plan = blocks.Plan(
        block=block, version="v1", shortcut=None, initialization=family.initialization
    )
    stem = blocks.small_stem if family is CIFAR else blocks.large_stem
    x = blocks.stages(stem(x, plan, family.widths[0]), plan, counts, family.widths)
    if include_top:
        outputs = blocks.classifier(x, classes, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(inputs, outputs, name=name or f"plain{depth}", weights=weights)
