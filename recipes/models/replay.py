"""Walks over the graph of a Keras model: every call of every layer, in order, nested models opened.

Nothing is computed and the model is not touched: stand-ins of its layers are called on symbolic
tensors, and each writes down what it was called with.
"""

import dataclasses
import functools
import itertools

import keras

from callbacks._layers import sublayers
from recipes.errors import ConfigError
from recipes.layers._graphs import has_graph, is_replayable, overridden_methods

# Wrappers that do something else with their inner layer than to call it once.
_SEALED = (keras.layers.Wrapper, keras.layers.RNN, keras.layers.MultiHeadAttention)


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor between two layers.

    Attributes:
        number: Tells it from the others of its graph.
        shape: With the batch first, which is `None`.
        dtype: Name of its type.
    """

    number: int
    shape: tuple
    dtype: str


@dataclasses.dataclass(frozen=True)
class Call:
    """One application of a layer or operation.

    Attributes:
        operation: The `keras.layers.Layer`, or the `keras.Operation` of a function of `keras.ops`.
        name: Its name; inside nested models and blocks behind theirs, as `backbone/conv1`.
        inputs: The tensors it takes, in order.
        outputs: The tensors it gives.
        arguments: What it was called with, positional first; tensors stand as `Value`.
        keywords: Likewise.
        weights: The variables that it owns.
        trainable: Which of them an optimizer would train, by `id`.
    """

    operation: keras.Operation
    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    arguments: tuple
    keywords: dict
    weights: tuple
    trainable: frozenset


@dataclasses.dataclass(frozen=True)
class Graph:
    """All calls of a model in an order in which they can run, and where it begins and ends.

    Attributes:
        name: Name of the model.
        inputs: What it takes.
        outputs: What it returns.
        calls: Layers and operations; no input layers, no nested models.
        sealed: Names of composite layers that could not be looked into.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    calls: tuple[Call, ...]
    sealed: tuple[str, ...]


def check_replayable(model, purpose):
    """Raise `ConfigError` unless the graph of `model` can be walked over.

    Args:
        model: What the user gave.
        purpose: What for, to begin the message with, such as "accelerate".
    """
    if not isinstance(model, keras.Model):
        raise ConfigError(f"{purpose} takes a Keras model, received: {model!r}")
    if not is_replayable(model):
        methods = ", ".join(overridden_methods(model)) if has_graph(model) else "call"
        hint = "; keras.Model(model.inputs, model.outputs) has its graph" * has_graph(model)
        raise ConfigError(
            f"{purpose} takes a functional or sequential model; {type(model).__name__} is a "
            f"subclass with its own {methods}{hint}"
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise ConfigError(
            f"{model.name} has no shapes yet: give it a keras.Input first, or call build"
        )


def trace(model, input_shape=None, *, open_composites=True):
    """Return the graph of `model`.

    Args:
        model: A functional or built sequential model, nested ones included.
        input_shape: Shape of the only input without the batch, in place of the model's own.
        open_composites: Whether layers that are made of layers are looked into, as nested models
            are; otherwise they are single calls.

    Raises:
        ConfigError: If the model has no graph, or does not take inputs of that shape.
    """
    check_replayable(model, "this")
    specs = [(tensor.shape, tensor.dtype) for tensor in model.inputs]
    if input_shape is not None:
        if len(specs) != 1:
            raise ConfigError(f"{model.name} has {len(specs)} inputs: input_shape cannot be given")
        specs = [(_fitted(model, tuple(input_shape), specs[0][0]), specs[0][1])]
    tracer = _Tracer(open_composites)
    inputs = [keras.KerasTensor(shape, dtype) for shape, dtype in specs]
    outputs = tracer.open(model, keras.tree.pack_sequence_as(model.inputs, inputs), prefix="")
    return Graph(
        name=model.name,
        inputs=tuple(map(tracer.value, inputs)),
        outputs=tuple(map(tracer.value, keras.tree.flatten(outputs))),
        calls=tuple(tracer.calls),
        sealed=tuple(tracer.sealed),
    )


def replay(graph, inputs, apply):
    """Run through the calls of a graph on other tensors, and return its outputs as a list.

    Args:
        graph: From `trace`.
        inputs: A tensor for each input of the graph.
        apply: Function `apply(call, arguments, keywords)` that returns the outputs of one call;
            the arguments are the call's own with tensors in place of values.
    """
    tensors = dict(zip((value.number for value in graph.inputs), inputs, strict=True))

    def filled(leaf):
        return tensors[leaf.number] if isinstance(leaf, Value) else leaf

    for call in graph.calls:
        arguments, keywords = keras.tree.map_structure(filled, (call.arguments, call.keywords))
        outputs = keras.tree.flatten(apply(call, arguments, keywords))
        tensors.update(zip((value.number for value in call.outputs), outputs, strict=True))
    return [tensors[value.number] for value in graph.outputs]


def _fitted(model, shape, own):
    fits = len(shape) == len(own) - 1 and all(
        old is None or size == old for size, old in zip(shape, own[1:], strict=True)
    )
    if not fits:
        raise ConfigError(f"{model.name} takes inputs of shape {own[1:]}, received: {shape}")
    return (None, *shape)


class _Tracer:
    """Collects calls. Tensors are told apart by identity, so it keeps them all alive."""

    def __init__(self, open_composites):
        self.calls, self.sealed = [], []
        self._open_composites = open_composites
        self._values, self._kept = {}, []

    def value(self, tensor):
        """Return the value that stands for a symbolic tensor."""
        if id(tensor) not in self._values:
            number = len(self._kept)
            self._kept.append(tensor)
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            self._values[id(tensor)] = Value(number, tuple(tensor.shape), dtype)
        return self._values[id(tensor)]

    def open(self, model, inputs, prefix):
        """Record the calls inside of a model on `inputs`, and return its outputs."""
        if isinstance(model, keras.Sequential):
            outputs = keras.tree.flatten(inputs)[0]
            for layer in model.layers:
                outputs = self.record(layer, (outputs,), {}, prefix)
            return outputs
        # A model that shares the layers and is not compiled: cloning compiles the clone.
        view = keras.Model(model.inputs, model.outputs, name=model.name)
        # Stand-ins need tensors of their own, made by input layers.
        stand_ins = []
        for number, tensor in enumerate(keras.tree.flatten(inputs)):
            stand_in = _like(tensor, f"stand_in{number}")
            self._values[id(stand_in)] = self.value(tensor)
            self._kept.append(stand_in)
            stand_ins.append(stand_in)
        clone = keras.models.clone_model(
            view,
            input_tensors=keras.tree.pack_sequence_as(view.input, stand_ins),
            clone_function=functools.partial(self._stand_in, prefix=prefix),
        )
        self._kept.extend(clone.outputs)
        return keras.tree.pack_sequence_as(model.output, clone.outputs)

    def _stand_in(self, operation, prefix):
        stand_in = _StandIn(name=operation.name)
        stand_in.record = functools.partial(self.record, operation, prefix=prefix)
        return stand_in

    def record(self, operation, arguments, keywords, prefix):
        """Record one call, or what is inside, and return the symbolic outputs."""
        name = f"{prefix}{operation.name}"
        tensors = _tensors(arguments, keywords)
        if is_replayable(operation):
            return self.open(operation, tensors, f"{name}/")
        if self._open_composites and _is_composite(operation):
            outputs = self._opened(operation, arguments, keywords, f"{name}/")
            if outputs is not None:
                return outputs
            self.sealed.append(name)
        outputs = operation.compute_output_spec(*arguments, **keywords)
        flat = keras.tree.flatten(outputs)
        # An operation may hand its input through; its output is a new tensor all the same.
        fresh = [keras.KerasTensor(tensor.shape, tensor.dtype) for tensor in flat]
        self._append(operation, name, arguments, keywords, fresh)
        return keras.tree.pack_sequence_as(outputs, fresh)

    def _append(self, operation, name, arguments, keywords, outputs):
        def as_value(leaf):
            return self.value(leaf) if isinstance(leaf, keras.KerasTensor) else leaf

        self.calls.append(
            Call(
                operation=operation,
                name=name,
                inputs=tuple(map(self.value, _tensors(arguments, keywords))),
                outputs=tuple(map(self.value, outputs)),
                arguments=keras.tree.map_structure(as_value, tuple(arguments)),
                keywords=keras.tree.map_structure(as_value, dict(keywords)),
                weights=tuple(getattr(operation, "weights", ())),
                trainable=frozenset(map(id, getattr(operation, "trainable_weights", ()))),
            )
        )

    def _opened(self, layer, arguments, keywords, prefix):
        """Record what happens inside of a composite layer; `None` if it cannot be replayed."""
        count, numbers = len(self.calls), itertools.count()

        def symbolic(leaf):
            if isinstance(leaf, keras.KerasTensor):
                return _like(leaf, f"stand_in{next(numbers)}")
            return leaf

        try:
            inner_arguments = keras.tree.map_structure(symbolic, tuple(arguments))
            inner_keywords = keras.tree.map_structure(symbolic, dict(keywords))
            outputs = layer.call(*inner_arguments, **inner_keywords)
            inside = keras.Model(_tensors(inner_arguments, inner_keywords), outputs)
            results = self.open(inside, _tensors(arguments, keywords), prefix)
        except Exception:
            # The user's own code, on tensors it may not have been written for: anything can come.
            del self.calls[count:]
            return None
        self._hand_over(layer, count)
        return results

    def _hand_over(self, layer, count):
        """Give the weights that a composite layer holds itself to the last call inside it."""
        inner = {id(weight) for call in self.calls[count:] for weight in call.weights}
        own = tuple(weight for weight in layer.weights if id(weight) not in inner)
        if own and len(self.calls) > count:
            last = self.calls[-1]
            trainable = frozenset(map(id, layer.trainable_weights)) & frozenset(map(id, own))
            self.calls[-1] = dataclasses.replace(
                last, weights=last.weights + own, trainable=last.trainable | trainable
            )


def _like(tensor, name):
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)


class _StandIn(keras.Operation):
    """Takes the place of a layer in a clone of its model."""

    record = None

    def compute_output_spec(self, *arguments, **keywords):
        """Record the call and return its symbolic outputs."""
        return self.record(arguments, keywords)


def _tensors(arguments, keywords):
    leaves = keras.tree.flatten((tuple(arguments), dict(keywords)))
    return [leaf for leaf in leaves if isinstance(leaf, keras.KerasTensor)]


def _is_composite(operation):
    """Return whether a layer that is not Keras' own is made of other layers."""
    if not isinstance(operation, keras.layers.Layer) or isinstance(operation, _SEALED):
        return False
    if type(operation).__module__.split(".")[0] == "keras":
        return False
    return any(True for _ in sublayers(operation))
