"""What a search tunes: a recipe, or a model of the user's own; both look alike to a stage.

Both can be sent to other processes, without what TensorFlow keeps in them.
"""

import dataclasses
import math
import os

from recipes.errors import ConfigError
from tuning.spaces import Space, default_space


class RecipeSubject:
    """A recipe to be tuned, its space and its images."""

    def __init__(self, recipe, space, epochs):
        from recipes.training import resolve_recipe

        self.recipe = resolve_recipe(recipe)
        self.space = _as_space(space) if space is not None else default_space(self.recipe)
        self.space.check(self.recipe)
        self.epochs = epochs or math.ceil(self.recipe.training.epochs / 4)
        self.data = self.classes = None
        self.model = None

    def load(self, data):
        """Read the images, once."""
        from recipes.training import load_recipe_data
        from tuning._search_runners import without_test

        changed = [field for field in self.space.dimensions if field.startswith("data.")]
        reading = set(changed) - {"data.sampling", "data.class_weights"}
        if reading:
            raise ConfigError(
                f"{sorted(reading)[0]} cannot be varied: the images are read once for all trials"
            )
        self.data = without_test(load_recipe_data(self.recipe, data))
        if not len(self.data.splits["validation"]):
            raise ConfigError("a search needs validation images to judge trials by")
        self.classes = len(self.data.class_names)

    @property
    def images(self):
        """The `ImageData`."""
        return self.data

    def __getstate__(self):
        return {**vars(self), "data": self.data and _bare(self.data)}

    def to_dict(self):
        """Return what tells one search from another, JSON types."""
        return {
            "recipe": self.recipe.to_dict(),
            "space": self.space.to_dict(),
            "epochs_per_trial": self.epochs,
            "data": self.data.fingerprint,
        }

    def of_length(self, values, epochs):
        """Return the recipe of a trial; the phases of a transfer keep their shares."""
        changed = {"training.epochs": epochs}
        head = self.recipe.transfer.head_epochs
        if head:
            share = head / self.recipe.training.epochs
            changed["transfer.head_epochs"] = min(max(1, round(share * epochs)), epochs - 1)
        return self.space.recipe(self.recipe.override(changed), values)

    def winner(self, best):
        """Return the recipe with the best values, at its full length."""
        tuned = self.space.recipe(self.recipe, best.values)
        return tuned.override({"name": f"{self.recipe.name}-tuned"})


class ModelSubject:
    """A user's own model, which declares its space, and data for `fit`."""

    recipe = space = classes = None

    def __init__(self, model, space, epochs):
        if space is not None:
            raise ConfigError("space must be None for a model of your own: it declares its own")
        if epochs is None:
            raise ConfigError("epochs_per_trial is needed for a model of your own")
        self.model = model
        self.epochs = epochs
        self.data = self.images = None

    def __getstate__(self):
        if self.images is None:
            return vars(self)
        return {**vars(self), "data": None, "images": _bare(self.images)}

    def __setstate__(self, state):
        vars(self).update(state)
        if self.images is not None:
            self.load(self.images)

    def load(self, data):
        """Take training and validation data."""
        from recipes.data import ImageData, load_data

        if isinstance(data, (str, os.PathLike)):
            data = load_data(data)
        if isinstance(data, ImageData):
            self.images = data
            data = (data.train, data.validation)
        if not isinstance(data, tuple) or len(data) != 2:
            raise ConfigError(
                "data must be from load_data or (train, validation) for a model of your own, "
                f"received: {type(data).__name__}"
            )
        self.data = data

    def to_dict(self):
        """Return what tells one search from another, as far as it can be told."""
        kind = self.model if hasattr(self.model, "__qualname__") else type(self.model)
        return {"model": kind.__qualname__, "epochs_per_trial": self.epochs}

    def winner(self, best):
        """Return None: there is no recipe."""


def subject_of(recipe, space, epochs):
    """Return the subject for the first arguments of `search`.

    Args:
        recipe: Recipe, name of one, hypermodel or model-building function.
        space: As for `search`.
        epochs: Of a trial, or `None`.

    Raises:
        ConfigError: If they do not fit one another.
    """
    if epochs is not None and (type(epochs) is not int or epochs < 1):
        raise ConfigError(f"epochs_per_trial must be a whole number above 0, received: {epochs!r}")
    own = callable(recipe) or callable(getattr(recipe, "build", None))
    return (ModelSubject if own else RecipeSubject)(recipe, space, epochs)


def _bare(data):
    """Return images without the tensors that were made of them."""
    splits = {name: dataclasses.replace(split) for name, split in data.splits.items()}
    return dataclasses.replace(data, splits=splits)


def _as_space(space):
    if isinstance(space, Space):
        return space
    return Space.from_file(space) if isinstance(space, (str, os.PathLike)) else Space(space)
