"""What the outputs of a classifier are."""

import keras
import numpy as np

from recipes.errors import ConfigError
from recipes.layers._graphs import has_graph, is_replayable
from recipes.models.replay import trace

# By the name of the class, since a function of `keras.ops` is an operation of a private one.
_ENDS = {"Softmax": "softmax", "CalibratedSoftmax": "softmax", "Sigmoid": "sigmoid"}
# What comes out of these is of the kind that went in, if the activation is linear.
_PASSING = (
    "Activation",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Identity",
    "Reshape",
    "Scale",
)
# What comes out of these is of the kind that went in, if all that went in is of one kind.
_JOINING = ("Average", "Maximum", "Minimum")
# Of images whose height or width is free, to look what a model gives.
_FREE_SIZE = 64


def gives_logits(
    model: keras.Model, *, remedy: str = "say from_logits=True or from_logits=False"
) -> bool:
    """Return whether the outputs of a classifier are logits, not yet probabilities.

    Seen from the last layer that tells, in the last nested model if there is one.

    Args:
        model: Functional or sequential.
        remedy: What to do where it cannot be seen, for the message.

    Raises:
        ConfigError: If it cannot be seen.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> gives_logits(model), gives_logits(keras.Sequential([model, keras.layers.Softmax()]))
        (True, False)
    """
    layer, activation = ending(model)
    if activation is None:
        kind = type(layer).__name__ if layer is not None else "nothing"
        raise ConfigError(
            f"cannot tell whether model {model.name!r}, which ends in {kind}, gives logits or "
            f"probabilities: {remedy}"
        )
    return activation not in ("softmax", "sigmoid")


def ending(model: keras.Model) -> tuple[keras.Operation | None, str | None]:
    """Return the layer that makes the outputs, what only hands them on aside, and its activation.

    Args:
        model: Functional or sequential. Of a subclass, what its graph says.

    Returns:
        The layer or operation, and the name of what it ends in: `"softmax"`, `"sigmoid"`,
        `"linear"` for logits, that of another activation, or `None` if it does not tell. Of a
        subclass without a graph, itself and `None`.
    """
    if not is_replayable(model):
        if not has_graph(model):
            return model, None
        model = keras.Model(model.inputs, model.outputs)
    graph = trace(model, open_composites=False)
    makers = {value.number: call for call in graph.calls for value in call.outputs}
    return _ending(graph.outputs[0], makers)


def _ending(value, makers):
    """Return the layer that makes a value, as `ending` does; `makers` holds the call of each."""
    call = makers.get(value.number)
    if call is None:
        return None, None
    layer, kind = call.operation, type(call.operation).__name__
    if has_graph(layer):
        return ending(keras.Model(layer.inputs, layer.outputs[call.outputs.index(value)]))
    if kind in _JOINING:
        activations = {_ending(each, makers)[1] for each in call.inputs}
        return layer, activations.pop() if len(activations) == 1 else None
    activation = getattr(layer, "activation", None)
    activation = keras.activations.serialize(activation) if callable(activation) else None
    activation = _ENDS.get(kind, activation)
    if kind in _PASSING and activation in (None, "linear"):
        return _ending(call.inputs[0], makers)
    return layer, activation


def gives_probabilities(model: keras.Model) -> bool:
    """Return whether the outputs for a black image are probabilities.

    For where the graph does not tell, as of an ensemble or of a layer of one's own.
    """
    shape = [size or _FREE_SIZE for size in model.inputs[0].shape[1:]]
    view = keras.Model(model.inputs[0], model.outputs[0])
    outputs = np.asarray(view(np.zeros((1, *shape), "float32"), training=False), np.float64)
    return bool(outputs.min() >= 0 and abs(outputs.sum() - 1) < 0.01)
