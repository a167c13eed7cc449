"""A trained backbone under a new head."""

import os

import keras

from recipes.errors import ConfigError
from recipes.layers.channel_normalization import ChannelNormalization
from recipes.transfer.flat import check_graph, flatten_model, is_flat
from recipes.transfer.freezing import freeze, unfreeze

_POOLINGS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
}
_HEAD_NAMES = ("head_pool", "head_dropout", "head_dense", "logits", "predictions")


def transfer_model(
    backbone,
    classes,
    *,
    input_shape=None,
    weights="imagenet",
    features=None,
    mean=None,
    variance=None,
    pooling="avg",
    dense=(),
    dropout=0.0,
    classifier_activation="softmax",
    frozen=True,
    backbone_arguments=None,
    name=None,
):
    """Build a classifier of new classes on a trained backbone.

    The model is flat: the layers of the backbone and of the head are in one graph, under their own
    names, so that `freeze` and `unfreeze` reach them, converters see stock layers, and no nested
    call can forget its inference mode. It takes images in `[0, 255]`; what the backbone was
    trained on as preprocessing is inside. It is not compiled.

    Args:
        backbone: A name of `recipes.models.list_models()`; or a `keras.Model` of your own,
            functional or sequential, flat or with models nested in it, of which a flat copy is
            made. It ends in a feature map `(batch, height, width, channels)`, or `features` says
            where.
        classes: Number of new classes.
        input_shape: `(height, width, channels)`; default the backbone's own.
        weights: Of a named backbone: "imagenet", a file or whatever else its builder takes, or
            `None` for random ones. A model of your own brings its weights.
        features: Name of the layer of a model of your own whose output is the feature map; default
            its last.
        mean: Mean of the images, one number a channel in units of 0..255, to be subtracted; for a
            named backbone in place of what it was trained with, for a model of your own if it has
            no preprocessing inside.
        variance: Variance likewise, to be divided by the root of.
        pooling: "avg" or "max", from the feature map to one number a channel.
        dense: Sizes of hidden dense layers with ReLU between the features and the classes.
        dropout: Rate of dropout before each dense layer, in [0, 1).
        classifier_activation: Activation of the outputs; `None` for logits.
        frozen: Whether the backbone begins frozen; see `freeze`. Otherwise all of it trains, batch
            normalisations included.
        backbone_arguments: More arguments of the named backbone's builder, such as
            `{"stochastic_depth": 0.1}`.
        name: Name of the model; default that of the backbone.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`. The head computes in float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or the backbone cannot be used: the message names
            what was expected.

    Example:
        >>> model = transfer_model("resnet20", 5, weights=None, dropout=0.2)
        >>> [layer.name for layer in model.layers[-3:]]
        ['head_dropout', 'logits', 'predictions']
        >>> len(model.trainable_variables)
        2
    """
    _check_head(classes, pooling, dense, dropout, classifier_activation)
    statistics = {"mean": mean, "variance": variance}
    if isinstance(backbone, keras.Model):
        if backbone_arguments or not (weights is None or weights == "imagenet"):
            raise ConfigError(
                "weights and backbone_arguments are for a backbone given by its name; "
                f"{backbone.name} is a model, which brings its own"
            )
        body = _own_backbone(backbone, features, input_shape, statistics)
    else:
        if features is not None:
            raise ConfigError("features is for a backbone that is a model of your own")
        body = _named_backbone(backbone, input_shape, weights, statistics, backbone_arguments)
    outputs = _head(body, classes, pooling, dense, dropout, classifier_activation)
    model = keras.Model(body.input, outputs, name=name or body.name)
    if frozen:
        freeze(model, say=None)
    else:
        # A backbone of one's own may come frozen.
        unfreeze(model, batch_norm="train", say=None)
    return model


def _check_head(classes, pooling, dense, dropout, activation):
    if not isinstance(dense, list | tuple):
        raise ConfigError(f"dense must be a list of positive integers, received: {dense!r}")
    try:
        keras.activations.get(activation)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"unknown classifier_activation, received: {activation!r}") from error
    for what, value in (("classes", classes), *(("dense", size) for size in dense)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{what} must be a positive integer, received: {value!r}")
    if pooling not in _POOLINGS:
        raise ConfigError(f"pooling must be one of {', '.join(_POOLINGS)}, received: {pooling!r}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), received: {dropout!r}")


def _named_backbone(name, input_shape, weights, statistics, more):
    from recipes.models import build_model

    if not isinstance(name, str):
        raise ConfigError(
            "backbone must be a name of recipes.models.list_models() or a Keras model, "
            f"received: {name!r}"
        )
    own = {"include_top", "pooling", "weights", "input_shape", *statistics}
    if taken := sorted(own.intersection(more or {})):
        raise ConfigError(
            "backbone_arguments must leave out what transfer_model sets itself, received: "
            f"{', '.join(taken)}"
        )
    given = {"input_shape": input_shape, **statistics}
    arguments = {key: value for key, value in given.items() if value is not None}
    arguments["weights"] = os.fspath(weights) if isinstance(weights, os.PathLike) else weights
    body = build_model(name, include_top=False, pooling=None, **arguments, **(more or {}))
    body = body if is_flat(body) else flatten_model(body)
    _check_feature_map(body, None)
    return body


def _own_backbone(backbone, features, input_shape, statistics):
    if (statistics["mean"] is None) != (statistics["variance"] is None):
        raise ConfigError("mean and variance must be given together")
    check_graph(backbone)
    first = None
    if statistics["mean"] is not None:
        try:
            first = ChannelNormalization(**statistics, name="transfer_normalization")
            first.build(tuple(backbone.inputs[0].shape))
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from error
    body = flatten_model(backbone, until=features, input_shape=input_shape, first=first)
    _check_feature_map(body, features)
    taken = {layer.name for layer in body.layers}.intersection(_HEAD_NAMES)
    if taken:
        raise ConfigError(
            f"{backbone.name} has layers called {', '.join(sorted(taken))}, which are names of the "
            "new head: say with features= where the backbone ends"
        )
    return body


def _check_feature_map(body, features):
    if len(body.inputs) != 1 or len(body.outputs) != 1:
        raise ConfigError(
            f"{body.name} has {len(body.inputs)} inputs and {len(body.outputs)} outputs, "
            "expected images in and one feature map out"
        )
    shape = tuple(body.outputs[0].shape)
    if len(shape) == 4:
        return
    maps = [layer.name for layer in body.layers if len(_output_shape(layer)) == 4]
    hint = f"; its last feature map is features={maps[-1]!r}" if maps else ""
    what = f"layer {features!r}" if features else f"{body.name}"
    raise ConfigError(
        f"{what} gives outputs of shape {shape}, expected a feature map "
        f"(batch, height, width, channels){hint}"
    )


def _output_shape(layer):
    output = keras.tree.flatten(layer.output)[0] if hasattr(layer, "output") else None
    return () if output is None else tuple(output.shape)


def _head(body, classes, pooling, dense, dropout, classifier_activation):
    x = _POOLINGS[pooling](dtype="float32", name="head_pool")(body.output)
    for number, size in enumerate(dense, start=1):
        x = _dropout(x, dropout, f"head_dropout{number}")
        x = keras.layers.Dense(size, "relu", dtype="float32", name=f"head_dense{number}")(x)
    x = _dropout(x, dropout, "head_dropout")
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    if classifier_activation is None:
        return logits
    return keras.layers.Activation(classifier_activation, dtype="float32", name="predictions")(
        logits
    )


def _dropout(x, rate, name):
    return keras.layers.Dropout(rate, dtype="float32", name=name)(x) if rate else x
