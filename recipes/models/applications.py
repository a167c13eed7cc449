"""The networks of `keras.applications` under the call, and the contract, of the others here."""

import collections
import dataclasses
import os
import re
import warnings

import keras
import numpy as np

from recipes.errors import ConfigError, nearest
from recipes.layers._copies import copy_layer
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.layers.layer_scale import LayerScale
from recipes.layers.scale import Scale
from recipes.layers.stochastic_depth import StochasticDepth
from recipes.models import _common as common
from recipes.models._symbolic import without_values
from recipes.models.replay import replay, trace

_PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)
_POOLS = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
_DEFAULT_SIZE = 224


def build_application(
    application,
    *,
    include_top=True,
    weights=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    mean=None,
    variance=None,
    dropout=None,
    name=None,
):
    """Build a network of `keras.applications` that takes images as the others here do.

    The network is Keras' own, layer by layer, with these differences:

    - Its preprocessing is inside: images in `[0, 255]`, red first, go in. What Keras does outside
      of the network (`preprocess_input`) and what some networks do inside are one layer of plain
      arithmetic. Keras' own preprocessing layers inside a model can make `model(x)` change the
      statistics of batch normalisation in Keras 3.15.
    - Its graph is flat: nested models are opened.
    - Batch normalisation is the fused one, which computes the same faster.
    - The classifier computes in float32 whatever the dtype policy.
    - Layers that Keras numbers through the process are numbered through the model, so that the
      same name means the same layer in every process.

    Args:
        application: Name of the function in `keras.applications`, such as "ResNet50".
        include_top: Whether to end in Keras' classifier; otherwise in the feature map or
            `pooling`.
        weights: `None` for random ones; "imagenet" for those that Keras has, which it downloads
            once; the path of a `.h5` file of Keras; or a source that
            `recipes.weights.load_weights` takes, such as a file of such a model.
        input_shape: `(height, width, channels)`; default that of the published network. The
            smallest size is Keras'. Without a top, `None` leaves a side open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and prepares them
            itself; otherwise they are given to the first convolution as they are.
        mean: Mean of the training images, one number a channel, red first, in units of 0..255;
            default that of Keras' preprocessing, which weights of Keras need.
        variance: Variance likewise.
        dropout: Rate of dropout before the classifier, in `[0, 1)`; `None` for what Keras has.
        name: Name of the model; default `keras_{application}`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, `weights` do not fit, or Keras refuses one; its
            message is handed on.

    Example:
        >>> model = build_application("MobileNetV2", input_shape=(32, 32, 3), classes=10)
        >>> model.name, model.layers[1].name
        ('keras_MobileNetV2', 'normalization')

    Source:
        The `keras.applications` of the installed Keras.
    """
    function = _find(application)
    _check(input_shape, classes, pooling, dropout)
    theirs = _build_theirs(
        function,
        include_top=include_top,
        weights=weights if _is_of_keras(weights) else None,
        input_shape=input_shape,
        pooling=pooling,
        classes=classes,
        classifier_activation=classifier_activation,
    )
    graph = trace(theirs)
    input_shape = theirs.input_shape[1:]
    own = None
    if include_preprocessing and input_shape[-1] == 3:
        own = _own_preprocessing(function, graph, learnt=_is_of_keras(weights))
    if own and mean is None and variance is None:
        mean, variance = own.mean, own.variance
    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    if own:
        x = _reordered(x, own.order)
    rebuilder = _Rebuilder(graph, include_top=include_top, pooling=pooling, dropout=dropout)
    outputs = rebuilder.run(x)
    if _is_of_keras(weights):
        rebuilder.copy_weights()
        weights = None
    return common.finish(inputs, outputs, name=name or f"keras_{application}", weights=weights)


def _find(application):
    known = [name for name in dir(keras.applications) if name[0].isupper()]
    if application not in known:
        raise ConfigError(
            f"unknown network of keras.applications: {application!r}"
            f"{nearest(str(application), known)}"
        )
    return getattr(keras.applications, application)


def _check(input_shape, classes, pooling, dropout):
    common.check_arguments(
        input_shape=(None, None, 3) if input_shape is None else input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=1,
        **({} if dropout is None else {"dropout": dropout}),
    )


def _is_of_keras(weights):
    """Return whether Keras' own builder is to load the weights."""
    if not isinstance(weights, str | os.PathLike):
        return False
    path = os.fspath(weights)
    return path == "imagenet" or (path.endswith(".h5") and not path.endswith(".weights.h5"))


def _build_theirs(function, **arguments):
    if arguments["input_shape"] is None:
        arguments["input_shape"] = _default_shape(function)
    weights = arguments["weights"]
    if weights not in (None, "imagenet") and not os.path.isfile(weights):
        raise ConfigError(f"weights file not found: {weights}")
    shape = arguments["input_shape"]
    if weights == "imagenet" and shape[-1] != 3:
        raise ConfigError(
            f"the ImageNet weights of keras.applications.{function.__name__} take images of 3 "
            f"channels, received input_shape: {shape} (for grey images: color='rgb', in a recipe "
            "data.color=rgb)"
        )
    try:
        with warnings.catch_warnings():
            # Networks for other images than of 1 or 3 channels are built all the same.
            warnings.filterwarnings("ignore", "This model usually expects", UserWarning)
            if weights is not None:
                return function(**arguments)
            # The layers made after them have values of their own.
            return without_values(function, **arguments)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"keras.applications.{function.__name__}: {reason}") from error


def _default_shape(function):
    height, width, channels = without_values(function, weights=None).input_shape[1:]
    return height or _DEFAULT_SIZE, width or _DEFAULT_SIZE, channels


@dataclasses.dataclass(frozen=True)
class _Preprocessing:
    """Normalisation of each channel, red first, then the channels in another order."""

    mean: list[float]
    variance: list[float]
    order: tuple[int, ...]


def _own_preprocessing(function, graph, *, learnt):
    """Return what Keras does to images before the first convolution: outside, then inside."""
    # outputs[..., j] = inputs[..., order[j]] * scale[j] + offset[j]
    order, scale, offset = _outside(function)
    for call in graph.calls:
        layer = call.operation
        if isinstance(layer, keras.layers.Rescaling):
            factor, shift = np.ravel(layer.scale), np.ravel(layer.offset)
        elif isinstance(layer, keras.layers.Normalization):
            mean, variance = _statistics(layer, learnt)
            factor, shift = 1 / np.sqrt(variance), -mean / np.sqrt(variance)
        else:
            continue
        scale, offset = scale * factor, offset * factor + shift
    place = np.argsort(order)
    return _Preprocessing(
        (-offset / scale)[place].tolist(), (1 / scale**2)[place].tolist(), tuple(order)
    )


def _outside(function):
    """Return what the `preprocess_input` of a network does, found by trying it on colours."""
    prepare = _preprocess_input(function)
    black = prepare(np.zeros((1, 1, 1, 3)))[0, 0, 0]
    # answers[i, j]: what channel i of the image adds to channel j of the prepared one
    answers = np.stack([prepare(color[None, None, None])[0, 0, 0] for color in 255 * np.eye(3)])
    answers -= black
    order = np.abs(answers).argmax(axis=0).tolist()
    return order, answers[order, range(3)] / 255, black


def _preprocess_input(function):
    """Return the function of the module of `keras.applications` that has the network."""
    for module in vars(keras.applications).values():
        if hasattr(module, "preprocess_input") and hasattr(module, function.__name__):
            return module.preprocess_input
    # The one family whose module does not list its networks.
    return keras.applications.mobilenet_v3.preprocess_input


def _statistics(layer, learnt):
    """Return the mean and variance of a `Normalization`: given, or learnt, or else none."""
    config = layer.get_config()
    if config["mean"] is not None:
        return np.ravel(config["mean"]), np.ravel(config["variance"])
    if not learnt:
        return np.zeros(1), np.ones(1)
    mean, variance, *_ = layer.get_weights()
    return np.ravel(mean), np.ravel(variance)


def _reordered(x, order):
    """Return `x` with its channels in another order, by stock layers that every converter knows.

    Told that the channels come first, cropping crops the last two axes: width, by nothing, and the
    channels.
    """
    last = x.shape[-1] - 1
    if order == tuple(range(last + 1)):
        return x
    channels = [
        keras.layers.Cropping2D(
            ((0, 0), (channel, last - channel)),
            data_format="channels_first",
            dtype="float32",
            name=f"normalization_channel{channel}",
        )(x)
        for channel in order
    ]
    return keras.layers.Concatenate(dtype="float32", name="normalization_order")(channels)


class _Rebuilder:
    """Makes the layers of a graph anew, without its preprocessing, and joins them likewise."""

    def __init__(self, graph, *, include_top, pooling, dropout):
        self.graph = graph
        self.dropout = dropout if include_top else None
        head = _head(graph.calls) if include_top or pooling is not None else []
        self.head = {id(call) for call in head}
        self.classifier = next((call for call in reversed(head) if call.weights), None)
        self.has_dropout = any(isinstance(call.operation, keras.layers.Dropout) for call in head)
        self.pairs = []
        self.names = _names(graph.calls)

    def run(self, x):
        """Return the outputs of the graph on prepared images."""
        (outputs,) = replay(self.graph, [x], self._apply)
        return outputs

    def copy_weights(self):
        """Give each layer the values of its original."""
        for original, copy in self.pairs:
            if original.weights:
                copy.set_weights(original.get_weights())

    def _drop(self, x, name):
        return common.dropout_layer(x, self.dropout, name=name, dtype="float32")

    def _apply(self, call, arguments, keywords):
        """Return what the new layer for that of a call makes of its arguments."""
        operation, kind = call.operation, type(call.operation)
        if self.dropout and call is self.classifier and not self.has_dropout:
            arguments = (self._drop(arguments[0], "head_dropout"),)
        if kind in _PREPROCESSING:
            return arguments[0]
        name = self.names[id(operation)]
        if kind is keras.layers.Dropout and id(call) in self.head and self.dropout is not None:
            return self._drop(arguments[0], name)
        if kind.__name__ == "CustomScaleLayer":
            # Of Inception-ResNet: not known to converters, and made of these two.
            scaled = Scale(operation.scale, name=f"{name}_factor")(arguments[0][1])
            return keras.layers.Add(name=name)([arguments[0][0], scaled])
        if not isinstance(operation, keras.layers.Layer):
            if kind.__name__ == "Add" and len(call.inputs) == 2:
                return keras.layers.Add(name=name)(list(arguments))
            return copy_layer(operation, name=name)(*arguments, **keywords)
        copy = _copy(operation, name, dtype="float32" if id(call) in self.head else None)
        self.pairs.append((operation, copy))
        return copy(*arguments, **keywords)


def _names(calls):
    """Return the name of each operation by `id`; those that Keras made up count from the start."""
    names, numbered = {}, collections.defaultdict(list)
    for call in calls:
        names[id(call.operation)] = call.operation.name
        base = _snake_case(type(call.operation).__name__)
        if match := re.fullmatch(rf"{base}(?:_(\d+))?", call.operation.name):
            numbered[base].append((int(match[1] or 0), id(call.operation)))
    for base, group in numbered.items():
        for number, (_, key) in enumerate(sorted(set(group))):
            names[key] = f"{base}_{number}" if number else base
    return names


def _snake_case(name):
    """Return the name that Keras makes up for the first layer of a class."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _head(calls):
    """Return the calls from the last global pooling, or else the last flattening, on."""
    for kinds in (_POOLS, keras.layers.Flatten):
        for index in reversed(range(len(calls))):
            if isinstance(calls[index].operation, kinds):
                return calls[index:]
    return []


def _copy(layer, name, dtype):
    """Return a new layer of the same settings, or one of ours that computes the same."""
    changes = {"name": name} if dtype is None else {"name": name, "dtype": dtype}
    config = {**layer.get_config(), **changes}
    kind = type(layer)
    if kind is keras.layers.BatchNormalization:
        return copy_layer(layer, FusedBatchNormalization, **changes)
    # ConvNeXt has these two of its own, which files of models do not find again.
    if kind.__name__ == "LayerScale":
        return LayerScale(config["init_values"], name=name, dtype=config["dtype"])
    if kind.__name__ == "StochasticDepth":
        return StochasticDepth(config["drop_path_rate"], name=name, dtype=config["dtype"])
    return copy_layer(layer, **changes)
