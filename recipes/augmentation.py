"""From the `augmentation` section of a recipe to the function that a training pipeline maps."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from recipes.config import AugmentationConfig, Recipe
from recipes.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


def recipe_transform(
    recipe: Recipe, classes: int, class_weights: "np.ndarray | None" = None
) -> Callable:
    """Return what a recipe does to the batches it trains on.

    Args:
        recipe: Its `augmentation` section decides.
        classes: Number of classes.
        class_weights: One weight a class, or `None`; with them each image gets a weight.

    Returns:
        The function of `augment.training_transform`: of images uint8, labels and a seed; it returns
        images, targets and, with class weights, weights.
    """
    weights = None if class_weights is None else tuple(map(float, class_weights))
    return _transform(recipe.augmentation, classes, weights)


# TensorFlow never frees what XLA compiled. A search, which trains many recipes in one process,
# would pile it up, and wait for the compiler each time.
@functools.lru_cache(maxsize=16)
def _transform(chosen, classes, class_weights):
    from augment.training import training_transform

    return training_transform(
        classes=classes,
        flip=False if chosen.flip == "none" else chosen.flip,
        crop_padding=chosen.crop_padding,
        crop_fill=chosen.crop_fill,
        cutout_size=chosen.cutout,
        erase_probability=chosen.erase_probability,
        policy=chosen.policy,
        mixup_alpha=chosen.mixup_alpha,
        cutmix_alpha=chosen.cutmix_alpha,
        mix_probability=chosen.mix_probability,
        label_smoothing=chosen.label_smoothing,
        class_weights=class_weights,
    )


def check_augmentation(chosen: AugmentationConfig, image_shape: tuple[int, int, int]) -> None:
    """Raise `ConfigError` for what cannot be had, or not of such images."""
    height, width, channels = image_shape
    if chosen.crop_fill == "reflect" and chosen.crop_padding >= min(height, width):
        raise ConfigError(
            "augmentation.crop_padding must be below height and width where "
            f"augmentation.crop_fill is 'reflect', received: {chosen.crop_padding} for images of "
            f"{height} x {width}"
        )
    if chosen.policy is None:
        return
    from augment.policy_spec import policy_operation

    try:
        value = policy_operation(chosen.policy).arguments.get("value")
    except ValueError as error:
        raise ConfigError(f"augmentation.policy: {error}") from None
    if isinstance(value, tuple) and len(value) != channels:
        raise ConfigError(
            f"augmentation.policy: value must be a number or one for each channel, {channels} in "
            f"these images, received: {value}"
        )
