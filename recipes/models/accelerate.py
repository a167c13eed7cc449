"""Fused batch normalisation for models that were built with the stock layer."""

import warnings

import keras

from recipes.errors import ConfigError
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.models.analysis import geometries
from recipes.models.replay import (
    Call,
    check_replayable,
    is_replayable,
    sublayers,
    trace,
)

_PRECISIONS = ("keep", "auto", "float32", "mixed_bfloat16", "mixed_float16")
_PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization, keras.layers.Resizing)


def accelerate(model, *, precision="keep") -> keras.Model:
    """Return a copy of a model with fused batch normalisation: the same outputs, faster training.

    Every `keras.layers.BatchNormalization` that `FusedBatchNormalization` can stand for (over the
    last axis of a feature map, without renormalisation or synchronisation) becomes one, in nested
    models as well. Everything else is kept: names of model and layers, shared layers, several
    inputs and outputs, dtype policies, which layers are trainable, weights, moving statistics and
    the state of random layers. `benchmarks/resnet50_speed.py` measures what it gains.

    The copy has variables of its own; the model is left as it is. It is not compiled: compile the
    copy, with a new optimizer. A nested model of a subclass becomes a plain functional one. Keras
    files the weights of a `.weights.h5` under the class of their layer: load such a file into the
    model and accelerate it then, or carry weights over by `get_weights` and `set_weights`.

    Args:
        model: A functional or sequential model, such as one of `keras.applications` or your own.
        precision: "keep" leaves the dtype policies; "auto" takes `mixed_bfloat16` where the
            processor computes it fast and "keep" elsewhere; or "float32", "mixed_bfloat16",
            "mixed_float16". In mixed precision the layers before the first weights and those
            behind the last feature map stay in float32, as do all weights; layers whose policy is
            neither "float32" nor mixed keep it.

    Returns:
        A `keras.Model` that is not compiled.

    Raises:
        ConfigError: If the model is a subclass with its own `call` or `train_step`, a layer cannot
            be copied, or `precision` is unknown.

    Example:
        >>> model = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=10)
        >>> fast = accelerate(model)
        >>> type(fast.get_layer("bn_Conv1")).__name__
        'FusedBatchNormalization'
    """
    check_replayable(model, "accelerate")
    policy = _policy(precision)
    copier = _Copier(policy, _full_precision_layers(model) if policy else frozenset())
    copy = copier.copy_model(model)
    copier.carry_state()
    return copy


def _policy(precision):
    if precision not in _PRECISIONS:
        raise ConfigError(
            f"precision must be one of {', '.join(_PRECISIONS)}, received: {precision!r}"
        )
    if precision == "auto":
        from recipes.hardware import choose_precision

        chosen, _ = choose_precision("auto")
        return None if chosen == "float32" else chosen
    return None if precision == "keep" else precision


class _Copier:
    """Copies layers and models, each once, and remembers which became which."""

    def __init__(self, policy, full_precision):
        self.policy, self.full_precision = policy, full_precision
        self.copies = {}

    def copy_model(self, model):
        """Return an uncompiled copy of a functional or sequential model."""
        if isinstance(model, keras.Sequential):
            copy = self._copy_sequential(model)
        else:
            copy = self._copy_functional(model)
        self.copies[id(model)] = (model, copy)
        return copy

    def _copy_sequential(self, model):
        layers = [self.copy_layer(layer) for layer in model.layers]
        if model.built:
            tensor = model.inputs[0]
            inputs = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
            layers = [inputs, *layers]
        return keras.Sequential(layers, name=model.name)

    def _copy_functional(self, model):
        # The view is not compiled, and of no class of the user's: cloning would carry both.
        view = keras.Model(model.input, model.output, name=model.name)
        return keras.models.clone_model(
            view,
            input_tensors=_inputs_like(view),
            clone_function=self.copy_layer,
        )

    def copy_layer(self, layer):
        """Return the copy of a layer, always the same one."""
        if id(layer) not in self.copies:
            if is_replayable(layer):
                return self.copy_model(layer)
            self.copies[id(layer)] = (layer, self._new_layer(layer))
        return self.copies[id(layer)][1]

    def _new_layer(self, layer):
        try:
            return self._from_config(layer)
        except Exception as error:
            # A user's own `get_config` or constructor: anything can come out of it.
            if not isinstance(layer, keras.layers.Layer):
                return layer  # A function without a state of its own serves both models.
            raise ConfigError(
                f"{layer.name} of class {type(layer).__name__} cannot be copied from its "
                f"configuration: {' '.join(str(error).split())[:200]}"
            ) from error

    def _from_config(self, layer):
        with warnings.catch_warnings():
            # The lambda is handed on, not stored.
            warnings.filterwarnings("ignore", "The object being serialized", UserWarning)
            config = layer.get_config()
        if self._changes_precision(layer):
            config["dtype"] = self.policy
        if isinstance(layer, keras.layers.Lambda):
            return _copy_lambda(layer, config)
        try:
            return _target_class(layer).from_config(config)
        except (TypeError, ValueError):
            # A function or initializer of the user's that is not registered: hand on the object.
            live = {key: getattr(layer, key, None) for key in config}
            config.update({key: value for key, value in live.items() if callable(value)})
            return _target_class(layer)(**config)

    def _changes_precision(self, layer):
        if self.policy is None or not isinstance(layer, keras.layers.Layer):
            return False
        if id(layer) in self.full_precision:
            return False
        known = "float32", "mixed_bfloat16", "mixed_float16"
        return layer.dtype_policy.name in known

    def carry_state(self):
        """Give every copy the weights, random state and trainable flags of its original."""
        pairs = [pair for pair in self.copies.values() if isinstance(pair[0], keras.layers.Layer)]
        for layer, copy in pairs:
            if not is_replayable(layer):
                _carry_variables(layer, copy)
        # Setting the flag of a layer sets those inside it: from the outside in. Models were
        # remembered behind what they hold.
        for layer, copy in reversed(pairs):
            _carry_flags(layer, copy)
        for layer, copy in pairs:
            if len(layer.trainable_variables) != len(copy.trainable_variables):
                raise ConfigError(f"which parts of {layer.name} are trainable cannot be copied")


def _carry_variables(layer, copy):
    if [variable.shape for variable in layer.variables] != [
        variable.shape for variable in copy.variables
    ]:
        raise ConfigError(
            f"{layer.name} of class {type(layer).__name__} gets other weights when it is made "
            "from its configuration"
        )
    for old, new in zip(layer.variables, copy.variables, strict=True):
        new.assign(old)
    if isinstance(copy, keras.layers.Normalization):
        copy.finalize_state()  # It computes with a copy of its weights.


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


def _copy_lambda(layer, config):
    """A function defined in a notebook has no name to be found by; the copy shares it."""
    keep = ("name", "trainable", "dtype", "arguments")
    given = {key: config[key] for key in keep if key in config}
    if isinstance(config.get("output_shape"), (list, tuple)):
        given["output_shape"] = config["output_shape"]
    return keras.layers.Lambda(layer.function, **given)


def _target_class(layer):
    return FusedBatchNormalization if _is_fusible(layer) else type(layer)


def _is_fusible(layer):
    return (
        type(layer) is keras.layers.BatchNormalization
        and not layer.synchronized
        and not getattr(layer, "renorm", False)
        and layer.axis in (-1, 3)
        and (layer.input_spec is None or layer.input_spec.ndim == 4)
    )


def _carry_flags(layer, copy):
    copy.trainable = layer.trainable
    if is_replayable(layer):
        return
    for inner, inner_copy in zip(sublayers(layer), sublayers(copy), strict=False):
        _carry_flags(inner, inner_copy)


def _full_precision_layers(model):
    """Return by `id` the layers that stay in float32 in mixed precision.

    Those that prepare the images, for which bfloat16 is too coarse, and those behind the last
    feature map, whose cost is small and whose outputs are probabilities. A layer that is shared
    with another place is computed as that place needs it.
    """
    graph = trace(model)
    known = geometries(graph)

    def is_map(value):
        # A pooled vector may keep axes of length 1; a map of one pixel is one all the same.
        return known[value.number].is_local or any(size != 1 for size in value.shape[1:-1])

    weighted, followed = set(), set()  # Values behind weights; values before a feature map.
    kept, other = set(), set()
    for call in graph.calls:
        if _has_weights(call) or any(value.number in weighted for value in call.inputs):
            weighted.update(value.number for value in call.outputs)
            other.add(id(call.operation))
        else:
            kept.add(id(call.operation))
    for call in reversed(graph.calls):
        if any(is_map(value) or value.number in followed for value in call.outputs):
            followed.update(value.number for value in call.inputs)
        elif id(call.operation) in other:
            kept.add(id(call.operation))
            other.discard(id(call.operation))
    return frozenset(kept)


def _has_weights(call: Call):
    return bool(call.weights) and not isinstance(call.operation, _PREPROCESSING)
