"""Copies of layers and models: made from their settings, then given weights and flags."""

import warnings
from collections.abc import Callable

import keras

from callbacks._layers import sublayers, walk
from recipes.errors import ConfigError
from recipes.layers._graphs import is_replayable


def copy_layer(layer: keras.Operation, kind: type | None = None, **changes) -> keras.Operation:
    """Return a new layer of the same settings, not built yet; of a nested model, a copy by layers.

    What the user wrote and Keras cannot find again by name, such as the function of a
    `keras.layers.Lambda`, is shared by both. So is an operation of such a function: it has no
    state of its own.

    Args:
        layer: A layer, or an operation of a function of `keras.ops`.
        kind: Class of the copy; default that of the layer.
        **changes: Settings in which the copy differs, such as `name`.

    Raises:
        ConfigError: If the configuration of the layer is not enough to make one.
    """
    if not changes and is_replayable(layer):
        return copy_model(layer, copy_layer)
    try:
        return _from_config(layer, kind or type(layer), changes)
    except Exception as error:
        # A user's own `get_config` or constructor: anything can come out of it.
        if not isinstance(layer, keras.layers.Layer):
            return layer
        # Keras puts the whole configuration before what is wrong with it.
        reason = " ".join(str(error).rpartition("Exception encountered:")[2].split())
        raise ConfigError(
            f"{layer.name} of class {type(layer).__name__} cannot be copied from its "
            f"configuration: {reason[:200]}"
        ) from error


def _from_config(layer, kind, changes):
    with warnings.catch_warnings():
        # The lambda is handed on, not stored.
        warnings.filterwarnings("ignore", "The object being serialized", UserWarning)
        config = {**layer.get_config(), **changes}
    if isinstance(layer, keras.layers.Lambda):
        return _copy_lambda(layer, config)
    try:
        return kind.from_config(dict(config))  # Wrappers take the inner layer out of it.
    except (TypeError, ValueError) as error:
        try:
            return kind(**{**config, **_live(layer, config)})
        except Exception:
            raise error from None  # That of the second try is about a makeshift.


def _live(layer, names):
    """Return those settings that are functions, initializers or layers as objects.

    What the user wrote and did not register cannot be found by name. A layer has weights, which
    copy and original must not share.
    """
    live = {name: getattr(layer, name, None) for name in names}
    return {
        name: copy_layer(value) if isinstance(value, keras.layers.Layer) else value
        for name, value in live.items()
        if callable(value)
    }


def _copy_lambda(layer, config):
    """A function defined in a notebook has no name to be found by; the copy shares it."""
    keep = ("name", "trainable", "dtype", "arguments")
    given = {key: config[key] for key in keep if key in config}
    if isinstance(config.get("output_shape"), (list, tuple)):
        given["output_shape"] = config["output_shape"]
    return keras.layers.Lambda(layer.function, **given)


def copy_model(model: keras.Model, copy: Callable) -> keras.Model:
    """Return an uncompiled functional or sequential model that joins copies of the layers likewise.

    Args:
        model: Functional or sequential; of a subclass, what its graph says.
        copy: Function that returns the copy of a layer.
    """
    if not isinstance(model, keras.Sequential):
        # The view is not compiled, and of no class of the user's: cloning would carry both.
        view = keras.Model(model.input, model.output, name=model.name)
        return keras.models.clone_model(view, input_tensors=_inputs_like(view), clone_function=copy)
    layers = [copy(layer) for layer in model.layers]
    if model.built:
        tensor = model.inputs[0]
        inputs = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        layers = [inputs, *layers]
    return keras.Sequential(layers, name=model.name)


def _inputs_like(model):
    """Return new inputs of the same names, types and structure."""
    layers = {
        id(layer.output): layer
        for layer in model.layers
        if isinstance(layer, keras.layers.InputLayer)
    }

    def like(tensor):
        layer = layers.get(id(tensor))
        return keras.Input(
            batch_shape=tensor.shape,
            dtype=tensor.dtype,
            sparse=getattr(tensor, "sparse", False),
            optional=getattr(layer, "optional", False),
            name=tensor.name if layer is None else layer.name,
        )

    return keras.tree.map_structure(like, model.input)


def carry_variables(layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Give a built copy the weights and the random state of its original.

    Raises:
        ConfigError: If the copy has others, or the very same ones.
    """
    if [variable.shape for variable in layer.variables] != [
        variable.shape for variable in copy.variables
    ]:
        raise ConfigError(
            f"{layer.name} of class {type(layer).__name__} gets other weights when it is made "
            "from its configuration"
        )
    pairs = list(zip(layer.variables, copy.variables, strict=True))
    if any(old is new for old, new in pairs):
        raise ConfigError(
            f"{layer.name} of class {type(layer).__name__} shares its weights with what is made "
            "from its configuration: get_config must hold layers as "
            "keras.saving.serialize_keras_object gives them"
        )
    for old, new in pairs:
        new.assign(old)
    for inner in walk(copy):
        if isinstance(inner, keras.layers.Normalization):
            inner.finalize_state()  # It computes with a copy of its weights.


def carry_flags(layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Let of a built copy train what trains of its original, down to single weights."""
    # Setting the flag of a layer sets all inside it: from the outside in.
    copy.trainable = layer.trainable
    for inner, inner_copy in zip(sublayers(layer), sublayers(copy), strict=False):
        carry_flags(inner, inner_copy)
    for old, new in zip(layer.weights, copy.weights, strict=True):
        new.trainable = old.trainable
