"""Model builders, one module a family, and `build_model` to reach each by its name.

Importing this package loads neither Keras nor TensorFlow; the first builder that is used does.
"""

import fnmatch
import importlib
import re
from collections.abc import Callable
from typing import Any

from recipes.errors import ConfigError, nearest

_BUILDERS = {
    "build_alexnet": "recipes.models.alexnet",
    "build_application": "recipes.models.applications",
    "build_convnext": "recipes.models.convnext",
    "build_efficientnet_lite": "recipes.models.efficientnet_lite",
    "build_googlenet": "recipes.models.googlenet",
    "build_mobilenet": "recipes.models.mobilenet",
    "build_mobilenet_v2": "recipes.models.mobilenet",
    "build_plain": "recipes.models.plain",
    "build_resnet": "recipes.models.resnet",
    "build_resnet9": "recipes.models.resnet9",
    "build_vgg": "recipes.models.vgg",
    "build_wide_resnet": "recipes.models.wide_resnet",
}

_CIFAR_RESNETS = (20, 32, 44, 56, 110, 164)
_IMAGENET_RESNETS = (18, 34, 50, 101, 152)
_WIDE_RESNETS = ((16, 4), (16, 8), (16, 10), (22, 8), (28, 2), (28, 10), (40, 2), (40, 4), (40, 8))

# Listed here, since asking `keras.applications` would load Keras.
_APPLICATIONS = (
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    *(f"DenseNet{depth}" for depth in (121, 169, 201)),
    *(f"EfficientNetB{scale}" for scale in range(8)),
    *(f"EfficientNetV2{scale}" for scale in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetLarge", "NASNetMobile"),
    *(f"ResNet{depth}{version}" for depth in (50, 101, 152) for version in ("", "V2")),
    *("VGG16", "VGG19", "Xception"),
)

# name: builder, the arguments that the name stands for
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet9": ("build_resnet9", {}),
    **{
        f"resnet{depth}": ("build_resnet", {"depth": depth})
        for depth in (*_CIFAR_RESNETS, *_IMAGENET_RESNETS)
    },
    **{
        f"resnet{depth}_{version}": ("build_resnet", {"depth": depth, "version": version})
        for version, depths in (
            ("v1", _IMAGENET_RESNETS),
            ("v2", _CIFAR_RESNETS),
            ("v2", _IMAGENET_RESNETS),
            ("d", _IMAGENET_RESNETS),
        )
        for depth in depths
    },
    **{
        f"{attention}_resnet{depth}": ("build_resnet", {"depth": depth, "attention": attention})
        for attention in ("se", "eca", "cbam")
        for depth in (*_CIFAR_RESNETS, *_IMAGENET_RESNETS)
    },
    **{
        f"plain{depth}": ("build_plain", {"depth": depth})
        for depth in (20, 32, 44, 56, 110, 18, 34)
    },
    **{
        f"wide_resnet{depth}_{width}": ("build_wide_resnet", {"depth": depth, "width": width})
        for depth, width in (*_WIDE_RESNETS, (50, 2), (101, 2))
    },
    **{
        f"vgg{depth}{suffix}": ("build_vgg", {"depth": depth, "batch_norm": batch_norm})
        for suffix, batch_norm in (("", False), ("_bn", True))
        for depth in (11, 13, 16, 19)
    },
    "alexnet": ("build_alexnet", {}),
    "googlenet": ("build_googlenet", {}),
    "mobilenet": ("build_mobilenet", {}),
    "mobilenet_v2": ("build_mobilenet_v2", {}),
    **{
        f"efficientnet_lite{variant}": ("build_efficientnet_lite", {"variant": variant})
        for variant in range(5)
    },
    **{
        f"convnext_{variant}": ("build_convnext", {"variant": variant})
        for variant in ("tiny", "small", "base", "large")
    },
    **{f"keras:{name}": ("build_application", {"application": name}) for name in _APPLICATIONS},
}

_WILDCARDS = set("*?[")

__all__ = ["build_model", "list_models", "model_arguments", *_BUILDERS]


def __getattr__(name: str) -> Callable:
    if name not in _BUILDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    builder = getattr(importlib.import_module(_BUILDERS[name]), name)
    globals()[name] = builder
    return builder


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def list_models(filter: str | None = None) -> list[str]:
    """Return the names that `build_model` knows.

    Args:
        filter: Which of them: a pattern with `*`, `?` or `[...]` for the whole name, or a part of
            it; in either case. `None` for all.

    Raises:
        ConfigError: If `filter` is not text, or no name fits it.

    Example:
        >>> list_models("vgg1?")
        ['vgg11', 'vgg13', 'vgg16', 'vgg19']
        >>> list_models("19_bn")
        ['vgg19_bn']
    """
    if filter is None:
        return list(_MODELS)
    if not isinstance(filter, str):
        raise ConfigError(f"filter must be text such as 'resnet*', received: {filter!r}")
    pattern = filter.lower() if _WILDCARDS & set(filter) else f"*{filter.lower()}*"
    found = [name for name in _MODELS if fnmatch.fnmatchcase(name.lower(), pattern)]
    if not found:
        raise ConfigError(f"no model fits {filter!r}{_nearest_model(filter.strip('*?'))}")
    return found


def build_model(name: str, /, **arguments: Any):
    """Build the model called `name`.

    Args:
        name: One of `list_models()`, or "keras:" and any name in `keras.applications`.
        **arguments: Keyword arguments of its builder, such as `input_shape` and `classes`. What
            the name says, such as the depth, is not among them; `name` renames the model.

    Returns:
        A `keras.Model`; see `build_resnet`, `build_resnet9` and `build_vgg`.

    Raises:
        ConfigError: If the name or an argument is unknown or wrong; the nearest name is given.

    Example:
        >>> build_model("resnet20", classes=100).name
        'resnet20'
    """
    builder_name, fixed = _find(name)
    builder = __getattr__(builder_name)
    _check_arguments(name, builder, fixed, arguments)
    return builder(**fixed, **{"name": name.replace(":", "_"), **arguments})


def model_arguments(name: str) -> dict[str, Any]:
    """Return the keyword arguments that `build_model` takes for a name, with their defaults.

    Raises:
        ConfigError: If the name is unknown.

    Example:
        >>> model_arguments("mobilenet_v2")["width"]
        1.0
    """
    builder_name, fixed = _find(name)
    defaults = __getattr__(builder_name).__kwdefaults__
    return {argument: value for argument, value in defaults.items() if argument not in fixed}


def siblings(name: str) -> dict[int, str]:
    """Return the models that are as one but for the first number in their names, often the depth.

    Networks of the CIFAR experiments and of the ImageNet ones are no siblings of one another.

    Args:
        name: One of `list_models()`, or "keras:" and any name in `keras.applications`.

    Returns:
        Names by that number, `name` among them; empty if it has no number.

    Raises:
        ConfigError: If the name is unknown.

    Example:
        >>> siblings("plain34")
        {18: 'plain18', 34: 'plain34'}
    """
    builder, fixed = _find(name)
    pattern, numbers = re.subn(r"[0-9]+", "([0-9]+)", re.escape(name), count=1)
    found = {}
    for other, (its_builder, its_fixed) in _MODELS.items() if numbers else ():
        match = re.fullmatch(pattern, other)
        if match and its_builder == builder and _is_imagenet(its_fixed) == _is_imagenet(fixed):
            found[int(match[1])] = other
    return dict(sorted(found.items()))


def _is_imagenet(fixed):
    return fixed.get("depth") in _IMAGENET_RESNETS


def _find(name):
    """Return the builder of a model and the arguments that its name stands for."""
    if name in _MODELS:
        return _MODELS[name]
    prefix, _, application = str(name).partition(":")
    if prefix == "keras" and application:
        # Perhaps of a newer Keras; the builder says if not.
        return "build_application", {"application": application}
    raise ConfigError(f"unknown model {name!r}{_nearest_model(str(name))}")


def _nearest_model(name):
    """Return a hint at the same name with the nearest numbers, or else at one spelled alike."""

    def numbers(text):
        return [int(number) for number in re.findall(r"[0-9]+", text)]

    def words(text):
        return re.sub(r"[0-9]+", "#", text)

    alike = [known for known in _MODELS if words(known) == words(name) != name]
    if not alike:
        return nearest(name, _MODELS)

    def distance(known):
        return sum(abs(a - b) for a, b in zip(numbers(known), numbers(name), strict=True))

    return f"; did you mean '{min(alike, key=distance)}'?"


def _check_arguments(name, builder, fixed, arguments):
    known = set(builder.__kwdefaults__) - set(fixed)
    for argument in arguments:
        if argument in fixed:
            raise ConfigError(f"{argument} is part of the name {name!r} and cannot be given")
        if argument not in known:
            raise ConfigError(f"{name} takes no argument {argument!r}{nearest(argument, known)}")
