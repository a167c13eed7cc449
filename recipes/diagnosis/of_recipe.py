"""The preflight of a recipe: its network, its loss and optimizer, its augmented batches."""

from typing import TYPE_CHECKING

from recipes.compiling import compile_model
from recipes.config import Recipe
from recipes.diagnosis.preflight import Preflight, preflight
from recipes.distributed.devices import Devices
from recipes.network import Network
from recipes.training import training_pipeline

if TYPE_CHECKING:
    from recipes.data import ImageData


def preflight_recipe(
    recipe: Recipe, data: "ImageData", *, batches: int = 8, steps: int = 100
) -> Preflight:
    """Check a recipe on images as `recipes.train` would train it, in float32.

    Of a recipe with pretrained weights that is its first phase, without a linear probe before it.

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
    unfreezing = compile_model(recipe, model, _plan(recipe, data, model), per_epoch, Devices())
    if unfreezing is not None:
        unfreezing.prepare(model, 1)
    pipeline = training_pipeline(recipe, data, batch_size).take(min(batches, per_epoch))
    return preflight(model, list(pipeline), batches=batches, steps=steps, input_range=(0, 255))


def _plan(recipe, data, model):
    """Return the phases of a recipe with pretrained weights, or `None` for one without."""
    if recipe.transfer.weights is None:
        return None
    from recipes.transfer.plan import TransferPlan

    images, classes = len(data.splits["train"]), len(data.class_names)
    plan = TransferPlan(recipe, images, classes, lambda line: None)
    plan.check(model)
    return plan
