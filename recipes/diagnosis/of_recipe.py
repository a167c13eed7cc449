"""The preflight of a recipe: its network, its loss and optimizer, its augmented batches."""

from typing import TYPE_CHECKING

from recipes.config import Recipe
from recipes.diagnosis.preflight import Preflight, preflight
from recipes.network import Network
from recipes.training import compile_for_soft_labels, make_optimizer, training_pipeline

if TYPE_CHECKING:
    from recipes.data import ImageData


def preflight_recipe(
    recipe: Recipe, data: "ImageData", *, batches: int = 8, steps: int = 100
) -> Preflight:
    """Check a recipe on images as `recipes.train` would train it, in float32.

    Args:
        recipe: What to train.
        data: Its images, from `load_data`.
        batches: As for `preflight`; so is `steps`.

    Returns:
        A `Preflight`.

    Raises:
        ConfigError: If the recipe does not fit the images.
    """
    import keras

    # One step at a time is looked at: of a batch whose gradient is gathered, one part.
    parts = recipe.training.accumulation_steps
    settings = {
        "training.accumulation_steps": 1,
        "training.batch_size": max(recipe.training.batch_size // parts, 2),
    }
    recipe = recipe.override(settings)
    keras.utils.set_random_seed(recipe.training.seed)
    model = Network(recipe, data).build("float32")
    batch_size = min(recipe.training.batch_size, len(data.splits["train"]))
    per_epoch = len(data.splits["train"]) // batch_size
    optimizer = make_optimizer(recipe, model, per_epoch * recipe.training.epochs)
    compile_for_soft_labels(model, optimizer)
    pipeline = training_pipeline(recipe, data, batch_size).take(min(batches, per_epoch))
    return preflight(model, list(pipeline), batches=batches, steps=steps, input_range=(0, 255))
