"""Normalisations of feature maps by name."""

import keras

from recipes.errors import ConfigError
from recipes.layers import _checks as checks
from recipes.layers.fused_batch_normalization import FusedBatchNormalization

NORMALIZATIONS = ("batch", "layer", "instance", "group", "channel", "none")


def normalization_layer(
    kind, *, channels, groups=32, momentum=0.9, epsilon=1e-5, zero_gamma=False, **keywords
):
    """Return a new layer `gamma * (x - mean) / sqrt(variance + epsilon) + beta`.

    Mean and variance are taken over a different part of the feature map for each kind; `gamma`
    and `beta` have one number a channel in all.

    Args:
        kind: One of `NORMALIZATIONS`: "batch", over the batch, height and width, and by moving
            averages in inference; "layer", over height, width and all channels of an image;
            "instance", over height and width; "group", over height, width and a group of channels
            ("layer" is one group, "instance" as many as channels); "channel", over the channels
            of each pixel (the layer normalisation of ConvNeXt); "none".
        channels: Number of channels of the feature map.
        groups: Number of groups for "group"; must divide `channels`.
        momentum: Share of the old moving average that is kept, for "batch".
        epsilon: Small number added to the variance.
        zero_gamma: Whether `gamma` starts at 0 instead of 1, so that a residual branch that ends
            here starts at 0.
        **keywords: Base layer arguments, such as `name` and `dtype`.

    Returns:
        A layer, or `None` for "none".

    Raises:
        ConfigError: If the name is unknown or `groups` does not divide `channels`.

    Example:
        >>> layer = normalization_layer("group", channels=8, groups=4)
        >>> layer(keras.ops.ones((2, 5, 5, 8))).shape
        TensorShape([2, 5, 5, 8])

    Source:
        Wu and He, "Group Normalization", 2018, section 3.1, which defines the first four alike;
        Liu et al., "A ConvNet for the 2020s", 2022 ("channel"); Goyal et al., "Accurate, Large
        Minibatch SGD", 2017, section 5.1 (`zero_gamma`).
    """
    checks.choice("norm", kind, NORMALIZATIONS)
    keywords |= {"epsilon": epsilon, "gamma_initializer": "zeros" if zero_gamma else "ones"}
    if kind == "none":
        return None
    if kind == "batch":
        return FusedBatchNormalization(momentum=momentum, **keywords)
    if kind == "channel":
        return keras.layers.LayerNormalization(**keywords)
    groups = {"layer": 1, "instance": channels}.get(kind, groups)
    if channels % groups:
        raise ConfigError(f"norm_groups must divide the {channels} channels, received: {groups}")
    return keras.layers.GroupNormalization(groups, **keywords)
