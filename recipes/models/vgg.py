"""VGG networks, with and without batch normalisation."""

import keras

from recipes.models import _common as common
from recipes.weights import TorchLayer

# depth: convolutions in each stage (columns A, B, D and E of the paper's table 1)
_DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_WIDTHS = (64, 128, 256, 512, 512)

# Height and width of the feature map that the classifier was published for.
_MAP_SIZE = 7


def build_vgg(
    depth,
    *,
    batch_norm=False,
    include_top=True,
    weights=None,
    input_shape=(224, 224, 3),
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    mean=None,
    variance=None,
    dropout=0.5,
    dense_units=4096,
    name=None,
):
    """Build a VGG network of a published depth.

    Five stages of 3x3 convolutions, each ending in 2x2 max pooling, then two hidden dense layers
    with dropout and the classifier.

    The published classifier takes a 7x7 feature map, that of images of 224 pixels a side. A larger
    map whose sides are multiples of 7 is averaged down to 7x7, as torchvision does; a map of any
    other size is flattened as it is, which gives the first dense layer another shape and number of
    parameters. For images much smaller than 224 pixels take a smaller `dense_units`.

    Args:
        depth: 11, 13, 16 or 19.
        batch_norm: Whether each convolution is batch-normalised. The convolutions keep their
            biases, as in torchvision.
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (torchvision's: He et al. 2015 by fan-out for the
            convolutions, deviation 0.01 for the dense layers), or a source that
            `recipes.weights.load_weights` takes, such as a `.weights.h5` or `.keras` file or a
            PyTorch state dict with torchvision's names.
        input_shape: `(height, width, channels)`, at least 32 pixels a side. Without a top, `None`
            leaves a side open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            ImageNet's.
        variance: Variance likewise.
        dropout: Rate of dropout after each hidden dense layer, in `[0, 1)`.
        dense_units: Units of each hidden dense layer.
        name: Name of the model; default `vgg{depth}` or `vgg{depth}_bn`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> build_vgg(11, input_shape=(32, 32, 3), classes=10, dense_units=512).name
        'vgg11'

    Source:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", 2015, table 1; torchvision's `vgg.py`.
    """
    common.check_choice("depth", depth, sorted(_DEPTHS))
    common.check_positive_integer("dense_units", dense_units)
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=32,
        dropout=dropout,
    )
    if include_top:
        common.check_known_size(input_shape, "a VGG network")

    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    for stage, (count, width) in enumerate(zip(_DEPTHS[depth], _WIDTHS, strict=True), start=1):
        x = _stage(x, count, width, batch_norm, name=f"stage{stage}")
    if include_top:
        outputs = _classifier(x, classes, dense_units, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    name = name or (f"vgg{depth}_bn" if batch_norm else f"vgg{depth}")
    return common.finish(inputs, outputs, name=name, weights=weights, torch_layers=torch_layers)


def _stage(x, count, width, batch_norm, *, name):
    for number in range(1, count + 1):
        x = common.convolution(
            x, width, initializer=common.he_fan_out, bias=True, name=f"{name}_conv{number}"
        )
        if batch_norm:
            x = common.batch_normalization(x, name=f"{name}_bn{number}")
        x = common.relu(x, name=f"{name}_relu{number}")
    return keras.layers.MaxPooling2D(2, name=f"{name}_pool")(x)


def _classifier(x, classes, dense_units, dropout, classifier_activation):
    height, width = x.shape[1:3]
    if (height, width) != (_MAP_SIZE, _MAP_SIZE) and height % _MAP_SIZE == width % _MAP_SIZE == 0:
        window = (height // _MAP_SIZE, width // _MAP_SIZE)
        x = keras.layers.AveragePooling2D(window, name="head_pool")(x)
    x = keras.layers.Flatten(name="head_flatten")(x)
    for number in (1, 2):
        x = _dense(x, dense_units, name=f"head_dense{number}")
        x = common.relu(x, name=f"head_relu{number}")
        x = common.dropout_layer(x, dropout, name=f"head_dropout{number}")
    logits = _dense(x, classes, name="logits", dtype="float32")
    return common.activation(logits, classifier_activation)


def _dense(x, units, *, name, dtype=None):
    return keras.layers.Dense(
        units,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        dtype=dtype,
        name=name,
    )(x)


def torch_layers(model):
    """Return where torchvision has the weights of each layer of a model.

    Args:
        model: Of `build_vgg`, with or without its top.

    Returns:
        `TorchLayer`s or prefixes in the state dict, by layer name.

    Example:
        >>> torch_layers(build_vgg(11, include_top=False, batch_norm=True))["stage2_bn1"]
        'features.5'
    """
    found = {}
    # torchvision numbers everything in its feature extractor, also what has no weights.
    number = 0
    for layer in model.layers:
        if layer.name.startswith("stage"):
            if layer.weights:
                found[layer.name] = f"features.{number}"
            number += 1
    if "logits" in [layer.name for layer in model.layers]:
        _, height, width, channels = model.get_layer("head_flatten").input.shape
        found["head_dense1"] = TorchLayer("classifier.0", flatten=(channels, height, width))
        found |= {"head_dense2": "classifier.3", "logits": "classifier.6"}
    return found
