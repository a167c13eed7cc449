"""Weights as plain NumPy archives, which anything can read and write."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from recipes.errors import ConfigError
from recipes.files import atomic_path
from recipes.weights.assignment import check_built, check_names, variables, weighted_layers
from recipes.weights.normalization import Normalization, of_model

# Not weights: what the images are normalised by.
_MEAN, _VARIANCE = "normalization/mean", "normalization/variance"


def save_npz(model, path: str | os.PathLike) -> None:
    """Write the weights of `model` as a `.npz` file, atomically.

    The plain counterpart of `load_weights`: one array for each variable, named by its layer, such
    as "stage1_block1_conv1/kernel", in Keras' layout, and the mean and variance of the model's
    normalisation, if it has one. Unlike Keras' own files it does not depend on the classes of the
    layers: what stock layers saved, ours load, and the other way round.

    Args:
        model: A built model.
        path: Ends in `.npz`.

    Raises:
        ConfigError: If the path ends in something else, the model is not built, or two of its
            layers have one name.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_npz(model, f"{folder}/weights.npz")
        ...     sorted(np.load(f"{folder}/weights.npz"))
        ['logits/bias', 'logits/kernel']
    """
    path = Path(os.fspath(path))
    if path.suffix != ".npz":
        raise ConfigError(f"path must end in .npz, received: {path}")
    check_built(model)
    check_names(model)
    arrays = {
        f"{layer}/{key}": _plain(variable)
        for layer, module in weighted_layers(model)
        for key, variable in variables(module).items()
    }
    normalization = of_model(model)
    if normalization is not None:
        arrays[_MEAN] = np.array(normalization.mean)
        arrays[_VARIANCE] = np.array(normalization.variance)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _plain(variable):
    """Return the values, as float32 where NumPy does not know the type."""
    array = np.asarray(variable)
    return array if array.dtype.isbuiltin == 1 else array.astype("float32")


def read_npz(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], Normalization | None]:
    """Return the arrays of a `.npz` file, and the normalisation in it if there is one.

    Raises:
        ConfigError: If the file is missing, truncated, no NumPy archive, or holds Python objects,
            which are not unpickled.
    """
    path = Path(os.fspath(path))
    if not path.is_file():
        raise ConfigError(f"weights file not found: {path}")
    try:
        if not zipfile.is_zipfile(path):
            raise ConfigError("it is truncated or no .npz file")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"weights of {path} cannot be read: {reason}") from error
    own = [name for name in arrays if name.startswith("normalization/")]
    if sorted(own) != [_MEAN, _VARIANCE]:
        # None, or the weights of a layer of that name, such as one of `keras.layers.Normalization`.
        return arrays, None
    mean, variance = arrays.pop(_MEAN), arrays.pop(_VARIANCE)
    return arrays, Normalization(tuple(mean.tolist()), tuple(variance.tolist()))
