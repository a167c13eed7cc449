"""What the outputs of a classifier are."""

import keras

from recipes.errors import ConfigError

# By the name of the class, since a function of `keras.ops` is an operation of a private one.
_NORMALIZED = ("Softmax", "CalibratedSoftmax", "Sigmoid")
# What comes out of these is of the kind that went in.
_PASSING = (
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Identity",
    "Reshape",
    "Scale",
)


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
    last = _last_that_tells(model)
    if type(last).__name__ in _NORMALIZED:
        return False
    activation = getattr(last, "activation", None)
    if activation is not None:
        return keras.activations.serialize(activation) not in ("softmax", "sigmoid")
    kind = type(last).__name__ if last is not None else "nothing"
    raise ConfigError(
        f"cannot tell whether model {model.name!r}, which ends in {kind}, gives logits or "
        f"probabilities: {remedy}"
    )


def _last_that_tells(model):
    """Return the last operation that decides what the outputs are, or `None`."""
    # Functions of `keras.ops` are operations and no layers; a sequential model has layers alone.
    for operation in reversed(getattr(model, "operations", model.layers)):
        if isinstance(operation, keras.Model):
            return _last_that_tells(operation)
        if type(operation).__name__ not in _PASSING and not _is_cast(operation):
            return operation
    return None


def _is_cast(operation):
    """Return whether it is a linear activation, which changes the dtype of its inputs at most."""
    kind, linear = keras.layers.Activation, keras.activations.linear
    return isinstance(operation, kind) and operation.activation is linear
