"""The network that a recipe names, for the images at hand."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.config import Recipe
from recipes.errors import ConfigError

if TYPE_CHECKING:
    import keras

    from recipes.data import ImageData


class Network:
    """Builds the network of a recipe for given images, at any precision.

    Args:
        recipe: What to build.
        data: The images that it is for: their shape, classes and statistics.
    """

    def __init__(self, recipe: Recipe, data: "ImageData"):
        self.chosen = recipe.model
        self.transfer = recipe.transfer
        self.classes = len(data.class_names)
        self.input_shape = tuple(data.image_shape)
        # A pretrained backbone brings the normalisation that it was trained with.
        self.statistics = None if recipe.transfer.weights is not None else data.statistics()

    def build(self, precision: str, *, pretrained: bool = True) -> "keras.Model":
        """Return the network, which gives logits.

        Args:
            precision: Name of a dtype policy.
            pretrained: Whether to load the pretrained weights that the recipe may ask for; not
                needed where others are to be set.
        """
        with _dtype_policy(precision):
            if self.transfer.weights is None:
                return self._plain()
            return self._on_backbone(self.transfer.weights if pretrained else None)

    def _plain(self):
        from recipes.models import build_model

        mean, variance = self.statistics
        return build_model(
            self.chosen.name,
            input_shape=self.input_shape,
            classes=self.classes,
            classifier_activation=None,
            mean=mean,
            variance=variance,
            **self._given("width", "dropout", "stochastic_depth"),
        )

    def _on_backbone(self, weights):
        from recipes.transfer.model import transfer_model

        return transfer_model(
            self.chosen.name,
            self.classes,
            input_shape=self.input_shape,
            weights=weights,
            dropout=self.chosen.dropout or 0.0,
            classifier_activation=None,
            backbone_arguments=self._given("width", "stochastic_depth"),
        )

    def _given(self, *names):
        """Only what the recipe asks for: a family without, say, a free width then refuses it."""
        values = {name: getattr(self.chosen, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def weights_digest(source: str | None) -> str | None:
    """Return the SHA-256 of a weights file; the source itself if it is a name, not a file.

    Raises:
        ConfigError: If the file cannot be read.
    """
    if source is None or (source == "imagenet" and not Path(source).exists()):
        return source
    try:
        return hashlib.sha256(Path(source).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot read weights {source}: {error.strerror or error}") from error


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
