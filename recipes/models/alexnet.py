"""AlexNet, in the one-column form that torchvision has."""

import dataclasses

import keras

from recipes.models import _common as common
from recipes.weights import TorchLayer


@dataclasses.dataclass(frozen=True)
class _Convolution:
    """A convolution with its ReLU; `place` is its number in torchvision's `features`."""

    name: str
    filters: int
    size: int
    place: int


# Each stage ends in 3x3 max pooling of stride 2. The first convolution has stride 4.
_STAGES = (
    (_Convolution("stage1_conv1", 64, 11, 0),),
    (_Convolution("stage2_conv1", 192, 5, 3),),
    (
        _Convolution("stage3_conv1", 384, 3, 6),
        _Convolution("stage3_conv2", 256, 3, 8),
        _Convolution("stage3_conv3", 256, 3, 10),
    ),
)
_STRIDES = {"stage1_conv1": 4}
# With stride 4 an 11x11 kernel gets 2 pixels of padding, not the 5 that keep all of its positions.
_PADDING = {"stage1_conv1": 2}

# Height and width of the feature map that the classifier was published for.
_MAP_SIZE = 6


def build_alexnet(
    *,
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
    """Build an AlexNet.

    Five convolutions, three of them followed by overlapping max pooling, then two hidden dense
    layers with dropout before each, and the classifier.

    The published classifier takes a 6x6 feature map, that of images of 224 pixels a side. A larger
    map whose sides are multiples of 6 is averaged down to 6x6, as torchvision does; a map of any
    other size is flattened as it is, which gives the first dense layer another shape and number of
    parameters. For images much smaller than 224 pixels take a smaller `dense_units`.

    Args:
        include_top: Whether to end in a classifier; otherwise in the feature map or `pooling`.
        weights: `None` for random ones (He et al. 2015, by fan-in; deviation 0.01 for the
            classifier), or a source that `recipes.weights.load_weights` takes.
        input_shape: `(height, width, channels)`, at least 63 pixels a side. Without a top, `None`
            leaves a side open.
        pooling: Without a top: `None` for the feature map, "avg" or "max" for its pooled vector.
        classes: Number of classes.
        classifier_activation: Activation of the outputs; `None` for logits.
        include_preprocessing: Whether the model takes images in `[0, 255]` and normalises them.
        mean: Mean of the training images, one number a channel, in units of 0..255; default
            ImageNet's.
        variance: Variance likewise.
        dropout: Rate of dropout before each hidden dense layer, in `[0, 1)`.
        dense_units: Units of each hidden dense layer.
        name: Name of the model; default `alexnet`.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` to class probabilities or
        logits `(batch, classes)`, float32 whatever the dtype policy.

    Raises:
        ConfigError: If an argument is wrong, or `weights` do not fit.

    Example:
        >>> build_alexnet(input_shape=(63, 63, 3), classes=10, dense_units=64).output_shape
        (None, 10)

    Source:
        Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014,
        section 5, and torchvision's `alexnet.py`, which has 256 instead of 384 channels in the
        fourth convolution. The network of 2012 had two columns on two GPUs, and local response
        normalisation after the first two convolutions.
    """
    common.check_positive_integer("dense_units", dense_units)
    common.check_arguments(
        input_shape=input_shape,
        classes=classes,
        pooling=pooling,
        minimum_size=63,
        dropout=dropout,
    )
    if include_top:
        common.check_known_size(input_shape, "AlexNet")

    inputs, x = common.image_input(
        input_shape,
        include_preprocessing=include_preprocessing,
        mean=mean,
        variance=variance,
    )
    for number, convolutions in enumerate(_STAGES, start=1):
        for convolution in convolutions:
            x = _convolution(x, convolution)
        x = keras.layers.MaxPooling2D(3, strides=2, name=f"stage{number}_pool")(x)
    if include_top:
        outputs = _classifier(x, classes, dense_units, dropout, classifier_activation)
    else:
        outputs = common.features_only(x, pooling)
    return common.finish(
        inputs, outputs, name=name or "alexnet", weights=weights, torch_layers=torch_layers
    )


def _convolution(x, convolution):
    name = convolution.name
    if name in _PADDING:
        x = keras.layers.ZeroPadding2D(_PADDING[name], name=f"{name}_pad")(x)
    x = keras.layers.Conv2D(
        convolution.filters,
        convolution.size,
        strides=_STRIDES.get(name, 1),
        padding="valid" if name in _PADDING else "same",
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return common.relu(x, name=name.replace("conv", "relu"))


def _classifier(x, classes, dense_units, dropout, classifier_activation):
    height, width = x.shape[1:3]
    if (height, width) != (_MAP_SIZE, _MAP_SIZE) and height % _MAP_SIZE == width % _MAP_SIZE == 0:
        window = (height // _MAP_SIZE, width // _MAP_SIZE)
        x = keras.layers.AveragePooling2D(window, name="head_pool")(x)
    x = keras.layers.Flatten(name="head_flatten")(x)
    for number in (1, 2):
        x = common.dropout_layer(x, dropout, name=f"head_dropout{number}")
        x = keras.layers.Dense(
            dense_units, kernel_initializer="he_normal", name=f"head_dense{number}"
        )(x)
        x = common.relu(x, name=f"head_relu{number}")
    logits = keras.layers.Dense(
        classes,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name="logits",
    )(x)
    return common.activation(logits, classifier_activation)


def torch_layers(model):
    """Return where the weights of each layer are in torchvision's state dict of AlexNet.

    Args:
        model: Of `build_alexnet`, with or without its top.

    Returns:
        Prefixes in the state dict by layer name.

    Example:
        >>> torch_layers(build_alexnet(include_top=False))["stage3_conv3"]
        'features.10'
    """
    table = {one.name: f"features.{one.place}" for stage in _STAGES for one in stage}
    table["head_dense2"] = "classifier.4"
    table["logits"] = "classifier.6"
    layers = [layer.name for layer in model.layers]
    if "head_flatten" in layers:
        height, width, channels = model.get_layer("head_flatten").input.shape[1:]
        table["head_dense1"] = TorchLayer("classifier.1", flatten=(channels, height, width))
    return {name: table[name] for name in layers if name in table}
