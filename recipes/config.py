"""A recipe is one value: nested frozen dataclasses of plain types, to JSON and back.

No TensorFlow here, so that recipes can be listed, shown and checked at once.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from recipes.errors import ConfigError, nearest


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: A name of `recipes.models.list_models()`, such as `"resnet20"`.
        width: Channels of the first stage where the family has a free width, or `None` for the
            family's own.
        dropout: Rate before the classifier, in [0, 1), or `None` for the family's own.
        stochastic_depth: Drop rate of the last residual block, in [0, 1), linear rule; or `None`
            for the family's own.
    """

    name: str = "resnet20"
    width: int | None = None
    dropout: float | None = None
    stochastic_depth: float | None = None


@dataclass(frozen=True)
class DataConfig:
    """How images and labels reach the network.

    Attributes:
        image_size: Side of the square image in pixels; `None` keeps a common size, or chooses one.
        color: `"auto"`, `"rgb"` or `"grayscale"`.
        fit: How another aspect ratio is met: `"crop"`, `"stretch"` or `"pad"`.
        validation: Share of the training images held out when the source has no validation split.
        test: Share of the training images held out when the source has no test split.
        split_seed: Seed of those splits. Apart from the training seed, so that runs over several
            seeds are judged on the same images.
        sampling: `"natural"`, or `"balanced"` to draw each class equally often.
        class_weights: Weigh the loss by inverse class frequency.
    """

    image_size: int | None = None
    color: Literal["auto", "rgb", "grayscale"] = "auto"
    fit: Literal["crop", "stretch", "pad"] = "crop"
    validation: float = 0.1
    test: float = 0.1
    split_seed: int = 0
    sampling: Literal["natural", "balanced"] = "natural"
    class_weights: bool = False


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        name: `"sgd"` (Nesterov momentum) or `"adamw"`.
        learning_rate: Peak learning rate, at the batch size of the recipe.
        momentum: For `"sgd"`.
        weight_decay: Decoupled: each step subtracts `learning_rate * weight_decay * weight`.
            Kernels only; biases and normalisation are left alone. (An L2 penalty `p` under SGD
            with momentum `m` corresponds to `p / (1 - m)` here.)
        clip_norm: Upper bound of the global gradient norm, or `None`.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-3
    clip_norm: float | None = None


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves over the run.

    Attributes:
        name: `"cosine"` or `"linear"` decay after the warmup, or `"constant"`.
        warmup: Share of all steps over which the rate rises linearly from 0.
        final: Rate of the last step as a share of the peak.
    """

    name: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = 0.1
    final: float = 0.0


@dataclass(frozen=True)
class AugmentationConfig:
    """What happens to training images and labels.

    Attributes:
        flip: Mirror at random: `"none"`, `"horizontal"` or `"both"`.
        crop_padding: Pad each side by this many pixels, then crop back at random.
        crop_fill: What the padding holds: `"constant"` (black) or `"reflect"`.
        cutout: Side in pixels of a square set to black, 0 for none.
        erase_probability: Chance of a random rectangle being erased (random erasing).
        mixup_alpha: Beta parameter of MixUp, 0 for none.
        cutmix_alpha: Beta parameter of CutMix, 0 for none.
        mix_probability: Share of the batches that MixUp or CutMix touch.
        label_smoothing: Share of the label spread over all classes, in [0, 1).
    """

    flip: Literal["none", "horizontal", "both"] = "horizontal"
    crop_padding: int = 0
    crop_fill: Literal["constant", "reflect"] = "constant"
    cutout: int = 0
    erase_probability: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mix_probability: float = 1.0
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how precisely.

    Attributes:
        epochs: Passes over the training images at most.
        batch_size: Images a step.
        ema: Decay a step of the averaged weights that are validated and kept, or `None`. Early in
            training it is held lower, `(1 + step) / (10 + step)`.
        patience: Epochs without improvement before training stops, or `None` to run all epochs.
        monitor: What early stopping and the choice of the kept epoch look at.
        keep: `"best"` epoch by `monitor`, or the `"last"`.
        precision: `"auto"` takes mixed bfloat16 where the processor computes it, else float32.
        steps_per_execution: Steps a call of the compiled function runs.
        seed: Of initial weights, order of images, augmentation and dropout.
    """

    epochs: int = 30
    batch_size: int = 128
    ema: float | None = None
    patience: int | None = None
    monitor: Literal["val_loss", "val_accuracy", "val_ece", "loss", "accuracy"] = "val_loss"
    keep: Literal["best", "last"] = "best"
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    steps_per_execution: int = 1
    seed: int = 0


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
