"""`load_weights`: from any known kind of file, by name, all or nothing."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from recipes.errors import ConfigError
from recipes.weights import keras_file
from recipes.weights.assignment import (
    Offer,
    assign,
    check_built,
    check_channels,
    has_automatic_names,
    variables,
    weighted_layers,
)
from recipes.weights.normalization import IMAGENET, Normalization, mismatch
from recipes.weights.npz_file import read_npz
from recipes.weights.pretrained import expected_normalization, pretrained
from recipes.weights.report import WeightsReport
from recipes.weights.safetensors_file import read_safetensors
from recipes.weights.torch_file import read_torch
from recipes.weights.torch_layers import TorchLayer, assign_torch

TorchTable = Mapping[str, str | TorchLayer]

_KERAS = (".weights.h5", ".keras")
_TORCH = (".pth", ".pt")
_KINDS = ".weights.h5, .keras, .npz, .pth, .pt or .safetensors"


def load_weights(
    model,
    source: str | os.PathLike | Mapping[str, np.ndarray],
    *,
    torch_layers: TorchTable | Callable[..., TorchTable] | None = None,
    package: str | None = None,
    normalization: Normalization | None = None,
    skip_mismatched: bool = False,
    channels: str = "adapt",
) -> WeightsReport:
    """Load weights into `model`: all of them, or, if something does not fit, none.

    Layers are found by name wherever the file has names, so that weights pass between stock and
    fused batch normalisation, and between a classifier and its features. Files of Keras whose
    layers have other names are left to Keras, which goes by the order of the layers.

    Args:
        model: A built model.
        source: "imagenet"; the path of a `.weights.h5`, `.keras`, `.npz`, `.safetensors`, `.pth`
            or `.pt` file; or a dict of arrays, with the names of `save_npz` or of PyTorch.
        torch_layers: For weights from PyTorch, the module of each layer, or the function that
            gives them, such as `recipes.models.resnet.torch_layers`.
        package: The name of the network, if it is not that of the model: for "imagenet", and for
            what its published PyTorch weights expect of images.
        normalization: `Normalization(mean, variance)` of the images that the weights were trained
            on, for a source that does not know it. `.keras` files, `.npz` files of `save_npz` and
            "imagenet" do; for weights from PyTorch the default is what torchvision uses. The
            report tells if the model does something else.
        skip_mismatched: Whether layers that do not fit, such as the classifier of another number
            of classes, keep their values and are reported; otherwise they are an error.
        channels: What happens to the first convolution if the model takes images of other
            channels: "adapt" sums its kernels for one channel, or gives further channels the mean
            of the kernels and scales all, and says so in the report; "exact" makes it a mismatch.

    Returns:
        A `WeightsReport`: what was set, skipped, unused, and changed on the way.

    Raises:
        ConfigError: If the source is unknown, missing, truncated, not what it should be, asks to
            run code, or does not fit the model. The weights of the model are then as before.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="logits")])
        >>> arrays = {"logits/kernel": np.ones((2, 1)), "logits/bias": np.zeros(1)}
        >>> print(load_weights(model, arrays))
        the given arrays: 1 layer set, 0 skipped, 0 names unused
    """
    check_channels(channels)
    check_built(model)
    options = {"skip_mismatched": skip_mismatched, "channels": channels}
    if isinstance(source, Mapping):
        loaded = _Source("the given arrays", dict(source))
    elif isinstance(source, str) and source == "imagenet":
        weights = pretrained(package or model.name)
        loaded = _Source(weights.name, read_safetensors(weights.path), weights.normalization)
    else:
        path = _checked_path(source)
        if path.name.endswith(_KERAS):
            report, stored = _load_keras(model, path, options)
            return _with_note(report, mismatch(model, stored or normalization))
        loaded = _read(path)
    return _load_arrays(model, loaded, torch_layers, package, normalization, options)


@dataclasses.dataclass(frozen=True)
class _Source:
    """Arrays by name, what to call them, and what they expect of images where that is known."""

    name: str
    arrays: Mapping[str, np.ndarray]
    normalization: Normalization | None = None


def _checked_path(source):
    try:
        path = Path(os.fspath(source))
    except TypeError:
        raise ConfigError(
            f"weights must be None, 'imagenet', a dict or a path, received: {source!r}"
        ) from None
    if not path.name.endswith((*_KERAS, *_TORCH, ".npz", ".safetensors")):
        raise ConfigError(f"weights must be 'imagenet' or a {_KINDS} file, received: {path}")
    if not path.is_file():
        raise ConfigError(f"weights file not found: {path}")
    return path


def _read(path):
    if path.suffix == ".npz":
        return _Source(str(path), *read_npz(path))
    return _Source(str(path), read_torch(path) if path.suffix in _TORCH else read_safetensors(path))


def _load_keras(model, path, options):
    """Return the report, and the normalisation that the file tells of, or `None`."""
    try:
        stored, expected = keras_file.read_keras(path)
        layers = [name for name, _ in weighted_layers(model)]
        if not has_automatic_names(model) and _outer(layers) & _outer(stored):
            offers = keras_file.offers_by_name(model, stored)
            available = keras_file.names(stored)
            return assign(model, offers, available, source=str(path), **options), expected
        if options["skip_mismatched"]:
            raise ConfigError(f"layers of {path} have no names of {model.name} to skip them by")
        keras_file.load_in_order(model, path)
        note = "the layers were found by their order, since their names tell nothing"
        return WeightsReport(str(path), tuple(layers), {}, (), (note,)), expected
    except ConfigError:
        raise
    except keras_file.READ_ERRORS as error:
        reason = keras_file.first_reason(str(error))
        raise ConfigError(f"weights of {path} do not fit {model.name}: {reason}") from error


def _outer(names):
    """Return the names of the outermost layers."""
    return {name.split("/")[0] for name in names}


def _load_arrays(model, loaded, torch_layers, package, normalization, options):
    """Set the weights from arrays with our own names, or with those of PyTorch."""
    arrays, source = loaded.arrays, loaded.name
    offers = _offers_by_name(model, arrays)
    if any(offer.array is not None for offered in offers.values() for offer in offered.values()):
        report = assign(model, offers, arrays, source=source, **options)
        return _with_note(report, mismatch(model, loaded.normalization or normalization))
    if torch_layers is None:
        raise ConfigError(
            f"no name in {source} is one of {model.name}"
            f"{_first_names(arrays)}; for PyTorch's names give torch_layers, the module of each "
            "layer, such as recipes.models.resnet.torch_layers"
        )
    table = torch_layers(model) if callable(torch_layers) else torch_layers
    report = assign_torch(model, arrays, table, source=source, **options)
    published = expected_normalization(package or model.name)
    expected = loaded.normalization or normalization or published
    if expected is not None:
        return _with_note(report, mismatch(model, expected))
    return _with_note(report, mismatch(model, IMAGENET, who="weights from PyTorch usually"))


def _offers_by_name(model, arrays):
    """Return for each layer what the arrays have under the names of `save_npz`."""
    offers = {}
    for name, layer in weighted_layers(model):
        keys = {key: f"{name}/{key}" for key in variables(layer)}
        # What else is there for the layer must not be lost.
        extra = {path for path in arrays if path.rpartition("/")[0] == name} - set(keys.values())
        offers[name] = {
            key: Offer(path, None if arrays.get(path) is None else np.asarray(arrays[path]))
            for key, path in [*keys.items(), *zip(extra, extra, strict=True)]
        }
    return offers


def _first_names(arrays):
    names = list(arrays)[:3]
    return f" (it has {', '.join(map(repr, names))}...)" if names else " (it has none)"


def _with_note(report, note):
    return report if note is None else dataclasses.replace(report, notes=(*report.notes, note))
