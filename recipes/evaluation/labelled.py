"""What a classifier says of labelled images, wherever both come from."""

import dataclasses
import os
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recipes.errors import DataError, RunError
from recipes.evaluation.classifier import Classifier
from recipes.evaluation.ensemble import EnsembleClassifier
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
        model: What it was made of; see `images_of`.
        data: An `ImageData`, a pair `(images, labels)`, a `tf.data.Dataset` of such pairs, a source
            that `load_data` takes, a `Run` for its images, or `None`.
        split: Of an `ImageData`, a run or a source. A source that is not divided is taken whole,
            but that of the model's own run as the run divided it.
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
        data = _load(classifier, images_of(model, data), split, corrupt)
    return _of_image_data(classifier, data, split)


def images_of(models: Any, data: Any) -> Any:
    """Return the run whose division of the images holds for all models, or else `data` itself.

    A model was trained on a part of its run's images, so that only those that the run kept apart
    can judge it: where `data` is `None`, or the source of the run of any of the models.

    Args:
        models: A model, or a list of models and of lists.
        data: As for `predict_labelled`.

    Raises:
        DataError: If such runs have divided their images differently.
    """
    if not (data is None or isinstance(data, (str, os.PathLike))):
        return data
    runs = [Run(folder) for folder in map(_folder, _paths(models)) if _is_run(folder)]
    if data is not None:
        runs = [run for run in runs if _is_source_of(data, run)]
    for run in runs[1:]:
        first, other = runs[0].data, run.data
        if first["fingerprint"] != other["fingerprint"]:
            raise DataError(
                f"all models must be judged on the same images, received those of {first['source']}"
                f" as divided in {runs[0].directory} (fingerprint {first['fingerprint'][:12]}) and "
                f"of {other['source']} in {run.directory} (fingerprint "
                f"{other['fingerprint'][:12]}), of which each may have been trained on a part"
            )
    return runs[0] if runs else data


def _of_image_data(classifier, data, split):
    if split not in ("train", "validation", "test"):
        raise DataError(f"split must be train, validation or test, received: {split!r}")
    chosen = data.splits.get(split)
    if not chosen:
        raise DataError(f"{data.source} has no {split} images")
    labels, names = _common_labels(classifier, chosen.labels, tuple(data.class_names))
    batches = np.array_split(np.arange(len(chosen)), max(1, len(chosen) // _BATCH))
    probabilities = np.concatenate([classifier.predict(chosen.load(batch)) for batch in batches])
    return Predictions(
        probabilities, labels, names, lambda: _sizes(chosen, data.source), split, data
    )


def _common_labels(classifier, labels, names):
    """Return labels in the order of the model's classes, and the names of these.

    Names are found whatever their order and Unicode form, and need not be there all. Names that are
    the numbers of the labels, as of a source without names, are the numbers of the classes if no
    class is named by a number.
    """
    known = classifier.class_names
    if not classifier.named:
        if len(names) != len(known):
            raise DataError(
                f"the model has {len(known)} classes, the images have {len(names)}: {_names(names)}"
            )
        return labels, names
    places = {unicodedata.normalize("NFC", name): place for place, name in enumerate(known)}
    found = [places.get(unicodedata.normalize("NFC", name)) for name in names]
    numbers = names == tuple(map(str, range(len(names)))) and len(names) <= len(known)
    if numbers and all(place is None for place in found):
        return labels, known
    unknown = [names[label] for label in np.unique(labels) if found[label] is None]
    if not unknown:
        return np.array([-1 if place is None else place for place in found])[labels], known
    raise DataError(
        f"the model knows the classes {_names(known)}, but not {_names(unknown)} of the images"
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


def _load(classifier, data, split, corrupt):
    from recipes.data import load_data

    if data is None:
        raise RunError(
            f"no images to evaluate {classifier._name()} on; name a source, or give images"
        )
    if isinstance(data, Run):
        return data_of_run(classifier, data)
    reading = reading_of(classifier)
    found = load_data(data, **reading, corrupt=corrupt, validation=0.0, test=0.0)
    if split not in found.splits or len(found.splits["validation"]) or len(found.splits["test"]):
        return found
    whole = dataclasses.replace(found.splits["train"], name=split)
    return dataclasses.replace(found, splits={**found.splits, split: whole})


def _is_source_of(data, run):
    from recipes.data.sources import stored_source

    return (run.data.get("reload") or {}).get("source") == stored_source(data)


def reading_of(classifier: Classifier) -> dict[str, Any]:
    """Return the arguments of `load_data` that give images as a classifier takes them."""
    contract = classifier.contract
    shape = contract["image_shape"]
    size = None if None in shape else tuple(shape[:2])
    return {"image_size": size, "color": contract["color"], "fit": contract["fit"]}


def data_of_run(classifier: Classifier, run: Run):
    """Return the `ImageData` of a run, in another size if the classifier takes another."""
    from recipes.data import load_data

    try:
        data = run.load_data()
    except RunError as error:
        raise RunError(
            f"no images to evaluate {classifier._name()} on; name a source ({error})"
        ) from error
    if takes(classifier, data.image_shape):
        return data
    return load_data(**data.settings["reload"] | reading_of(classifier))


def takes(classifier: Classifier, image_shape: tuple[int, int, int]) -> bool:
    """Return whether a classifier takes images of a shape."""
    wanted = classifier.contract["image_shape"]
    return all(own in (None, given) for own, given in zip(wanted, image_shape, strict=True))


def _paths(models):
    """Return the paths of models, lists and ensembles among them; those in memory have none."""
    if isinstance(models, EnsembleClassifier):
        models = models.members
    if isinstance(models, (list, tuple)):
        return [path for model in models for path in _paths(model)]
    path = models.path if isinstance(models, Classifier) else models
    return [path] if isinstance(path, (str, os.PathLike)) else []


def _folder(path):
    return path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))


def _is_run(folder):
    return os.path.isfile(os.path.join(folder, "recipe.json"))


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
