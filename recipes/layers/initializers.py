"""Initialisations of convolutions and dense layers by name."""

import keras

from recipes.layers import _checks as checks

# name: factor of the variance, which fan it is divided by, distribution
_SCALED = {
    "he": (2.0, "fan_in", "untruncated_normal"),
    "he_fan_in": (2.0, "fan_in", "untruncated_normal"),
    "he_fan_out": (2.0, "fan_out", "untruncated_normal"),
    "he_normal": (2.0, "fan_in", "truncated_normal"),
    "xavier": (1.0, "fan_avg", "uniform"),
    "lecun": (1.0, "fan_in", "untruncated_normal"),
}

INITIALIZATIONS = (*_SCALED, "truncated_normal", "orthogonal", "zeros")


def initializer(kind, *, depthwise=False, seed=None):
    """Return a new initializer for the kernel of a layer.

    Args:
        kind: One of `INITIALIZATIONS`: "he" or "he_fan_in", normal of variance 2 / fan-in, which
            keeps the size of activations through ReLUs; "he_fan_out", of variance 2 / fan-out,
            which keeps the size of gradients; "he_normal", Keras' own, as "he" but cut at 2
            deviations, the variance made up for; "xavier", uniform of variance 2 / (fan-in +
            fan-out); "lecun", normal of variance 1 / fan-in; "truncated_normal", of standard
            deviation 0.02, cut at 2 deviations; "orthogonal"; "zeros", for what ends a residual
            branch.
        depthwise: Whether it is for a depthwise convolution. Both fans are height times width
            there, since each output sees one channel; Keras counts all channels as fan-in, which
            makes the kernels too small by a factor of the root of the number of channels.
        seed: Integer for repeatable weights, or `None`.

    Raises:
        ConfigError: If the name is unknown; the nearest is given.

    Example:
        >>> kernel = initializer("he_fan_out", seed=0)((3, 3, 64, 128))
        >>> round(float(keras.ops.std(kernel)), 3)  # sqrt(2 / (3 * 3 * 128))
        0.042

    Source:
        He et al., "Delving Deep into Rectifiers", 2015, equations 10 and 14; Glorot and Bengio,
        "Understanding the difficulty of training deep feedforward neural networks", 2010,
        equation 16; Saxe et al., 2014 (orthogonal).
    """
    checks.choice("initialization", kind, INITIALIZATIONS)
    if kind in _SCALED:
        scale, mode, distribution = _SCALED[kind]
        mode = "fan_out" if depthwise else mode  # which Keras counts rightly
        return keras.initializers.VarianceScaling(scale, mode, distribution, seed=seed)
    if kind == "truncated_normal":
        return keras.initializers.TruncatedNormal(0.0, 0.02, seed=seed)
    if kind == "orthogonal":
        return keras.initializers.Orthogonal(seed=seed)
    return keras.initializers.Zeros()
