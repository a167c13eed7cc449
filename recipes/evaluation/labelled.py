"""What a classifier says of labelled images, wherever both come from."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recipes.errors import DataError, RunError
from recipes.evaluation.classifier import Classifier
from recipes.run import Run

# Images that go through a model at a time; changes speed, not results.
_BATCH = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities and truth.

    Attributes:
        probabilities: float32 `(images, classes)`.
        labels: int64 `(images,)`.
        class_names: One name a class.
        sizes: Function without arguments: the shorter side of each image as it lies on disk, in
            pixels, int64 `(images,)`.
        split: `"train"`, `"validation"` or `"test"`, or `"given"` for images that are no split.
        data: The `ImageData` they were read from, or `None`.
        named: Whether the class names come with the model or the images, rather than being counted.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    sizes: Callable[[], np.ndarray]
    split: str = "given"
    data: Any = None
    named: bool = True


def predict_labelled(
    classifier: Classifier, model: Any, data: Any, *, split: str = "test", corrupt: str = "refuse"
) -> Predictions:
    """Classify labelled images.

    Args:
        classifier: What classifies.
        model: What it was made of; a run is asked for its images if `data` is `None`.
        data: An `ImageData`, a pair `(images, labels)`, a `tf.data.Dataset` of such pairs, a source
            that `load_data` takes, or `None`.
        split: Of an `ImageData` or a source. A source that is not divided is taken whole, but that
            of the model's own run as the run divided it.
        corrupt: `"refuse"` or `"skip"` files that cannot be read.

    Raises:
        RunError: If there is no data, or the model gives no probabilities.
        DataError: If the images or labels cannot be used, or there are none.
    """
    from recipes.data import ImageData
    from recipes.data.datasets import is_dataset

    if is_dataset(data):
        return _of_pairs(classifier, _dataset_batches(data))
    if isinstance(data, (tuple, list)) and len(data) == 2 and not isinstance(data[0], str):
        return _of_pairs(classifier, _array_batches(*data))
    if not isinstance(data, ImageData):
        data = _load(classifier, model, data, split, corrupt)
    return _of_image_data(classifier, data, split)


def is_of_a_run(model: Any) -> bool:
    """Return whether a model, or the first of a list, is a run directory or lies in one."""
    path = _path(model)
    return path is not None and os.path.isfile(os.path.join(_folder(path), "recipe.json"))


def _of_image_data(classifier, data, split):
    if split not in ("train", "validation", "test"):
        raise DataError(f"split must be train, validation or test, received: {split!r}")
    chosen = data.splits.get(split)
    if not chosen:
        raise DataError(f"{data.source} has no {split} images")
    names, known = tuple(data.class_names), classifier.class_names
    if names != known if classifier.named else len(names) != len(known):
        only = sorted(set(names) ^ set(known))
        hint = f"{_names(only)} in one of them only" if only else "in another order"
        raise DataError(
            f"the model knows the classes {_names(known)}, the images have {_names(names)}: {hint}"
        )
    batches = np.array_split(np.arange(len(chosen)), max(1, len(chosen) // _BATCH))
    probabilities = np.concatenate([classifier.predict(chosen.load(batch)) for batch in batches])
    return Predictions(
        probabilities, chosen.labels, names, lambda: _sizes(chosen, data.source), split, data
    )


def _of_pairs(classifier, batches):
    from recipes.data.arrays import check_labels

    probabilities, truths = [], []
    for images, labels in batches:
        if len(images) != len(labels):
            raise DataError(f"there are {len(images)} images but {len(labels)} labels")
        if len(images):
            probabilities.append(classifier.predict(images))
            truths.append(labels)
    if not truths:
        raise DataError("there are no images to evaluate the model on")
    labels, names = check_labels({"given": np.concatenate(truths)}, classifier.class_names)
    return Predictions(
        np.concatenate(probabilities),
        labels["given"],
        names,
        _no_sizes,
        named=classifier.named,
    )


def _array_batches(images, labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if np.ndim(labels) == 0 or len(images) != len(labels):
        count = "no" if np.ndim(labels) == 0 else len(labels)
        raise DataError(f"there are {len(images)} images but {count} labels")
    for start in range(0, len(images), _BATCH):
        yield np.asarray(images[start : start + _BATCH]), np.asarray(labels[start : start + _BATCH])


def _dataset_batches(dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    import tensorflow as tf

    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise DataError("the dataset is infinite; end it with .take(n)")
    spec = dataset.element_spec
    if isinstance(spec, dict) and {"image", "label"} <= set(spec):
        dataset = dataset.map(lambda element: (element["image"], element["label"]))
        spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise DataError(f"the elements of the dataset are {spec!r:.120}; expected (images, labels)")
    if getattr(spec[0], "shape", None) is not None and spec[0].shape.rank == 3:
        dataset = dataset.batch(_BATCH)
    yield from dataset.as_numpy_iterator()


def _load(classifier, model, data, split, corrupt):
    from recipes.data import load_data

    if data is None or (is_of_a_run(model) and _is_source_of_run(data, model)):
        return _data_of_run(model)
    contract = classifier.contract or {}
    shape = contract.get("image_shape")
    found = load_data(
        data,
        image_size=tuple(shape[:2]) if shape and None not in shape else None,
        color=contract.get("color", "auto"),
        fit=contract.get("fit", "crop"),
        corrupt=corrupt,
        validation=0.0,
        test=0.0,
    )
    if split not in found.splits or len(found.splits["validation"]) or len(found.splits["test"]):
        return found
    whole = dataclasses.replace(found.splits["train"], name=split)
    return dataclasses.replace(found, splits={**found.splits, split: whole})


def _is_source_of_run(data, model):
    source = (Run(_folder(_path(model))).data.get("reload") or {}).get("source")
    if source is None or not isinstance(data, (str, os.PathLike)):
        return False
    return source in (os.fspath(data), os.path.abspath(os.path.expanduser(data)))


def _data_of_run(model):
    path = _path(model)
    if path is None:
        raise RunError("no images to evaluate the model on; name a source, or give images")
    try:
        return Run(_folder(path)).load_data()
    except RunError as error:
        raise RunError(f"no images to evaluate {path} on; name a source ({error})") from error


def _path(model):
    """Return the path of a model, or of the first of a list, or `None`."""
    if isinstance(model, (list, tuple)) and model:
        model = model[0]
    path = model.path if isinstance(model, Classifier) else model
    return path if isinstance(path, (str, os.PathLike)) else None


def _folder(path):
    return path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))


def _sizes(split, source):
    from recipes.data.decoding import read_header

    if split.paths is None:
        raise DataError(
            f"the images of {source} have one size in memory and none on disk: slices by size need "
            "images in files"
        )
    return np.array([min(read_header(path)[:2]) for path in split.paths])


def _no_sizes():
    raise DataError("slices by size need images in files; give the sizes as a column instead")


def _names(names):
    shown = ", ".join(map(str, names[:6]))
    return f"{shown}, …" if len(names) > 6 else shown
