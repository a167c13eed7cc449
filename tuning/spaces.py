"""Search spaces over the fields of a recipe, as text, as JSON and as KerasTuner HyperParameters.

A space is declared on a recipe's own fields, a line each:

    optimizer.learning_rate: log 1e-3..1
    model.width: 16, 32, 64
    batch_size: int 32..256 step 32
    augment.strength: 0..2

A name that only one section has may stand alone; `tuning._search_fields` tells what else there is.
No TensorFlow here, so that a space can be read and checked at once.
"""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.config import Recipe
from recipes.errors import ConfigError
from tuning._search_dimensions import (
    Choices,
    Dimension,
    Range,
    encoded,
    is_numeric,
    middle,
    narrowed,
    on_grid,
    read_dimension,
    rounded,
    without_noise,
)
from tuning._search_fields import (
    DEPTH,
    DERIVED,
    check_derived,
    derived_value,
    full_name,
    own_value,
    with_values,
)

if TYPE_CHECKING:
    import keras_tuner

# What the length of a trial and its seed are for is decided by the search.
_RESERVED = {
    "training.epochs": "the search sets it (epochs_per_trial)",
    "training.seed": "trials share a seed; the winner is trained with several (seeds)",
    "name": "it is no field to tune",
    "summary": "it is no field to tune",
}


@dataclasses.dataclass(frozen=True)
class Space:
    """What to vary: fields of a recipe, each with its values.

    Args:
        dimensions: Field to `Choices`, `Range`, a list of values, or a text such as
            `"log 1e-3..1"`; texts and values are read by the type of the field. A field may be
            named without its section where only one has it (`"learning_rate"`); `"optimizer"`
            stands for its name. Besides those of a recipe there are `"model.depth"`, a list, and
            `"augmentation.strength"`, a factor of how much the recipe's augmentations do: padding,
            cutout, erasing, the share of mixed images, RandAugment's magnitude; at 0 there is none
            of them, while flips stay. (A policy without a magnitude is varied as a list:
            `"augmentation.policy": "none, trivialaugment"`.)

    Raises:
        ConfigError: If there is none; for an unknown field (with the nearest name), a value that
            the field does not take, or a range that holds nothing.

    Example:
        >>> space = Space({"learning_rate": "log 1e-3..1", "model.depth": [20, 32]})
        >>> print(space)
        optimizer.learning_rate: log 0.001..1
        model.depth: 20, 32
        >>> Space.from_dict(space.to_dict()) == space
        True
    """

    dimensions: Mapping[str, Dimension]

    def __post_init__(self):
        """Read and check every dimension."""
        if not isinstance(self.dimensions, Mapping):
            raise ConfigError(f"a space must be a mapping of fields, received: {self.dimensions!r}")
        if not self.dimensions:
            raise ConfigError("a space needs at least one field to vary, received none")
        read = {}
        for name, value in self.dimensions.items():
            field = full_name(name)
            if field in read:
                raise ConfigError(f"a space names {field} twice")
            read[field] = _dimension(field, value)
        if DEPTH in read and "model.name" in read:
            raise ConfigError(f"{DEPTH} and model.name both choose the network; vary one of them")
        object.__setattr__(self, "dimensions", read)

    def __str__(self):
        return "\n".join(f"{field}: {values}" for field, values in self.dimensions.items())

    def to_dict(self) -> dict[str, str | list]:
        """Return JSON types: a text for a range, a list for choices."""
        return {
            field: list(values.values) if isinstance(values, Choices) else str(values)
            for field, values in self.dimensions.items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Space":
        """Return the space that `to_dict` gave, or one written by hand."""
        return cls(values)

    @classmethod
    def parse(cls, text: str | Sequence[str]) -> "Space":
        """Read a space, one `field: values` a line; `#` begins a comment.

        Raises:
            ConfigError: As for `Space`; for a line without `:`, or a field named twice.

        Example:
            >>> Space.parse("training.batch_size: int 32..256 step 32").dimensions
            {'training.batch_size': Range(low=32, high=256, log=False, integer=True, step=32)}
        """
        found = {}
        for line in text.splitlines() if isinstance(text, str) else text:
            line = line.partition("#")[0].strip()
            if not line:
                continue
            field, colon, values = (part.strip() for part in line.partition(":"))
            if not colon or not field:
                raise ConfigError(f"a space expects FIELD: VALUES a line, received: {line!r}")
            if field in found:
                raise ConfigError(f"a space names {field} twice")
            found[field] = values
        return cls(found)

    @classmethod
    def from_file(cls, path: str | os.PathLike) -> "Space":
        """Read a space from a text file, or from JSON if its name ends in `.json`.

        Raises:
            ConfigError: If the file cannot be read, or as for `parse`.
        """
        try:
            # Some editors begin UTF-8 with a mark.
            text = Path(path).read_text(encoding="utf-8-sig")
            values = json.loads(text) if Path(path).suffix == ".json" else None
        except OSError as error:
            raise ConfigError(f"cannot read space {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"cannot read space {path}: it is not UTF-8") from error
        except ValueError as error:
            raise ConfigError(f"{path} is not JSON: {error}") from error
        return cls.parse(text) if values is None else cls.from_dict(values)

    def start(self, recipe: Recipe) -> dict[str, Any]:
        """Return the recipe's own values where the space holds them, else the middle of the range.

        A search tries this point first: the recipe as it is, if it can.
        """
        return {
            field: own if (own := own_value(recipe, field)) in values else middle(values)
            for field, values in self.dimensions.items()
        }

    def recipe(self, recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
        """Return a copy of `recipe` with the values of a point of the space.

        Args:
            recipe: What the other fields come from.
            values: Field to value, from `from_hyperparameters`.

        Raises:
            ConfigError: If fields contradict one another.
        """
        return with_values(recipe, {field: values[field] for field in self.dimensions})

    def check(self, recipe: Recipe) -> None:
        """Refuse what a recipe has not: a network of some depth, augmentation to scale.

        Raises:
            ConfigError: If the space names it.
        """
        check_derived(recipe, self.dimensions)

    def to_hyperparameters(
        self, recipe: Recipe | None = None, *, start: Mapping[str, Any] | None = None
    ) -> "keras_tuner.HyperParameters":
        """Return the space as KerasTuner declares it; the defaults are `start(recipe)`.

        Args:
            recipe: Whose values are the defaults, where the space holds them.
            start: Defaults in place of them, by field.

        Numbers stay numbers, so that an algorithm knows their order. Choices among `None`, texts or
        mixed types become texts, which `from_hyperparameters` undoes.
        """
        from tuning._search_tuner import load_keras_tuner

        found = load_keras_tuner().HyperParameters()
        start = self.start(recipe) if recipe and not start else start
        for field, values in self.dimensions.items():
            default = start[field] if start else middle(values)
            if isinstance(values, Range):
                declare, high = (found.Int if values.integer else found.Float), values.high
                if values.step is not None and not values.integer:
                    # KerasTuner counts the steps by //, and 0.5 // 0.1 is 4.
                    high += values.step * 1e-6
                declare(
                    field,
                    min_value=values.low,
                    max_value=high,
                    step=values.step,
                    sampling="log" if values.log else "linear",
                    default=on_grid(values, default),
                )
            elif values.is_boolean:
                found.Boolean(field, default=default)
            else:
                texts = [encoded(values, value) for value in values.values]
                found.Choice(field, texts, default=encoded(values, default))
        return found

    def from_hyperparameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return field to value from the `values` of KerasTuner's HyperParameters."""
        found = {}
        for field, dimension in self.dimensions.items():
            value = values[field]
            if isinstance(dimension, Range):
                value = without_noise(dimension, value)
            elif not is_numeric(dimension):
                by_text = {encoded(dimension, choice): choice for choice in dimension.values}
                value = by_text.get(value, value)
            found[field] = value
        return found

    def narrow(self, points: Sequence[Mapping[str, Any]]) -> "Space":
        """Return the part of the space around some good points.

        A range shrinks to what the points span, and a quarter of that at either end, but to no
        less than a tenth of what it was, and not beyond it; on its own scale, linear or
        logarithmic. Of choices those stay that a point has.

        Args:
            points: Field to value, at least one.

        Raises:
            ConfigError: If there is no point.

        Example:
            >>> space = Space({"optimizer.learning_rate": "log 1e-4..1"})
            >>> print(space.narrow([{"optimizer.learning_rate": rate} for rate in (0.01, 0.1)]))
            optimizer.learning_rate: log 0.00562341..0.177828
        """
        if not points:
            raise ConfigError("narrow needs at least one point of the space, received none")
        return Space(
            {
                field: narrowed(values, [point[field] for point in points])
                for field, values in self.dimensions.items()
            }
        )


def default_space(recipe: Recipe) -> Space:
    """Return what is worth varying in a recipe first: rates, decay, smoothing, dropout.

    Rates and decay reach a factor of ten to either side of the recipe's own; all ranges and choices
    hold the recipe's own value.

    Example:
        >>> from recipes import get_recipe
        >>> print(default_space(get_recipe("fashion-mini")))
        optimizer.learning_rate: log 0.03..3
        optimizer.weight_decay: log 0.0005..0.05
        schedule.warmup: 0..0.4
        augmentation.label_smoothing: 0.0, 0.05, 0.1, 0.2
    """
    rate, decay = recipe.optimizer.learning_rate, recipe.optimizer.weight_decay
    space = {
        "optimizer.learning_rate": Range(rounded(rate / 10), rounded(rate * 10), log=True),
        "optimizer.weight_decay": (
            Range(rounded(decay / 10), rounded(decay * 10), log=True)
            if decay
            else Choices((0.0, 1e-4, 1e-3, 1e-2))
        ),
        "schedule.warmup": Range(0.0, max(0.4, recipe.schedule.warmup)),
        "augmentation.label_smoothing": Choices(
            sorted({0.0, 0.05, 0.1, 0.2, recipe.augmentation.label_smoothing})
        ),
    }
    if recipe.model.dropout is not None:
        space["model.dropout"] = Range(0.0, max(0.5, recipe.model.dropout))
    if recipe.transfer.weights is not None and recipe.transfer.strategy != "frozen":
        space["transfer.rate_decay"] = Range(min(0.3, recipe.transfer.rate_decay), 1.0)
    return Space(space)


def _dimension(field: str, value: Any) -> Dimension:
    """Return a dimension of whatever was given, after trying its values on the field."""
    if field in _RESERVED:
        raise ConfigError(f"{field} cannot be varied: {_RESERVED[field]}")
    kinds = {DERIVED[field]} if field in DERIVED else _kinds(field)
    try:
        found = read_dimension(value, kinds)
        if isinstance(found, Choices):
            return Choices(_typed(field, choice) for choice in found.values)
        if not {int, float} & kinds or field == DEPTH:
            raise ConfigError(f"takes no range, list its values; received: {found}")
        if float not in kinds and not found.integer:
            found = dataclasses.replace(found, integer=True)
    except ConfigError as error:
        raise ConfigError(_with_field(field, str(error))) from None
    for end in (found.low, found.high):
        _typed(field, end)
    return found


def _with_field(field: str, message: str) -> str:
    return message if message.startswith(field) else f"{field}: {message}"


def _kinds(field: str) -> set:
    """Return the types that a field takes."""
    section, _, name = field.partition(".")
    kind = typing.get_type_hints(typing.get_type_hints(Recipe)[section])[name]
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return set(typing.get_args(kind)) if union else {kind}


def _typed(field: str, value: Any) -> Any:
    """Return a value as the field holds it, or refuse it."""
    if field in DERIVED:
        return derived_value(field, value)
    return own_value(Recipe(name="space").override({field: value}), field)
