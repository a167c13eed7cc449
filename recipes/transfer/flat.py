"""A copy of a model without nested models: every layer in one graph, weights kept."""

import dataclasses
import inspect
import itertools

import keras

from recipes.errors import ConfigError, nearest
from recipes.layers._copies import carry_flags, carry_variables, copy_layer
from recipes.models.replay import replay, trace

# What a call may have been given, and a flat copy decides anew.
_FORGOTTEN = ("training", "mask")


def flatten_model(
    model: keras.Model,
    *,
    until: str | None = None,
    input_shape: tuple | None = None,
    first: keras.layers.Layer | None = None,
) -> keras.Model:
    """Return a copy of a model in which no model is nested, with the same weights.

    A nested backbone hides its layers from what works on graphs (freezing by name, converters,
    Grad-CAM), and Keras before 3.16 forgets `base(x, training=False)` in `fit`. The copy has new
    layers of the same settings, named as before; where two nested models use one name, the name of
    the nested model is put in front. Layers that augment (`RandomFlip` and the like) are left
    out, since they do nothing in inference and belong into the input pipeline. A `training` that a
    layer was called with is dropped: `freeze` holds a layer in inference mode, and
    `MonteCarloDropout` drops outside of training.

    Args:
        model: Functional or built sequential; its layers, too, where they are models. Not changed.
        until: Name of the layer (in the nested model, if need be) whose output becomes that of the
            copy; default the model's own.
        input_shape: Shape of an image for the copy, `(height, width, channels)`; default the
            model's own.
        first: A layer for the images to go through before the model, such as a normalisation.

    Returns:
        A functional `keras.Model`, not compiled.

    Raises:
        ConfigError: If the model has no graph, a layer cannot be copied, or is one such as
            `keras.layers.Resizing`, which in Keras 3.15 makes a plain `model(x)` update batch
            normalisations.

    Example:
        >>> inner = keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
        >>> outer = keras.Sequential([inner, keras.layers.GlobalMaxPooling2D()])
        >>> [type(layer).__name__ for layer in flatten_model(outer).layers]
        ['InputLayer', 'Conv2D', 'GlobalMaxPooling2D']
    """
    check_graph(model)
    inputs = _inputs(model, input_shape)
    graph = trace(model, open_composites=False)
    copier = _Copier(graph)
    if until is not None:
        graph = _cut(graph, until)
    outputs = replay(graph, inputs if first is None else [first(inputs[0])], copier.apply)
    flat = keras.Model(_single(inputs), _single(outputs), name=model.name)
    for original, copy in copier.weighted:
        carry_variables(original, copy)
        carry_flags(original, copy)
    return flat


def _inputs(model, input_shape):
    if input_shape is None:
        return [
            keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
            for tensor in model.inputs
        ]
    if len(model.inputs) != 1:
        raise ConfigError(f"{model.name} has {len(model.inputs)} inputs, expected images alone")
    (own,) = model.inputs
    if len(input_shape) != 3 or input_shape[-1] != own.shape[-1]:
        raise ConfigError(
            f"{model.name} takes images of {own.shape[-1]} channels, "
            f"received input_shape {tuple(input_shape)}"
        )
    return [keras.Input(tuple(input_shape), dtype=own.dtype, name=own.name)]


def is_flat(model: keras.Model) -> bool:
    """Return whether no layer of a model is a model."""
    return not any(isinstance(layer, keras.Model) for layer in model.layers)


def check_graph(model: keras.Model) -> None:
    """Raise `ConfigError` unless a model has a graph to copy."""
    if not isinstance(model, keras.Model):
        raise ConfigError(f"expected a Keras model, received: {model!r}")
    try:
        has_graph = bool(model.inputs) and model.outputs is not None
    except (AttributeError, ValueError):
        has_graph = False
    if not has_graph:
        raise ConfigError(
            f"{model.name} has no graph to copy: expected a functional model, or a sequential one "
            f"with a keras.Input, received {type(model).__name__}"
        )


def _cut(graph, until):
    """Return the part of a graph that leads to the (last) call of a layer."""
    names = [call.operation.name for call in graph.calls]
    if until not in names:
        raise ConfigError(f"{graph.name} has no layer {until!r}{nearest(str(until), names)}")
    last = len(names) - 1 - names[::-1].index(until)
    outputs = graph.calls[last].outputs
    needed, calls = set(outputs), []
    for call in reversed(graph.calls[: last + 1]):
        if not needed.isdisjoint(call.outputs):
            needed.update(call.inputs)
            calls.insert(0, call)
    return dataclasses.replace(graph, outputs=outputs, calls=tuple(calls))


class _Copier:
    """Makes each layer of a graph anew, once, and applies it where the graph does."""

    def __init__(self, graph):
        self.copies = {}
        self.weighted = []
        # The layers of the model itself keep their names, those of nested ones give way.
        self._outer = {call.name for call in graph.calls if "/" not in call.name}
        self._names = set()

    def apply(self, call, arguments, keywords):
        """Return the outputs of the copy of a call's layer or operation."""
        operation = call.operation
        if _augments(operation):
            return arguments[0]
        _refuse_training_by_default(operation)
        # Inference mode comes from `trainable`; a fixed `training` is what Keras 3.15 forgets.
        keywords = {key: value for key, value in keywords.items() if key not in _FORGOTTEN}
        return self._copy(call)(*arguments, **keywords)

    def _copy(self, call):
        operation = call.operation
        if id(operation) not in self.copies:
            copy = copy_layer(operation, name=self._free_name(call))
            self.copies[id(operation)] = copy
            if getattr(operation, "weights", None):
                self.weighted.append((operation, copy))
        return self.copies[id(operation)]

    def _free_name(self, call):
        taken = self._names | self._outer if "/" in call.name else self._names
        full = call.name.replace("/", "_")
        candidates = itertools.chain(
            [call.operation.name], (f"{full}{number or ''}" for number in itertools.count())
        )
        found = next(candidate for candidate in candidates if candidate not in taken)
        self._names.add(found)
        return found


def _single(tensors):
    return tensors[0] if len(tensors) == 1 else tensors


def _trains_by_default(operation):
    call = inspect.signature(operation.call).parameters
    return "training" in call and call["training"].default is True


def _augments(operation):
    """Return whether this is a layer that changes images in training and in training alone."""
    if type(operation).__module__.split(".")[0] != "keras":
        return False
    name = type(operation).__name__
    others = ("AugMix", "CutMix", "MixUp", "RandAugment")
    # In inference a random crop is a crop of the centre.
    return name in others or (name.startswith("Random") and name != "RandomCrop")


def _refuse_training_by_default(operation):
    if not _trains_by_default(operation):
        return
    raise ConfigError(
        f"{operation.name} is a {type(operation).__name__}, which inside a model makes a plain "
        "model(x) update batch normalisations in Keras 3.15: do it in the input pipeline"
    )
