"""Named policies: single ones, and all the augmentation of published recipes, as data."""

import dataclasses
import difflib

import keras

from augment import _validation, layers
from augment.pipeline import Pipeline

# Mean of ImageNet's training images, which timm puts where nothing is.
_IMAGENET_MEAN = (124, 116, 104)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A published way to augment.

    Attributes:
        steps: For each layer its class's name and its arguments where they are not the defaults.
        source: Where it comes from.
        notes: What a pipeline cannot do or does otherwise, one sentence each.
        size: Height and width that images leave with; `None` for those they came with.
        repeats: How often an image is in a batch, each time augmented anew (repeated augmentation,
            which is a matter of the dataset).
    """

    steps: tuple
    source: str
    notes: tuple[str, ...] = ()
    size: int | None = None
    repeats: int = 1


def _timm_crop(size):
    # PIL, which timm resizes with, always smooths when it makes an image smaller.
    arguments = {"size": size, "interpolation": "bicubic", "antialias": True}
    return "RandomResizedCrop", arguments


def _timm_rand_augment(m):
    return "RandAugment", {
        "n": 2,
        "m": m,
        "std": 0.5,
        "increasing": True,
        "table": "timm",
        "step_probability": 0.5,
        "interpolation": "bilinear",
        "value": _IMAGENET_MEAN,
    }


def _mix(mixup_alpha, label_smoothing):
    return "MixUpOrCutMix", {
        "mixup_alpha": mixup_alpha,
        "cutmix_alpha": 1.0,
        "label_smoothing": label_smoothing,
        "mode": "batch",
    }


_FLIP = ("RandomFlip", {})
_BILINEAR = "timm draws bilinear or bicubic interpolation for shifts and turns; here bilinear."


def _strikes_back(size, m, mixup_alpha, label_smoothing, repeats, name):
    return Preset(
        steps=(
            _timm_crop(size),
            _FLIP,
            _timm_rand_augment(m),
            _mix(mixup_alpha, label_smoothing),
        ),
        source=(
            "Wightman et al., 'ResNet strikes back: An improved training procedure in timm', 2021, "
            f"table 2, {name}"
        ),
        notes=("The loss is the binary cross-entropy of each class.", _BILINEAR),
        size=size,
        repeats=repeats,
    )


PRESETS = {
    "randaugment": Preset(
        steps=(("RandAugment", {}),),
        source="Cubuk et al., 'RandAugment', 2019, in the ranges of torchvision",
    ),
    "trivialaugment": Preset(
        steps=(("TrivialAugmentWide", {}),),
        source="Müller and Hutter, 'TrivialAugment', 2021, the wide ranges",
    ),
    "autoaugment": Preset(
        steps=(("AutoAugment", {}),),
        source="Cubuk et al., 'AutoAugment', 2018",
        notes=("The argument table is 'imagenet', 'cifar10' or 'svhn'.",),
    ),
    "augmix": Preset(
        steps=(("AugMix", {}),),
        source="Hendrycks et al., 'AugMix', 2020",
        notes=("Its loss on three versions of an image is not part of it.",),
    ),
    "3-augment": Preset(
        steps=(("ThreeAugment", {}),),
        source="Touvron et al., 'DeiT III: Revenge of the ViT', 2022, section 3.2",
        notes=("There a crop and a flip come before it.",),
    ),
    "resnet": Preset(
        steps=(
            ("RandomMultiScaleCrop", {"size": 224, "shorter_side": (256, 480)}),
            _FLIP,
            ("RandomLighting", {"components": "imagenet", "deviation": 0.1}),
        ),
        source="He et al., 'Deep Residual Learning for Image Recognition', 2015, section 3.4",
        size=224,
    ),
    "torchvision-v2": Preset(
        steps=(
            ("RandomResizedCrop", {"size": 176, "interpolation": "bilinear", "antialias": True}),
            _FLIP,
            ("TrivialAugmentWide", {"interpolation": "bilinear"}),
            ("RandomErasing", {"probability": 0.1, "fill": "mean"}),
            _mix(0.2, 0.1),
        ),
        source=(
            "Vryniotis, 'How to Train State-Of-The-Art Models Using TorchVision's Latest "
            "Primitives', 2021, and torchvision's references/classification"
        ),
        notes=("It erases with the mean of ImageNet, this with that of the image.",),
        size=176,
        repeats=4,
    ),
    "deit": Preset(
        steps=(
            _timm_crop(224),
            _FLIP,
            _timm_rand_augment(9),
            ("RandomErasing", {"probability": 0.25, "scale": (0.02, 1 / 3), "fill": "noise"}),
            _mix(0.8, 0.1),
        ),
        source=(
            "Touvron et al., 'Training data-efficient image transformers & distillation through "
            "attention', 2020, table 9 and the published code"
        ),
        notes=(
            "It erases with normally distributed noise, this with evenly distributed noise.",
            _BILINEAR,
        ),
        size=224,
        repeats=3,
    ),
    "rsb-a1": _strikes_back(224, 7, 0.2, 0.1, 3, "A1"),
    "rsb-a2": _strikes_back(224, 7, 0.1, 0.0, 3, "A2"),
    "rsb-a3": _strikes_back(160, 6, 0.1, 0.0, 1, "A3"),
    "cifar": Preset(
        steps=(("RandomCrop", {"padding": 4}), _FLIP),
        source="He et al., 'Deep Residual Learning for Image Recognition', 2015, section 4.2",
    ),
    "cifar-strong": Preset(
        steps=(
            ("RandomCrop", {"padding": 4}),
            _FLIP,
            ("TrivialAugmentWide", {}),
            ("Cutout", {"size": 16, "fill": "mean"}),
        ),
        source="Müller and Hutter, 'TrivialAugment', 2021, its experiments on CIFAR",
        notes=("It cuts out to the mean of the data, this to that of the image.",),
    ),
}


@keras.saving.register_keras_serializable(package="keras_recipes")
class Policy(Pipeline):
    """A `Pipeline` with the name of the preset it was made from; made by `policy`.

    Args:
        steps: As for `Pipeline`.
        preset: Name of the preset.
        **kwargs: The further arguments of `Pipeline`.
    """

    def __init__(self, steps, *, preset, **kwargs):
        self.preset = _known("preset", preset, PRESETS)
        super().__init__(steps, **kwargs)

    def __str__(self):
        made_from = PRESETS[self.preset]
        lines = [f"{self.preset}: {made_from.source}."]
        if made_from.repeats > 1:
            lines.append(f"There each image is {made_from.repeats} times in a batch.")
        return "\n".join([*lines, *made_from.notes, super().__str__()])

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "preset": self.preset}


def policy(name, *, classes=None, seed=None, value_range=(0, 255), **changes):
    """Return the augmentation of a published recipe, or a single policy, as a `Pipeline`.

    | Name | What it does | Size |
    |---|---|---|
    | `"randaugment"` | two operations of magnitude 9 of 30 | as it is |
    | `"trivialaugment"` | one operation of any magnitude | as it is |
    | `"autoaugment"` | learned pairs of operations | as it is |
    | `"augmix"` | a mix of chains of operations | as it is |
    | `"3-augment"` | grey, solarize or blur, then colour jitter | as it is |
    | `"resnet"` | crop at a scale of 256 to 480, flip, lighting noise | 224 |
    | `"torchvision-v2"` | crop, flip, TrivialAugment, erasing, MixUp or CutMix | 176 |
    | `"deit"` | crop, flip, RandAugment, erasing, MixUp or CutMix | 224 |
    | `"rsb-a1"`, `"rsb-a2"` | crop, flip, RandAugment, MixUp or CutMix | 224 |
    | `"rsb-a3"` | the same, weaker | 160 |
    | `"cifar"` | crop after padding by 4, flip | as it is |
    | `"cifar-strong"` | the same, TrivialAugment, Cutout | as it is |

    `print` shows all values, the source and what is done otherwise.

    Args:
        name: One of the above.
        classes: Number of classes, for those that mix images (the others have no use for it); may
            be left out if labels are rows.
        seed: Integer, or `None` for a random one.
        value_range: Lowest and highest value of float images.
        **changes: Arguments of the steps that are to have other values, such as `m=7`; for an
            argument that more than one step has, the step's name and a dictionary, such as
            `random_erasing={"probability": 0.1}`. A step's name and `None` leaves it out.

    Returns:
        `Pipeline`, named after the preset when printed.

    Raises:
        ValueError: If the name or a change is unknown, or a value out of range.

    Example:
        >>> print(policy("cifar", seed=1, padding=2))
        cifar: He et al., 'Deep Residual Learning for Image Recognition', 2015, section 4.2.
        Policy(seed=1, value_range=(0, 255), strength=1)
          1. RandomCrop(padding=2, fill='constant', value=0, probability=1.0)
          2. RandomFlip(horizontal=True, vertical=False, probability=0.5)
    """
    preset = PRESETS[_known("policy", name, PRESETS)]
    steps = {_step_name(layer): dict(arguments) for layer, arguments in preset.steps}
    made_by = {_step_name(layer): layer for layer, _ in preset.steps}
    for key, value in changes.items():
        _change(name, steps, made_by, key, value)
    if classes is not None:
        _validation.check_integer("classes", classes, 2)
        for step, arguments in steps.items():
            if "classes" in _arguments(made_by[step]):
                arguments["classes"] = classes
    made = [getattr(layers, made_by[step])(**arguments) for step, arguments in steps.items()]
    return Policy(made, preset=name, seed=seed, value_range=value_range)


def policy_names():
    """Return the names that `policy` knows, a list.

    Example:
        >>> policy_names()[:2]
        ['randaugment', 'trivialaugment']
    """
    return list(PRESETS)


def _change(name, steps, made_by, key, value):
    """Change `steps` (arguments by the names of the steps) as `key` and `value` say."""
    if key in made_by:
        if value is None:
            steps.pop(key, None)
        elif isinstance(value, dict):
            for argument, inner in value.items():
                _known(f"{key} of policy {name!r}", argument, _arguments(made_by[key]))
                steps[key][argument] = inner
        else:
            raise ValueError(f"{key} must be a dictionary or None, received: {value!r}")
        return
    owners = [step for step in steps if key in _arguments(made_by[step])]
    if len(owners) > 1:
        raise ValueError(
            f"{key} is an argument of {' and of '.join(owners)}: say which, such as "
            f"{owners[0]}={{{key!r}: {value!r}}}"
        )
    if not owners:
        known = [*steps, *(entry for step in steps for entry in _arguments(made_by[step]))]
        _known(f"argument of policy {name!r}", key, known)
    steps[owners[0]][key] = value


def _step_name(layer):
    return getattr(layers, layer)._function.__name__


def _arguments(layer):
    # The range of float images is the pipeline's.
    return [name for name in getattr(layers, layer)._arguments if name != "value_range"]


def _known(what, name, known):
    """Return `name` if it is known, else raise `ValueError` with the nearest that is."""
    if name in known:
        return name
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(
        f"{what} must be {' or '.join(map(repr, dict.fromkeys(known)))}, {hint}received: {name!r}"
    )
