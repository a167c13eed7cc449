"""Measure a model that lies on disk on labelled images."""

import os
from typing import TYPE_CHECKING

from recipes._quiet import import_tensorflow
from recipes.errors import DataError, RunError
from recipes.run import Run

if TYPE_CHECKING:
    from recipes.data import ImageData


def evaluate(
    model: str | os.PathLike,
    data: "ImageData | str | None" = None,
    *,
    split: str = "test",
    corrupt: str = "refuse",
) -> dict:
    """Return the classification metrics of a run, a `.keras` or a `.tflite` file.

    Args:
        model: Run directory or model file.
        data: Labelled images: an `ImageData`, or a source that `load_data` takes, read the way the
            model's contract says. `None`: the images of the run.
        split: `"train"`, `"validation"` or `"test"`.
        corrupt: `"refuse"` or `"skip"` image files that cannot be read.

    Returns:
        What `classification_metrics` gives, and `"split"`.

    Raises:
        RunError: If there is no such model, or no images to measure it on.
        DataError: If the images cannot be used, or are of other classes.

    Example:
        >>> evaluate("runs/demo/model.tflite", "fashion-mini")["accuracy"]  # doctest: +SKIP
        0.905
    """
    if not os.fspath(model).endswith(".tflite"):  # LiteRT starts in a tenth of the time
        import_tensorflow()
    import numpy as np

    from recipes.evaluation.classifier import load_classifier
    from recipes.evaluation.metrics import classification_metrics

    classifier = load_classifier(model)
    data = _load(classifier, model, data, corrupt)
    chosen = data.splits.get(split)
    if not chosen:
        raise DataError(f"{data.source} has no {split} images")
    if list(data.class_names) != list(classifier.class_names):
        raise DataError(
            f"the model knows the classes {_names(classifier.class_names)}, "
            f"the images have {_names(data.class_names)}"
        )
    batches = np.array_split(np.arange(len(chosen)), max(1, len(chosen) // 256))
    probabilities = np.concatenate([classifier.predict(chosen.load(batch)) for batch in batches])
    metrics = classification_metrics(probabilities, chosen.labels, data.class_names)
    return {"split": split, **metrics}


def _load(classifier, model, data, corrupt):
    from recipes.data import ImageData, load_data

    if isinstance(data, ImageData):
        return data
    if data is None:
        folder = os.fspath(model)
        if not os.path.isdir(folder):
            folder = os.path.dirname(os.path.abspath(folder))
        try:
            return Run(folder).load_data()
        except RunError as error:
            raise RunError(f"no images to evaluate {model} on; name a source ({error})") from error
    contract = classifier.contract or {}
    shape = contract.get("image_shape")
    return load_data(
        data,
        image_size=tuple(shape[:2]) if shape else None,
        color=contract.get("color", "auto"),
        fit=contract.get("fit", "crop"),
        corrupt=corrupt,
    )


def _names(names):
    shown = ", ".join(map(str, names[:6]))
    return f"{shown}, …" if len(names) > 6 else shown
