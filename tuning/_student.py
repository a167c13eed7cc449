"""Which smaller network `compress` teaches, and how it is built for the images at hand."""

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from recipes.errors import ConfigError

if TYPE_CHECKING:
    import keras

    from recipes.config import Recipe
    from recipes.data import ImageData


@dataclasses.dataclass(frozen=True)
class Student:
    """A network of the catalogue, perhaps of another width.

    Attributes:
        name: One of `recipes.models.list_models()`.
        width: Of its first stage or by which its channels are multiplied, as its builder has it;
            `None` for its own.

    Example:
        >>> str(Student("resnet9", 16))
        'resnet9@16'
    """

    name: str
    width: float | None = None

    def __str__(self) -> str:
        """Return it as `choose_student` reads it."""
        return self.name if self.width is None else f"{self.name}@{self.width:g}"


def choose_student(student: "str | float | None", recipe: "Recipe | None") -> Student:
    """Return the network that is meant.

    Args:
        student: `"NAME"`, `"NAME@WIDTH"`, or a width of the recipe's network; `None`: that network
            at half its width, or, of a family without a free width, its sibling of at most half
            the depth.
        recipe: Of the run whose network is to be compressed, `None` for a model without a run.

    Raises:
        ConfigError: If it is no such network, or cannot be told without a run.

    Example:
        >>> from recipes.config import Recipe
        >>> str(choose_student("mobilenet_v2@0.35", None))
        'mobilenet_v2@0.35'
        >>> recipe = Recipe("mine").override({"model.name": "resnet9"})
        >>> str(choose_student(None, recipe)), str(choose_student(8, recipe))
        ('resnet9@16', 'resnet9@8')
        >>> str(choose_student(None, recipe.override({"model.name": "resnet56"})))
        'resnet20'
    """
    name, width = _read(student)
    if name is None:
        if recipe is None:
            raise ConfigError(
                "student is missing: only of a run the network is known; give the name of one, "
                "such as student='mobilenet_v2@0.35'"
            )
        name = recipe.model.name
        if width is None:
            return _smaller(name, recipe.model.width)
    own = _own_width(name)
    if width is None:
        return Student(name)
    if own is None:
        raise ConfigError(f"student: {name} has no free width, received: {student!r}")
    if isinstance(own, int):
        if width != int(width):
            raise ConfigError(
                f"student: the width of {name} is a whole number, such as {own}, received: "
                f"{student!r}"
            )
        width = int(width)
    return Student(name, width)


def _read(student) -> tuple[str | None, float | None]:
    """Return name and width of what was given, `None` each where it says nothing."""
    if student is None:
        return None, None
    wanted = "student must be 'NAME', 'NAME@WIDTH' or a width, a number above 0, received: "
    if isinstance(student, bool) or not isinstance(student, (str, int, float)):
        raise ConfigError(f"{wanted}{student!r}")
    name, _, width = str(student).rpartition("@")
    if not name and not str(student).startswith("@"):
        try:
            float(width)
        except ValueError:
            return str(student), None
    try:
        number = float(width)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigError(f"{wanted}{student!r}")
    return name or None, number


def _smaller(name: str, width: float | None) -> Student:
    """Return a network of the same family that costs about a quarter, or half of its blocks."""
    own = _own_width(name)
    if own is not None:
        half = (width or own) / 2
        return Student(name, max(1, int(half)) if isinstance(own, int) else half)
    from recipes.models import siblings

    depths = siblings(name)
    own_depth = next((depth for depth, other in depths.items() if other == name), 0)
    lesser = [depth for depth in depths if depth < own_depth]
    if not lesser:
        raise ConfigError(
            f"student is missing: {name} has neither a free width nor a smaller sibling; give the "
            "name of a network, such as student='mobilenet_v2@0.35'"
        )
    halves = [depth for depth in lesser if depth <= own_depth / 2]
    return Student(depths[halves[-1] if halves else lesser[0]])


def _own_width(name: str) -> float | None:
    """Return the width that a network has by itself; `None` if it is not free."""
    from recipes.models import model_arguments

    return model_arguments(name).get("width")


def build_student(student: Student, teacher: "keras.Model", data: "ImageData") -> "keras.Model":
    """Return it with random weights, giving logits, for images and classes of the teacher.

    Raises:
        ConfigError: If it is not smaller than the teacher, or cannot take such images.
    """
    from recipes.models import build_model

    mean, variance = data.statistics()
    given: dict[str, Any] = {} if student.width is None else {"width": student.width}
    model = build_model(
        student.name,
        input_shape=tuple(data.image_shape),
        classes=len(data.class_names),
        classifier_activation=None,
        mean=mean,
        variance=variance,
        **given,
    )
    if model.count_params() >= teacher.count_params():
        raise ConfigError(
            f"student must be smaller than the network, which has {teacher.count_params():,} "
            f"parameters; {student} has {model.count_params():,}"
        )
    return model


def with_probabilities(
    model: "keras.Model", data: "ImageData", contract: dict[str, Any]
) -> "keras.Model":
    """Return a taught student that ends as a trained run does: calibrated probabilities.

    The temperature is fitted on the validation images, as that of a run is; it changes no answer.
    """
    import keras
    import numpy as np

    from callbacks.calibration import fit_temperature
    from recipes.layers import CalibratedSoftmax

    split = data.splits["validation"]
    starts = range(0, len(split), 512)
    chunks = [np.arange(start, min(start + 512, len(split))) for start in starts]
    logits = np.concatenate(
        [model.predict(split.load(chunk), verbose=0, batch_size=128) for chunk in chunks]
    )
    temperature = fit_temperature(logits, np.asarray(split.labels)).temperature
    # Named, since names that count how often they were used would make other bytes each time.
    head = CalibratedSoftmax(
        temperature, tuple(data.class_names), contract, name="calibrated_softmax"
    )
    return keras.Model(model.inputs[0], head(model.outputs[0]), name=model.name)
