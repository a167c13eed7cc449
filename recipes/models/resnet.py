"""Residual networks: the CIFAR family of He et al. and the ImageNet family of torchvision."""

import dataclasses
import re

from recipes.errors import ConfigError
from recipes.models import _common as common
from recipes.models import resnet_blocks as blocks


@dataclasses.dataclass(frozen=True)
class Family:
    """What the depths of one family have in common.

    Attributes:
        versions: Those that there are, the default first.
        shortcut: The default shortcut of version "v1" with basic blocks.
        initialization: Of the kernels; see `recipes.layers.initializer`.
    """

    widths: tuple[int, ...]
    versions: tuple[str, ...]
    shortcut: str
    initialization: str
    input_shape: tuple[int, int, int]
    classes: int
    minimum_size: int


CIFAR = Family(
    widths=(16, 32, 64),
    versions=("v1", "v2"),
    shortcut="A",
    initialization="he_normal",
    input_shape=(32, 32, 3),
    classes=10,
    minimum_size=8,
)
IMAGENET = Family(
    widths=(64, 128, 256, 512),
    versions=("v1.5", "v1", "v2", "d"),
    shortcut="B",
    initialization="he_fan_out",
    input_shape=(224, 224, 3),
    classes=1000,
    minimum_size=32,
)

# depth: family, kind of block, blocks in each stage
DEPTHS = {
    20: (CIFAR, "basic", (3, 3, 3)),
    32: (CIFAR, "basic", (5, 5, 5)),
    44: (CIFAR, "basic", (7, 7, 7)),
    56: (CIFAR, "basic", (9, 9, 9)),
    110: (CIFAR, "basic", (18, 18, 18)),
    164: (CIFAR, "bottleneck", (18, 18, 18)),
    18: (IMAGENET, "basic", (2, 2, 2, 2)),
    34: (IMAGENET, "basic", (3, 4, 6, 3)),
    50: (IMAGENET, "bottleneck", (3, 4, 6, 3)),
    101: (IMAGENET, "bottleneck", (3, 4, 23, 3)),
    152: (IMAGENET, "bottleneck", (3, 8, 36, 3)),
}


def build_resnet(
    depth,
    *,
    version=None,
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
    attention=None,
    zero_init_residual=False,
    name=None,
):
    """Build a residual network of a published depth.

    Depths 20, 32, 44, 56, 110 and 164 are those for CIFAR: a 3x3 stem and three stages of 16, 32
    and 64 channels. Depths 18, 34, 50, 101 and 152 are those for ImageNet: a 7x7 stem with pooling
    and four stages. Depths 50, 101, 152 and 164 have bottleneck blocks, which put out four times
    as many channels. No convolution has a bias. Feature maps and parameters are counted and padded
    as in torchvision, so that weights can be carried over.

    Args:
        depth: One of the depths above.
        version: How a block is made. `None` for "v1.5" with ImageNet depths, "v1" with others.

            - "v1": the first paper's; bottlenecks stride on their first 1x1 convolution.
            - "v1.5": bottlenecks stride on their 3x3 convolution, as in torchvision. The same as
              "v1" for basic blocks. ImageNet depths only.
            - "v2": normalisation and ReLU come before each convolution, and nothing after the
              addition.
            - "d": as "v1.5", with three 3x3 convolutions for the stem, and shortcuts that
              average 2x2 pixels instead of dropping three of four. ImageNet depths only.
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (He et al. 2015: by fan-in for CIFAR depths, by fan-out
            for ImageNet depths), or a source that `recipes.weights.load_weights` takes, such as a
            `.weights.h5` or `.keras` file or a PyTorch state dict with torchvision's names.
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
            second pixel and zero channels, no parameters (default of the CIFAR depths 20 to 110
            in version "v1"); "B", a 1x1 convolution (default of the others, and all that there is
            for version "d").
        attention: What ends each residual branch: `None`; "se", squeeze-excite; "eca", efficient
            channel attention; "cbam", channel and spatial attention. Reduction 16.
        zero_init_residual: Whether each residual branch starts at 0 (Goyal et al., 2017): the
            scale of its last normalisation, or in version "v2" its last kernel.
        name: Name of the model; default `resnet{depth}`, with what differs from the default:
            `resnet50_v2`, `se_resnet50`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, two do not go together, or `weights` do not fit.

    Example:
        >>> model = build_resnet(20, input_shape=(28, 28, 1), mean=[73.0], variance=[8100.0])
        >>> model.output_shape
        (None, 10)
        >>> build_resnet(20, version="v2", attention="se").name
        'se_resnet20_v2'

    Source:
        He et al., "Deep Residual Learning for Image Recognition", 2016, table 1 and section 4.2
        (v1); torchvision's `resnet.py` (v1.5); He et al., "Identity Mappings in Deep Residual
        Networks", 2016, figure 4e and the authors' Torch code (v2); He et al., "Bag of Tricks for
        Image Classification with Convolutional Neural Networks", 2019, figure 2 (d); Hu et al.,
        "Squeeze-and-Excitation Networks", 2018; Wang et al., "ECA-Net", 2020; Woo et al., "CBAM:
        Convolutional Block Attention Module", 2018.
    """
    common.check_choice("depth", depth, sorted(DEPTHS))
    family, block, counts = DEPTHS[depth]
    version = family.versions[0] if version is None else version
    _check_version(depth, family, version)
    input_shape = family.input_shape if input_shape is None else input_shape
    classes = family.classes if classes is None else classes
    shortcut = _checked_shortcut(family, block, version, shortcut)
    if attention is not None:
        common.check_choice("attention", attention, tuple(blocks.ATTENTION))
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
    plan = blocks.Plan(
        block=block,
        version=version,
        shortcut=shortcut,
        initialization=family.initialization,
        zero_init=zero_init_residual,
        drop_step=stochastic_depth / sum(counts),
        attention=attention,
    )
    stem = blocks.small_stem if family is CIFAR else blocks.large_stem
    x = stem(x, plan, family.widths[0])
    x = blocks.stages(x, plan, counts, family.widths)
    if include_top:
        outputs = blocks.classifier(x, classes, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(
        inputs,
        outputs,
        name=name or _default_name(depth, family, version, attention),
        weights=weights,
        torch_layers=torch_layers,
    )


def _check_version(depth, family, version):
    known = (*family.versions, *(v for v in IMAGENET.versions if v not in family.versions))
    common.check_choice("version", version, known)
    if version not in family.versions:
        raise ConfigError(
            f"depth {depth} comes in the versions {' and '.join(family.versions)}, "
            f"received version: {version!r}"
        )


def _checked_shortcut(family, block, version, shortcut):
    """Return the shortcut asked for, or the default."""
    if shortcut is None:
        plain_identity = block == "basic" and version == "v1"
        return family.shortcut if plain_identity else "B"
    common.check_choice("shortcut", shortcut, ("A", "B"))
    if version == "d" and shortcut == "A":
        raise ConfigError("version 'd' pools before a 1x1 convolution: shortcut must be 'B'")
    return shortcut


def _default_name(depth, family, version, attention):
    prefix = f"{attention}_" if attention else ""
    suffix = "" if version == family.versions[0] else f"_{version}"
    return f"{prefix}resnet{depth}{suffix}"


def torch_layers(model):
    """Return where torchvision has the weights of each layer of a model.

    Args:
        model: Of `build_resnet` or `build_wide_resnet`, with or without its top. Version "d" and
            squeeze-excite are not in torchvision; they get the names of the timm library.

    Returns:
        Prefixes in the state dict by layer name, for all layers with weights that have a twin
        there. Networks whose activations come first have none.

    Example:
        >>> torch_layers(build_resnet(18))["stage2_block1_shortcut_bn"]
        'layer2.0.downsample.1'
    """
    names = [layer.name for layer in model.layers if layer.weights]
    if "head_bn" in names:
        return {}
    deep = "stem_conv1" in names
    found = {name: _torch_name(name, deep) for name in names}
    return {name: place for name, place in found.items() if place}


# Where the deep stem's convolutions are, and the two normalisations between them.
_DEEP_STEM = {
    "stem_conv1": "conv1.0",
    "stem_bn1": "conv1.1",
    "stem_conv2": "conv1.3",
    "stem_bn2": "conv1.4",
    "stem_conv3": "conv1.6",
    "stem_bn3": "bn1",
}
_OUTER = {"stem_conv": "conv1", "stem_bn": "bn1", "logits": "fc", **_DEEP_STEM}


def _torch_name(name, deep):
    """Return the PyTorch name of a layer, or `None`."""
    if name in _OUTER:
        return _OUTER[name]
    place = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)", name)
    if not place:
        return None
    block = f"layer{place[1]}.{int(place[2]) - 1}"
    part = place[3]
    # Behind the pooling of version "d".
    first = 1 if deep else 0
    parts = {
        "shortcut_conv": f"downsample.{first}",
        "shortcut_bn": f"downsample.{first + 1}",
        "se_reduce": "se.fc1",
        "se_expand": "se.fc2",
    }
    if part in parts:
        return f"{block}.{parts[part]}"
    return f"{block}.{part}" if re.fullmatch(r"(conv|bn)\d", part) else None
