"""A Keras 3 model as a flat tf_keras model of the same weights and results, and the way back."""

import dataclasses
import inspect
from collections.abc import Callable

import keras
import numpy as np

from recipes.errors import ConfigError
from recipes.models.replay import Graph, Value, check_replayable, replay, trace
from tuning._keras2.guard import load_tf_keras
from tuning._keras2.layers import Converter
from tuning.tflite import in_float32

# How far a result of a layer may lie from that of the original, as a share of its largest value:
# the same sums in another order.
TOLERANCE = 1e-3
# TF-MOT's wrappers put their own name before that of the layer they hold.
_WRAPPERS = ("prune_low_magnitude_", "cluster_", "quant_")


@dataclasses.dataclass(frozen=True)
class Link:
    """How the weights of one Keras 3 layer go to a layer of the twin, and back.

    Attributes:
        layer: The Keras 3 layer.
        name: Of the layer of the twin.
        forward: From the arrays of the layer to those of the twin's.
        backward: From the arrays of the twin's layer, and those that the Keras 3 layer has now, to
            new ones for the latter; `None` where nothing of the twin's is trained.
    """

    layer: keras.layers.Layer
    name: str
    forward: Callable[[list[np.ndarray]], list[np.ndarray]]
    backward: Callable[[list[np.ndarray], list[np.ndarray]], list[np.ndarray]] | None


@dataclasses.dataclass(frozen=True)
class Twin:
    """A tf_keras model and the Keras 3 model that it was made from.

    Attributes:
        model: Flat functional `tf_keras.Model`, float32, not compiled.
        source: The Keras 3 model in float32: the one given, or a copy of one in mixed precision.
        original: The Keras 3 model as given.
        links: One for each layer with weights.
        remarks: What was left out or rewritten, a sentence each.
        left_out: Names of layers that act in training alone, which the twin is trained without.
        left_out_settings: Likewise, settings of layers, such as `"conv1.kernel_regularizer"`.
    """

    model: object
    source: keras.Model
    original: keras.Model
    links: tuple[Link, ...]
    remarks: tuple[str, ...]
    left_out: tuple[str, ...]
    left_out_settings: tuple[str, ...]

    def carry_back(self, trained=None) -> None:
        """Put weights into the Keras 3 model, exactly where the twin's layer is the same.

        A batch normalisation that became a convolution gets the scale and shift that give the same
        results, and exactly its old ones where they were not trained.

        Args:
            trained: The tf_keras model to take them from: the twin's own (default) or one that
                TF-MOT made of it by wrapping or stripping layers.

        Raises:
            ConfigError: If `trained` lacks a layer of the twin.
        """
        layers = _by_name(trained or self.model)
        for link in self.links:
            if link.backward is None:
                continue
            if link.name not in layers:
                raise ConfigError(f"the trained model has no layer {link.name!r} to take back")
            now = [np.asarray(weight) for weight in link.layer.weights]
            found = _arrays(layers[link.name], len(link.forward(now)))
            before = link.forward(now)
            if all(np.array_equal(one, other) for one, other in zip(found, before, strict=True)):
                continue
            link.layer.set_weights(link.backward(found, now))
        if self.source is not self.original:
            self.original.set_weights(self.source.get_weights())


def to_tf_keras(model: keras.Model, *, quantizable: bool = False) -> Twin:
    """Return the tf_keras twin of a Keras 3 convolution network, with the same weights.

    Nested models and composite layers are opened, shared layers and several outputs kept, dropout
    kept; stochastic depth and image augmentation, which do nothing outside of training, are left
    out. A model in mixed precision is taken in float32. Twin and original run on random images, and
    every layer's results are compared before the twin is returned.

    Args:
        model: Functional or sequential, channels last.
        quantizable: Rewrite what TF-MOT cannot quantize: scaling, normalisation of images, and
            batch normalisation that follows no convolution become 1x1 depthwise convolutions with
            bias. Otherwise these stay what they are, as pruning and clustering want them.

    Raises:
        ConfigError: If the model is a subclass with its own `call`, a layer cannot cross (the
            message names it and what to do), or a layer of the twin computes something else.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=10)
        >>> twin = to_tf_keras(model)
        >>> images = np.random.default_rng(0).random((4, 32, 32, 3), "float32")
        >>> difference = model.predict(images, verbose=0) - twin.model.predict(images, verbose=0)
        >>> bool(abs(difference).max() < 1e-5)
        True
    """
    tf_keras = load_tf_keras()
    check_replayable(model, "to_tf_keras")
    source = in_float32(model)
    graph = trace(source)
    converter = Converter(tf_keras, graph, quantizable)
    inputs = [
        tf_keras.Input(value.shape[1:], name=f"input_{place}" if place else "input")
        for place, value in enumerate(graph.inputs)
    ]
    tensors = dict(zip((value.number for value in graph.inputs), inputs, strict=True))

    def apply(call, arguments, keywords):
        outputs = converter.convert(call, arguments, keywords)
        tensors.update(zip((value.number for value in call.outputs), outputs, strict=True))
        return outputs

    outputs = replay(graph, inputs, apply)
    twin_model = tf_keras.Model(
        inputs if len(inputs) > 1 else inputs[0],
        outputs if len(outputs) > 1 else outputs[0],
        name=graph.name,
    )
    links = tuple(Link(*link) for link in converter.links)
    layers = {layer.name: layer for layer in twin_model.layers}
    for link in links:
        if link.name in layers:
            weights = link.forward([np.asarray(weight) for weight in link.layer.weights])
            layers[link.name].set_weights(weights)
    links = tuple(link for link in links if link.name in layers)
    _compare(tf_keras, graph, inputs, tensors)
    remarks = tuple(dict.fromkeys(converter.remarks))
    left_out, settings = (
        tuple(dict.fromkeys(names)) for names in (converter.left_out, converter.left_out_settings)
    )
    return Twin(twin_model, source, model, links, remarks, left_out, settings)


def _compare(tf_keras, graph: Graph, inputs, tensors) -> None:
    """Run both on random images; raise at the first layer whose results differ."""
    generator = np.random.default_rng(0)
    images = [
        generator.uniform(0, 255, [2, *(size or 64 for size in value.shape[1:])]).astype("float32")
        for value in graph.inputs
    ]
    checked = [(call, value) for call in graph.calls for value in call.outputs]
    probe = tf_keras.Model(inputs, [tensors[value.number] for _, value in checked])
    found = probe(images if len(images) > 1 else images[0], training=False)
    found = found if isinstance(found, list) else [found]
    expected: dict[int, np.ndarray] = {}

    def apply(call, arguments, keywords):
        outputs = call.operation(*arguments, **{**keywords, **_not_training(call.operation)})
        flat = keras.tree.flatten(outputs)
        expected.update(zip((value.number for value in call.outputs), flat, strict=True))
        return outputs

    replay(graph, [keras.ops.convert_to_tensor(image) for image in images], apply)
    for (call, value), ours in zip(checked, found, strict=True):
        _check_one(call, value, np.asarray(expected[value.number]), np.asarray(ours))


def _not_training(operation):
    """Return the argument that says so: some layers of Keras take themselves to be training."""
    if not isinstance(operation, keras.layers.Layer):
        return {}
    takes = "training" in inspect.signature(operation.call).parameters
    return {"training": False} if takes else {}


def _check_one(call, value: Value, expected, found) -> None:
    kind = type(call.operation).__name__
    if expected.shape != found.shape:
        raise ConfigError(
            f"the tf_keras twin differs from layer {call.name!r} ({kind}) on: it gives the shape "
            f"{found.shape[1:]}, expected {expected.shape[1:]}"
        )
    largest = np.abs(expected).max() if expected.size else 0.0
    difference = np.abs(expected - found).max() if expected.size else 0.0
    if not difference <= TOLERANCE * max(largest, 1e-6):
        raise ConfigError(
            f"the tf_keras twin differs from layer {call.name!r} ({kind}) on: by {difference:.2g} "
            f"where the largest value is {largest:.2g}, allowed is a share of {TOLERANCE:g}"
        )


def _by_name(model):
    """Return the layers of a model by the names they had before TF-MOT wrapped them."""
    layers = {}
    for layer in model.layers:
        name, inner = layer.name, layer
        while hasattr(inner, "layer") and inner.name.startswith(_WRAPPERS):
            inner = inner.layer
            name = inner.name
        layers[name] = inner
    return layers


def _arrays(layer, count):
    """Return the weights of a layer without what TF-MOT keeps beside them."""
    arrays = layer.get_weights()
    if len(arrays) != count:
        raise ConfigError(f"layer {layer.name!r} has {len(arrays)} weights, expected {count}")
    return arrays
