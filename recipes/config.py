"""A recipe is one value: nested frozen dataclasses of plain types, to JSON and back.

No TensorFlow here, so that recipes can be listed, shown and checked at once.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from recipes.config_sections import (
    AugmentationConfig,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
    TransferConfig,
)
from recipes.errors import ConfigError, nearest

__all__ = [
    "AugmentationConfig",
    "DataConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Recipe",
    "ScheduleConfig",
    "TrainingConfig",
    "TransferConfig",
    "parse_settings",
]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run but the images.

    Example:
        >>> recipe = Recipe(name="mine").override({"optimizer.learning_rate": "0.05"})
        >>> recipe.optimizer.learning_rate
        0.05
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    name: str
    summary: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    # Last and off, so that a recipe.json from before there was one still means the same.
    transfer: TransferConfig = field(default_factory=TransferConfig)

    def __post_init__(self):
        """Check every value, so that a recipe that exists can be trained."""
        _check_types(self)
        for path, (valid, expected) in _RANGES.items():
            value = _get(self, path)
            if value is not None and not valid(value):
                raise ConfigError(f"{path} must be {expected}, received: {value!r}")
        if self.data.sampling == "balanced" and self.data.class_weights:
            raise ConfigError(
                "data.sampling='balanced' and data.class_weights=true correct the class "
                "frequencies twice; choose one"
            )
        tunes = self.transfer.weights is not None and self.transfer.strategy != "frozen"
        if tunes and self.transfer.head_epochs >= self.training.epochs:
            raise ConfigError(
                f"transfer.head_epochs must be below training.epochs, {self.training.epochs}, to "
                f"leave epochs for the rest, received: {self.transfer.head_epochs} (the head "
                "alone is transfer.strategy='frozen')"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries of JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Make a recipe from nested dictionaries; missing fields take their defaults.

        Raises:
            ConfigError: For an unknown field (with the nearest name) or an impossible value.
        """
        return _from_dict(cls, values, path="")

    def override(self, settings: Mapping[str, Any]) -> "Recipe":
        """Return a copy with some fields changed.

        Args:
            settings: Dotted field to value; strings are read by the type of the field:
                `{"optimizer.learning_rate": "0.1", "training.patience": "none"}`.

        Raises:
            ConfigError: For an unknown field (with the nearest name) or an impossible value.
        """
        values = self.to_dict()
        for path, value in settings.items():
            kind = _field_types().get(path)
            if kind is None:
                raise ConfigError(f"unknown field {path!r}{nearest(path, _field_types())}")
            *parents, name = path.split(".")
            place = values
            for parent in parents:
                place = place[parent]
            place[name] = _parse(path, value, kind) if isinstance(value, str) else value
        return Recipe.from_dict(values)


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """Split `FIELD=VALUE` texts, as given to `--set`.

    Raises:
        ConfigError: If a text has no `=`.
    """
    settings = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise ConfigError(f"--set expects FIELD=VALUE, received: {text!r}")
        settings[name.strip()] = value.strip()
    return settings


def _share(value: float) -> bool:
    return 0 <= value < 1


_SHARE = (_share, "at least 0 and below 1")
_FRACTION = (lambda value: 0 <= value <= 1, "between 0 and 1")
_POSITIVE = (lambda value: 0 < value < float("inf"), "a positive number")
_NOT_NEGATIVE = (lambda value: 0 <= value < float("inf"), "0 or more")
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model.width": _POSITIVE,
    "model.dropout": _SHARE,
    "model.stochastic_depth": _SHARE,
    "data.image_size": (lambda value: 8 <= value <= 4096, "between 8 and 4096 pixels"),
    "data.validation": (lambda value: 0 < value <= 0.5, "above 0 and at most 0.5"),
    "data.test": (lambda value: 0 <= value <= 0.5, "between 0 and 0.5"),
    "data.split_seed": _NOT_NEGATIVE,
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.momentum": _SHARE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.clip_norm": _POSITIVE,
    "schedule.warmup": _SHARE,
    "schedule.final": _FRACTION,
    "augmentation.crop_padding": _NOT_NEGATIVE,
    "augmentation.cutout": _NOT_NEGATIVE,
    "augmentation.erase_probability": _FRACTION,
    "augmentation.mixup_alpha": _NOT_NEGATIVE,
    "augmentation.cutmix_alpha": _NOT_NEGATIVE,
    "augmentation.mix_probability": _FRACTION,
    "augmentation.label_smoothing": _SHARE,
    "training.epochs": _POSITIVE,
    "training.batch_size": (lambda value: value >= 2, "2 or more"),
    "training.ema": _SHARE,
    "training.patience": _POSITIVE,
    "training.steps_per_execution": _POSITIVE,
    "training.accumulation_steps": _POSITIVE,
    "transfer.head_epochs": _NOT_NEGATIVE,
    "transfer.head_learning_rate": _POSITIVE,
    "transfer.unfreeze_stages": _NOT_NEGATIVE,
    "transfer.rate_decay": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "training.seed": (lambda value: 0 <= value < 2**31, "between 0 and 2147483647"),
}


def _get(recipe: Recipe, path: str) -> Any:
    section, name = path.split(".")
    return getattr(getattr(recipe, section), name)


def _field_types() -> dict[str, Any]:
    """Every dotted field of a recipe that holds a plain value, with its type."""
    found = {}
    for outer, kind in typing.get_type_hints(Recipe).items():
        if dataclasses.is_dataclass(kind):
            for inner, inner_kind in typing.get_type_hints(kind).items():
                found[f"{outer}.{inner}"] = inner_kind
        else:
            found[outer] = kind
    return found


def _from_dict(cls: type, values: Mapping[str, Any], path: str) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'a recipe'} must be a mapping of fields, received: {values!r}")
    kinds = typing.get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        place = f"{path}.{name}" if path else name
        if name not in kinds:
            raise ConfigError(f"unknown field {place!r}{nearest(name, kinds)}")
        inner = kinds[name]
        arguments[name] = (
            _from_dict(inner, value, place) if dataclasses.is_dataclass(inner) else value
        )
    if cls is Recipe and "name" not in arguments:
        raise ConfigError("a recipe needs a name")
    return cls(**arguments)


def _check_types(recipe: Recipe) -> None:
    """Refuse values of another type; whole numbers given for a float become floats."""
    for path, kind in _field_types().items():
        *section, name = path.split(".")
        owner = getattr(recipe, section[0]) if section else recipe
        value = getattr(owner, name)
        float_given_as_integer = type(value) is int and float in _options(kind)
        if float_given_as_integer and int not in _options(kind):
            object.__setattr__(owner, name, float(value))
        elif not _is_a(value, kind):
            raise ConfigError(f"{path} must be {_describe(kind)}, received: {value!r}")


def _options(kind: Any) -> tuple:
    """The alternatives of a union, or the type alone."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _is_a(value: Any, kind: Any) -> bool:
    for option in _options(kind):
        if typing.get_origin(option) is Literal:
            if isinstance(value, str) and value in typing.get_args(option):
                return True
        elif type(value) is option:  # exact, since True is an int to isinstance
            return True
    return False


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _describe(kind: Any) -> str:
    words = []
    for option in _options(kind):
        if typing.get_origin(option) is Literal:
            words.extend(repr(choice) for choice in typing.get_args(option))
        else:
            words.append("none" if option is types.NoneType else _WORDS[option])
    return " or ".join(words)


def _parse(path: str, text: str, kind: Any) -> Any:
    """Read a value typed on the command line by the type of its field."""
    options = _options(kind)
    if types.NoneType in options and text.lower() in ("none", "null"):
        return None
    for option in options:
        if option is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if option in (int, float):
            try:
                return option(text)
            except ValueError:
                continue
        if option is str or typing.get_origin(option) is Literal:
            return text
    raise ConfigError(f"{path} must be {_describe(kind)}, received: {text!r}")
