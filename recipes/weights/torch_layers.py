"""Weights of a PyTorch network for the same network here: which goes where, and how it is laid."""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np

from recipes.errors import ConfigError
from recipes.weights.assignment import Offer, assign, variables, weighted_layers
from recipes.weights.report import WeightsReport

# What PyTorch calls the parameters that Keras calls so.
_PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

# PyTorch counts the batches that a batch normalisation saw; Keras has no use for it.
_COUNTER = "num_batches_tracked"


@dataclasses.dataclass(frozen=True)
class TorchLayer:
    """Where a layer's weights are in a PyTorch state dict, if its name alone does not say it.

    Attributes:
        name: The module's name, such as "layer1.0.conv1"; or, for a layer of one variable, that
            of a parameter, such as "features.1.0.layer_scale".
        flatten: For a dense layer after a flattening: `(channels, height, width)` of the feature
            map. PyTorch flattens channels first, Keras channels last.

    Example:
        >>> TorchLayer("classifier.0", flatten=(512, 7, 7)).name
        'classifier.0'
    """

    name: str
    flatten: tuple[int, int, int] | None = None


def assign_torch(
    model,
    arrays: Mapping[str, np.ndarray],
    torch_layers: Mapping[str, str | TorchLayer],
    *,
    skip_mismatched: bool = False,
    channels: str = "adapt",
    source: str = "the state dict",
) -> WeightsReport:
    """Set the weights of `model` from the arrays of a PyTorch state dict.

    Convolutions (also depthwise and grouped ones), dense layers, batch, layer and group
    normalisations and single parameters are known. Everything is checked before anything is set.

    Args:
        model: A built model.
        arrays: NumPy arrays by the names of the state dict.
        torch_layers: For each layer with weights its PyTorch module. Names of layers that the
            model does not have are allowed: the same table serves the features alone.
        skip_mismatched: Whether layers that do not fit keep their values; otherwise they are an
            error.
        channels: "adapt" sums or extends the kernels of the first convolution if the model takes
            other channels, and says so in the report; "exact" makes that a mismatch.
        source: What to call the arrays in messages.

    Returns:
        A `WeightsReport`.

    Raises:
        ConfigError: If a layer has no place in the table, or an array is missing or of another
            shape. The model is then as it was.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
        >>> arrays = {"fc.weight": np.ones((2, 4)), "fc.bias": np.zeros(2)}
        >>> assign_torch(model, arrays, {"logits": "fc"}).assigned
        ('logits',)
    """
    offers = {}
    for name, layer in weighted_layers(model):
        place = torch_layers.get(name)
        if place is None:
            if skip_mismatched:
                continue
            raise ConfigError(f"{model.name} has no PyTorch name for the weights of {name}")
        place = TorchLayer(place) if isinstance(place, str) else place
        offers[name] = _offers(layer, place, arrays)
    available = [name for name in arrays if not name.endswith(_COUNTER)]
    return assign(
        model,
        offers,
        available,
        source=source,
        skip_mismatched=skip_mismatched,
        channels=channels,
    )


def _offers(layer, place, arrays):
    """Return the offer for each variable of a layer."""
    wanted = variables(layer)
    offers = {}
    for key, variable in wanted.items():
        name = f"{place.name}.{_PARAMETERS.get(key, key)}"
        if len(wanted) == 1 and place.name in arrays:
            name = place.name
        stored = arrays.get(name)
        if stored is None:
            offers[key] = Offer(name, None)
        else:
            shape = tuple(variable.shape)
            array = _keras_layout(layer, key, np.asarray(stored), shape, place.flatten)
            offers[key] = Offer(name, array, tuple(stored.shape))
    # What else the file has for the layer, such as a bias that it does not take, must not be lost.
    known = {f"{place.name}.{_COUNTER}", *(offer.name for offer in offers.values())}
    for name in arrays:
        module, _, _ = name.rpartition(".")
        if module == place.name and name not in known:
            offers[name] = Offer(name, np.asarray(arrays[name]))
    return offers


def _keras_layout(layer, key, array, shape, flatten):
    """Return `array` in the layout of Keras, or as it is if it cannot be for this variable."""
    if array.size != np.prod(shape, dtype=np.int64) and key != "kernel":
        return array
    if key != "kernel":
        # Such as the (channels, 1, 1) of a layer scale.
        return array.reshape(shape)
    if isinstance(layer, keras.layers.Dense):
        return _dense(array, flatten)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return _depthwise(array, layer.depth_multiplier)
    if array.ndim == 2 and len(shape) == 4:
        # A linear layer over the channels is a convolution with 1x1 kernels.
        array = array[:, :, None, None]
    if array.ndim != len(shape):
        return array
    # (filters, channels, *size) to (*size, channels, filters)
    return np.moveaxis(array, (0, 1), (-1, -2))


def _dense(array, flatten):
    if array.ndim == 4 and array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    if array.ndim != 2:
        return array
    if flatten is not None and array.shape[1] == np.prod(flatten):
        units = len(array)
        array = array.reshape(units, *flatten).transpose(0, 2, 3, 1).reshape(units, -1)
    return array.T


def _depthwise(array, multiplier):
    """Turn `(channels * multiplier, 1, height, width)` to Keras' layout."""
    if array.ndim != 4 or array.shape[1] != 1 or array.shape[0] % multiplier:
        return array
    channels = array.shape[0] // multiplier
    return array.reshape(channels, multiplier, *array.shape[2:]).transpose(2, 3, 0, 1)
