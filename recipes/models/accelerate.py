"""Fused batch normalisation for models that were built with the stock layer."""

import keras

from recipes.errors import ConfigError
from recipes.layers._copies import carry_flags, carry_variables, copy_layer, copy_model
from recipes.layers._graphs import is_replayable
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.models.analysis import geometries
from recipes.models.replay import Call, check_replayable, trace

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
        copy = copy_model(model, self.copy_layer)
        self.copies[id(model)] = (model, copy)
        return copy

    def copy_layer(self, layer):
        """Return the copy of a layer, always the same one."""
        if id(layer) not in self.copies:
            if is_replayable(layer):
                return self.copy_model(layer)
            self.copies[id(layer)] = (layer, self._new_layer(layer))
        return self.copies[id(layer)][1]

    def _new_layer(self, layer):
        changes = {"dtype": self.policy} if self._changes_precision(layer) else {}
        return copy_layer(layer, _target_class(layer), **changes)

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
                carry_variables(layer, copy)
        # Setting the flag of a model sets all inside it. Models were remembered behind what they
        # hold.
        for layer, copy in reversed(pairs):
            if is_replayable(layer):
                copy.trainable = layer.trainable
            else:
                carry_flags(layer, copy)
        for layer, copy in pairs:
            if len(layer.trainable_variables) != len(copy.trainable_variables):
                raise ConfigError(f"which parts of {layer.name} are trainable cannot be copied")


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
