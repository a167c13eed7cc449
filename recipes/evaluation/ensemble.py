"""Several classifiers as one, and whatever a caller has as a classifier."""

import copy
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from recipes.errors import RunError
from recipes.evaluation.classifier import Classifier, KerasClassifier, load_classifier


class EnsembleClassifier(Classifier):
    """Several classifiers as one: the mean of their probabilities.

    Args:
        members: Two or more classifiers of the same images and classes.

    Raises:
        RunError: If there are fewer, or they take other images or know other classes.

    Source:
        Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep
        Ensembles", 2017, section 2.4.
    """

    kind = "ensemble"

    def __init__(self, members: Sequence[Classifier]):
        self.members = tuple(members)
        if len(self.members) < 2:
            raise RunError(f"an ensemble needs two models or more, received {len(self.members)}")
        named = next((member for member in self.members if member.named), self.members[0])
        for member in self.members:
            self._check_member(member, named)
        super().__init__(
            None,
            named._image_shape,
            len(named.class_names),
            class_names=list(named.class_names) if named.named else None,
            contract=named.contract,
        )

    def _predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        total = sum(
            member.predict(images, batch_size).astype(np.float64) for member in self.members
        )
        return (total / len(self.members)).astype(np.float32)

    def _name(self) -> str:
        return f"the ensemble of {len(self.members)}"

    @staticmethod
    def _check_member(member, first):
        # A model that takes any size fits any other.
        pairs = zip(member._image_shape, first._image_shape, strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise RunError(
                f"the models of an ensemble take images of {first._image_shape} and "
                f"{member._image_shape}; expected one size"
            )
        names, expected = member.class_names, first.class_names
        if len(names) != len(expected) or (member.named and first.named and names != expected):
            raise RunError(
                f"the models of an ensemble must know the same classes, received {len(expected)} "
                f"({', '.join(expected[:4])}, ...) and {len(names)} ({', '.join(names[:4])}, ...)"
            )


def as_classifier(model: Any, *, from_logits: bool = False) -> Classifier:
    """Return any model, or several, as a `Classifier`.

    Args:
        model: A `keras.Model`, a run directory, a `.keras` or a `.tflite` file, a `Classifier`, or
            a list of any of these: an ensemble that averages their probabilities.
        from_logits: Whether the model, or each of the list, gives logits.

    Raises:
        RunError: If it cannot be loaded or judged.
    """
    if isinstance(model, EnsembleClassifier) and from_logits:
        model = model.members
    if isinstance(model, (list, tuple)):
        return EnsembleClassifier([as_classifier(each, from_logits=from_logits) for each in model])
    if isinstance(model, Classifier):
        if not from_logits:
            return model
        # A copy: the caller's own stays as it is.
        classifier = copy.copy(model)
    elif isinstance(model, (str, os.PathLike)):
        classifier = load_classifier(model)
    elif hasattr(model, "inputs") and callable(model):
        classifier = KerasClassifier(model)
    else:
        raise RunError(
            "expected a keras.Model, a run directory, a .keras or .tflite file, a Classifier or a "
            f"list of these, received: {type(model).__name__}"
        )
    classifier.from_logits = from_logits
    return classifier
