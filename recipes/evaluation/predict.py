"""Classify image files with a model that lies on disk."""

import os
from collections.abc import Iterable

from recipes.errors import ConfigError, RunError


def predict(
    model: str | os.PathLike,
    images: str | os.PathLike | Iterable[str | os.PathLike],
    *,
    top: int = 3,
) -> list[dict]:
    """Return the calibrated classes of image files.

    Each image is decoded, turned, coloured and resized as the training images were: the contract
    inside the model says how.

    Args:
        model: Run directory, `.keras` or `.tflite` file.
        images: Path of an image file, or any number of paths.
        top: How many classes to give an image, 1 or more.

    Returns:
        One dictionary an image: `"file"`, `"class"`, `"probability"` and `"top"`, a list of
        `{"class", "probability"}`, most probable first.

    Raises:
        RunError: If there is no such model, or it does not say what images it takes.
        DataError: If an image is missing or cannot be read; the path is named.

    Example:
        >>> predict("runs/demo", ["shirt.png"])[0]["class"]                 # doctest: +SKIP
        'Shirt'
    """
    import numpy as np

    if top < 1:
        raise ConfigError(f"top must be 1 or more, received: {top!r}")
    from recipes.data import read_image
    from recipes.evaluation.classifier import load_classifier

    classifier = load_classifier(model)
    shape, fit = tuple(classifier.contract["image_shape"]), classifier.contract["fit"]
    if None in shape:
        raise RunError(
            f"{model} takes images of any size and does not say which; it was not made by a recipe"
        )
    images = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    if not images:
        return []
    decoded = [read_image(path, image_shape=shape, fit=fit) for path in images]
    probabilities = classifier.predict(np.stack(decoded))
    return [
        _prediction(os.fspath(path), row, classifier.class_names, top)
        for path, row in zip(images, probabilities, strict=True)
    ]


def _prediction(file, probabilities, class_names, top):
    guesses = [
        {"class": str(class_names[index]), "probability": float(probabilities[index])}
        for index in (-probabilities).argsort(kind="stable")[:top]
    ]
    return {"file": file, **guesses[0], "top": guesses}
