"""Which layers TFLite computes in integers, and what it makes of the others.

Observed with the converter of TensorFlow 2.21, `tuning.export_tflite(precision="int8")`;
`tests/models/test_info.py` converts a small network with each of them.
"""

import keras

from recipes.models.replay import trace

# Activations that vanish in the layer before or have an integer kernel of their own.
_ONE_OPERATION = (
    "linear relu relu6 sigmoid tanh gelu hard_silu hard_sigmoid leaky_relu prelu softmax "
    "exponential"
)
# Activations that become a chain of integer operations: each rounds once more and takes time.
_SEVERAL = "silu selu softplus softsign celu mish"
# What stays in floating point in an int8 file, by the operations that do.
FLOAT = {
    "elu": "ELU",
    "LayerNormalization": "NEG",
    "GroupNormalization": "NEG and SQUARE",
    "UnitNormalization": "SQUARE",
    "GeneralizedMeanPooling": "POW",
}
_NEW_NAMES = {"swish": "silu", "hard_swish": "hard_silu"}
_ACTIVATION_LAYERS = {
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.ELU: "elu",
    keras.layers.PReLU: "prelu",
    keras.layers.Softmax: "softmax",
}
# Layers of this package that are converted whole.
_TRIED = (
    "ChannelNormalization Scale StochasticDepth FusedBatchNormalization CalibratedSoftmax "
    "BlurPooling ChannelPooling LayerScale PixelAttention GeneralizedMeanPooling"
)


def tflite_fit(model):
    """Return whether an int8 file of the model computes in integers throughout, and what to know.

    Args:
        model: A functional or sequential model.

    Returns:
        A truth value, and remarks of one line each: layers by kind.
    """
    floats, chains, refused, unknown = {}, {}, {}, {}
    for call in trace(model).calls:
        kind, activation = type(call.operation).__name__, activation_of(call.operation)
        for name in (kind, activation):
            if name in FLOAT:
                _add(floats, f"{name} (as {FLOAT[name]})")
            if name in _SEVERAL.split():
                _add(chains, name)
        if getattr(call.operation, "interpolation", "nearest") not in ("nearest", "bilinear"):
            _add(refused, f"{kind} ({call.operation.interpolation})")
        if kind == "MonteCarloDropout":
            _add(refused, f"{kind} (random numbers)")
            continue
        if not _is_known(call.operation, activation):
            _add(unknown, kind if activation is None else f"{kind} ({activation})")
    remarks = []
    for kinds, text in (
        (floats, "int8 TFLite: stays in floating point"),
        (chains, "int8 TFLite: several operations each"),
        (refused, "TFLite: no kernel"),
        (unknown, "TFLite: not tried"),
    ):
        if kinds:
            listed = ", ".join(f"{count} {name}" for name, count in kinds.items())
            remarks.append(f"{text}: {listed}")
    return not (floats or refused or unknown), tuple(remarks)


def activation_of(operation):
    """Return the name of the activation that a layer computes, or `None`.

    Example:
        >>> activation_of(keras.layers.ReLU(6.0)), activation_of(keras.layers.Flatten())
        ('relu6', None)
    """
    for kind, name in _ACTIVATION_LAYERS.items():
        if isinstance(operation, kind):
            return name
    if isinstance(operation, keras.layers.ReLU):
        return "relu6" if operation.max_value == 6 else "relu"
    function = getattr(operation, "activation", None)
    name = getattr(function, "__name__", None)
    return _NEW_NAMES.get(name, name)


def _is_known(operation, activation):
    if activation is not None:
        return activation in f"{_ONE_OPERATION} {_SEVERAL} elu".split()
    package = type(operation).__module__.split(".")[0]
    if isinstance(operation, keras.layers.Lambda):
        return False
    return package == "keras" or type(operation).__name__ in _TRIED.split()


def _add(counts, name):
    counts[name] = counts.get(name, 0) + 1
