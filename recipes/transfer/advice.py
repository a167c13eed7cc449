"""How much of a pretrained network to train, by how many images there are."""

import dataclasses
from collections.abc import Callable

import keras

from recipes.errors import ConfigError
from recipes.transfer.freezing import layer_groups

# Below the first, frozen features; from the second on, everything.
FEW, MANY = 1_000, 10_000


@dataclasses.dataclass(frozen=True)
class Advice:
    """What to do with so many images.

    Attributes:
        strategy: `"frozen"`: train the head alone. `"partial"`: then the last stages, too.
            `"full"`: then everything.
        stages: Stages to unfreeze, counted from the end: 0, 2, or `None` for all.
        reason: The advice in words.
    """

    strategy: str
    stages: int | None
    reason: str


def advise(images: int, classes: int) -> Advice:
    """Return how much of a pretrained network to train on so many images.

    A rule of thumb, not a law: the nearer the images to those of the pretraining, the longer frozen
    features do. On enlarged Fashion-MNIST, which is far from photographs, fine-tuning everything at
    a low rate after a linear probe was 3 to 4 points better from 100 images on
    (`benchmarks/transfer.py`): where validation images say so, ask for more than is advised.

    Args:
        images: Training images.
        classes: Their classes.

    Raises:
        ConfigError: If a number is not a positive integer.

    Example:
        >>> advise(300, 3).strategy, advise(3_000, 3).stages, advise(30_000, 3).strategy
        ('frozen', 2, 'full')
    """
    for name, value in (("images", images), ("classes", classes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a positive integer, received: {value!r}")
    each = f"{images:,} training images, {images / classes:,.0f} a class"
    if images < FEW:
        return Advice(
            "frozen",
            0,
            f"{each}: fewer than {FEW:,} move a backbone away from what it knows; "
            "train the head on frozen features",
        )
    if images < MANY:
        return Advice(
            "partial",
            2,
            f"{each}: enough for the last stages; train the head first, then two stages with it",
        )
    return Advice(
        "full",
        None,
        f"{each}: enough for the whole network; train the head first, then everything",
    )


def unfrozen_by(
    advice: Advice, model: keras.Model, say: Callable[[str], None] | None = None
) -> dict[str, int]:
    """Return the advice as arguments of `unfreeze`, for a model.

    One with fewer stages than advised, or with none that can be told apart, is unfrozen as a whole.

    Args:
        advice: What is advised.
        model: Of which to unfreeze the last stages.
        say: Receives it if the model has not so many; `None` for silence.

    Example:
        >>> from recipes.transfer import transfer_model
        >>> unfrozen_by(advise(3_000, 3), transfer_model("resnet20", 3, weights=None))
        {'stages': 2}
    """
    if advice.stages is None:
        return {}
    try:
        stages = len(layer_groups(model)) - 1  # The last group is the head.
    except ConfigError:
        stages = 0
    if advice.stages <= stages:
        return {"stages": advice.stages}
    if say is not None:
        say(f"{model.name} has no {advice.stages} stages to choose from: all of it is tuned")
    return {}
