"""What a layer does in two or three words, for tables and pictures."""

import keras

from recipes.models._geometry import per_axis
from recipes.models._tflite_fit import activation_of

_NAMES = {
    "BatchNormalization": "batch norm",
    "FusedBatchNormalization": "batch norm",
    "LayerNormalization": "layer norm",
    "GroupNormalization": "group norm",
    "ChannelNormalization": "normalize",
    "Normalization": "normalize",
    "Rescaling": "rescale",
    "Concatenate": "concat",
    "GlobalAveragePooling2D": "global avg pool",
    "GlobalMaxPooling2D": "global max pool",
    "StochasticDepth": "drop path",
    "MultiHeadAttention": "attention",
    "GetItem": "slice",
}


def label_of(operation):
    """Return what a layer or operation does.

    Example:
        >>> label_of(keras.layers.Conv2D(64, 7, strides=2, activation="relu"))
        '7x7 conv /2, relu'
        >>> label_of(keras.layers.MaxPooling2D(2))
        '2x2 max pool /2'
    """
    kind = type(operation).__name__
    activation = activation_of(operation)
    if isinstance(operation, keras.layers.Activation):
        return activation
    if kind in ("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax"):
        return activation
    label = _NAMES.get(kind) or _window_label(operation) or _other_label(operation)
    has_more = activation not in (None, "linear") and kind not in ("Relu", "Relu6")
    return f"{label}, {activation}" if has_more else label


def _window_label(layer):
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if kernel is None or not hasattr(layer, "strides"):
        return None
    count = len(kernel) if isinstance(kernel, (list, tuple)) else 2
    text = f"{_by(per_axis(kernel, count))} {_window_kind(layer)}"
    strides, dilations = per_axis(layer.strides, count), getattr(layer, "dilation_rate", 1)
    if any(stride != 1 for stride in strides):
        text += f" /{strides[0] if len(set(strides)) == 1 else _by(strides)}"
    dilations = per_axis(dilations, count)
    if any(dilation != 1 for dilation in dilations):
        text += f" dilated {dilations[0]}"
    return text


def _window_kind(layer):
    kind = type(layer).__name__
    if "Depthwise" in kind:
        return "depthwise"
    if "Separable" in kind:
        return "separable"
    if "Transpose" in kind:
        return "transposed"
    if "Conv" in kind:
        groups = getattr(layer, "groups", 1)
        return "conv" if groups == 1 else f"conv in {groups} groups"
    return "max pool" if "Max" in kind else "avg pool" if "Average" in kind else "blur"


def _other_label(layer):
    kind = type(layer).__name__
    if "Dropout" in kind and hasattr(layer, "rate"):
        return f"dropout {layer.rate:g}"
    if "ZeroPadding" in kind:
        return "pad"
    if "Cropping" in kind:
        return "crop"
    if "UpSampling" in kind:
        return f"upsample {_by(per_axis(layer.size, 2))}"
    if kind in ("Add", "Multiply", "Average", "Maximum", "Dense", "Flatten", "Reshape", "Resizing"):
        return kind.lower()
    return kind


def _by(sizes):
    return "x".join(map(str, sizes))
