"""Reading the weight files of Keras by the names of the layers.

Keras itself finds a layer in a file by its class and its number among those of that class
("conv2d_3"), so that a model in which a class was exchanged, such as the batch normalisation,
cannot read what the other wrote. But each group of the file notes the name of its layer, too, and
by these names files cross.
"""

import io
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np

from recipes.weights.assignment import Offer, variables, weighted_layers
from recipes.weights.normalization import Normalization

# What reading a file that is broken or of another kind raises, in h5py, zipfile and Keras.
READ_ERRORS = (ValueError, OSError, KeyError, RuntimeError, zipfile.BadZipFile)


def read_keras(path: str | os.PathLike) -> tuple[dict[str, list[np.ndarray]], Normalization | None]:
    """Return the arrays of each named layer, and the normalisation of the model if it is known.

    Args:
        path: A `.weights.h5` or `.keras` file.

    Returns:
        Lists of arrays by the names of their layers, "outer/inner" for a layer in another. Names
        that occur twice are left out, since they tell nothing. The normalisation is that of a
        `.keras` file, whose configuration has it.
    """
    path = Path(path)
    if path.name.endswith(".weights.h5"):
        with h5py.File(path, "r") as file:
            return _arrays(file), None
    with zipfile.ZipFile(path) as archive:
        weights = io.BytesIO(archive.read("model.weights.h5"))
        config = json.loads(archive.read("config.json"))
    with h5py.File(weights, "r") as file:
        return _arrays(file), _normalization(config)


def _arrays(file):
    found, twice = {}, set()
    for name, group in _named_groups(file, ""):
        if name in found:
            twice.add(name)
        arrays = [_member(group, str(index)) for index in range(len(group))]
        if all(isinstance(array, h5py.Dataset) for array in arrays):
            found[name] = [_array(dataset) for dataset in arrays]
    return {name: arrays for name, arrays in found.items() if arrays and name not in twice}


def _named_groups(group, prefix) -> Iterator[tuple[str, h5py.Group]]:
    """Give the groups of variables below `group`, each by the names of the layers around it."""
    for key in group:
        child = _member(group, key)
        if key in ("vars", "optimizer") or not isinstance(child, h5py.Group):
            continue
        name, inner = None, prefix
        own = _member(child, "vars")
        if isinstance(own, h5py.Group):
            name = own.attrs.get("name")
        if name is not None:
            yield prefix + name, own
            inner = f"{prefix}{name}/"
        yield from _named_groups(child, inner)


def _member(group, key):
    """Return what `group` itself holds under `key`, or `None`; other files are not followed."""
    link = group.get(key, getlink=True)
    return group[key] if isinstance(link, h5py.HardLink) else None


def _array(dataset):
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} lies in another file, which is not read")
    if dataset.nbytes > 1000 * dataset.id.get_storage_size():
        raise ValueError(f"{dataset.name} claims {dataset.nbytes} bytes, but does not hold them")
    if dataset.attrs.get("dtype") == "bfloat16":
        return np.array(dataset, dtype=ml_dtypes.bfloat16).astype("float32")
    return np.array(dataset)


def _normalization(config):
    """Return the mean and variance of the first `ChannelNormalization` in a model's config."""
    for layer in config.get("config", {}).get("layers", ()):
        if layer.get("class_name") == "ChannelNormalization":
            inner = layer["config"]
            return Normalization(tuple(inner["mean"]), tuple(inner["variance"]))
    return None


def offers_by_name(model, stored: dict[str, list[np.ndarray]]) -> dict[str, dict[str, Offer]]:
    """Return for each layer of `model` what the file has under its name."""
    offers = {}
    for name, layer in weighted_layers(model):
        offered, counts = {}, {}
        for key in variables(layer):
            owner = "/".join([name, *key.split("/")[:-1]])
            index = counts.get(owner, 0)
            counts[owner] = index + 1
            arrays = stored.get(owner, ())
            offered[key] = Offer(f"{owner}/{index}", arrays[index] if index < len(arrays) else None)
        for owner, count in counts.items():
            for index in range(count, len(stored.get(owner, ()))):
                extra = f"{owner}/{index}"
                offered[extra] = Offer(extra, stored[owner][index])
        offers[name] = offered
    return offers


def names(stored: dict[str, list[np.ndarray]]) -> list[str]:
    """Return one name for each array of a file."""
    return [f"{name}/{index}" for name, arrays in stored.items() for index in range(len(arrays))]


def first_reason(message: str) -> str:
    """Return what Keras' error says about the first layer that does not fit, in one line."""
    layer = re.search(r"for object <\w+ name=(\w+)", message)
    shapes = re.search(r"variable\.shape=(\([^)]*\)), Received: value\.shape=(\([^)]*\))", message)
    counts = re.search(r"expected (\d+) variables, but received (\d+)", message)
    if layer and shapes:
        return f"{layer[1]} takes the shape {shapes[1]}, the file holds {shapes[2]}"
    if layer and counts:
        return f"{layer[1]} takes {counts[1]} arrays, the file holds {counts[2]}"
    return " ".join(message.split())[:200]


def load_in_order(model, path) -> None:
    """Let Keras find the layers by class and number; on an error put the old weights back."""
    before = model.get_weights()
    try:
        with warnings.catch_warnings():
            # Keras warns about its own bookkeeping for each layer that the file lacks.
            warnings.filterwarnings("ignore", "Skipping nested container", UserWarning)
            model.load_weights(path)
    except BaseException:
        model.set_weights(before)
        raise
