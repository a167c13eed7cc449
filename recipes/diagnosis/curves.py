"""Curves of a training, from wherever they are kept, with what is known of how it was trained."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from callbacks._measure_names import VALIDATION_NAMES
from recipes.diagnosis.targets import describe_loss, loss_floor
from recipes.errors import RecipesError, RunError, nearest

_ACCURACIES = (
    "accuracy",
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "binary_accuracy",
)
_RATES = ("learning_rate", "lr")


@dataclass(frozen=True)
class Curves:
    """One value an epoch, float64 `(epochs,)`, NaN where it is missing or was not finite.

    Attributes:
        loss: Training loss.
        val_loss: Validation loss, or `None`; so are the following.
        accuracy: Training accuracy in [0, 1].
        val_accuracy: Validation accuracy in [0, 1].
        val_ece: Expected calibration error of the validation images.
        learning_rate: At the end of each epoch.
        classes: Number of classes, or `None` if unknown.
        validation_images: Their number, or `None` if unknown.
        floor: Lowest training loss that label smoothing allows.
        val_floor: The same of the validation loss.
        regularization: What makes training harder than validation: any of `"dropout"`,
            `"augmentation"`, `"mixing"`, `"average"`; `None` if unknown.
    """

    loss: np.ndarray
    val_loss: np.ndarray | None = None
    accuracy: np.ndarray | None = None
    val_accuracy: np.ndarray | None = None
    val_ece: np.ndarray | None = None
    learning_rate: np.ndarray | None = None
    classes: int | None = None
    validation_images: int | None = None
    floor: float = 0.0
    val_floor: float = 0.0
    regularization: frozenset[str] | None = None

    def __len__(self):
        return len(self.loss)


def read_curves(source, classes: int | None = None) -> Curves:
    """Return the curves of a `keras.callbacks.History`, a mapping of lists, or a run directory.

    Args:
        source: What `fit` returned; its `history`; or the path or `recipes.Run` of a run.
        classes: Number of classes, where the source does not tell.

    Raises:
        RunError: If a directory holds no run, or a run without epochs.
        RecipesError: If there is no training loss, or lists differ in length.
    """
    if isinstance(source, Mapping):
        return _from_lists(source, classes=classes)
    if hasattr(source, "history") and hasattr(source, "model"):
        known = _of_model(source.model, classes)
        if set(VALIDATION_NAMES) <= set(source.history):
            known["val_floor"] = 0.0  # `Validation` measured it, without label smoothing
        return _from_lists(source.history, **known)
    if hasattr(source, "directory"):
        source = source.directory
    if isinstance(source, str | os.PathLike):
        return _from_run(source, classes)
    raise RecipesError(
        f"expected a History, a dict of lists or a run directory, received: {type(source).__name__}"
    )


def _from_lists(history: Mapping[str, Sequence], **known) -> Curves:
    if "loss" not in history:
        raise RecipesError(
            f"the history has no 'loss', only: {', '.join(map(str, history)) or 'nothing'}"
            f"{nearest('loss', map(str, history))}"
        )
    if not len(history["loss"]):
        raise RecipesError("the history holds no epoch")
    accuracy = next((name for name in _ACCURACIES if name in history), None)
    names = {
        "loss": "loss",
        "val_loss": "val_loss",
        "accuracy": accuracy,
        "val_accuracy": f"val_{accuracy}",
        "val_ece": "val_ece",
        "learning_rate": next((name for name in _RATES if name in history), None),
    }
    found = {}
    for field, name in names.items():
        if name not in history:
            continue
        values = np.array([_number(value) for value in history[name]], np.float64)
        if len(values) != len(history["loss"]):
            raise RecipesError(
                f"the curves differ in length: {len(history['loss'])} epochs of loss, "
                f"{len(values)} of {name}"
            )
        found[field] = values
    return Curves(**found, **known)


def _number(value):
    return np.nan if value is None else float(value)


def _of_model(model, classes):
    """Return what a compiled Keras model tells of how it was trained."""
    import keras

    from callbacks._layers import walk

    if model is None or not getattr(model, "compiled", False):
        return {"classes": classes}
    facts = describe_loss(model.loss) if not isinstance(model.loss, dict | list) else None
    if classes is None and facts and facts.kind:
        shape = getattr(model, "output_shape", None)
        classes = max(shape[-1], 2) if isinstance(shape, tuple) and shape[-1] else None
        if facts.kind == "binary":
            classes = 2  # each output is yes or no
    floor = 0.0
    if facts and facts.kind and classes:
        floor = loss_floor(np.eye(classes)[:1], None, facts.smoothing)
    layers = [type(layer).__name__ for layer in walk(model)]
    dropped = any("Dropout" in name or "StochasticDepth" in name for name in layers)
    augmented = any(name.startswith("Random") for name in layers)
    # What the data pipeline does is not known; the layers tell at least what is there.
    known = {name for name, there in (("dropout", dropped), ("augmentation", augmented)) if there}
    if isinstance(model, keras.Model) and model.optimizer is not None and model.optimizer.use_ema:
        known.add("average")
    return {
        "classes": classes,
        "floor": floor,
        "val_floor": floor,
        "regularization": frozenset(known) or None,
    }


def _from_run(directory, classes):
    from recipes.evaluation.run_files import read_run

    files = read_run(directory)
    if not files.history:
        raise RunError(f"{directory} has no epoch in its history.jsonl")
    names = {name for epoch in files.history for name in epoch}
    history = {name: [epoch.get(name) for epoch in files.history] for name in names}
    classes = len(files.class_names) or classes
    augmentation = files.recipe.get("augmentation", {})
    floor = 0.0
    if classes:
        smoothing = augmentation.get("label_smoothing", 0.0)
        floor = loss_floor(np.eye(classes)[:1], None, smoothing)
    counts = files.data.get("counts", {}).get("validation")
    return _from_lists(
        {name: values for name, values in history.items() if name != "val_recall"},
        classes=classes or None,
        validation_images=sum(counts) if counts else None,
        floor=floor,
        regularization=_of_recipe(files.recipe),
    )


def _of_recipe(recipe):
    """Return what a recipe does that makes training harder than validation."""
    model, training = recipe.get("model", {}), recipe.get("training", {})
    augmentation = recipe.get("augmentation", {})
    there = {
        "dropout": model.get("dropout") or model.get("stochastic_depth"),
        "augmentation": augmentation.get("flip", "none") != "none"
        or augmentation.get("crop_padding"),
        "mixing": any(map(augmentation.get, ("policy", "cutout", "erase_probability")))
        or (
            any(map(augmentation.get, ("mixup_alpha", "cutmix_alpha")))
            and augmentation.get("mix_probability", 1.0)
        ),
        "average": training.get("ema"),
    }
    return frozenset(name for name, value in there.items() if value)
