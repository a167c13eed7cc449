"""What `recipes show-augment` does: choose images and an augmentation, draw the sheet."""

import ast
import functools
from pathlib import Path
from typing import Any

from recipes.errors import ConfigError, DataError, RecipesError, nearest

# Side in pixels of images from single files, where nothing else says.
_SIDE = 224


def run_show_augment(options) -> int | None:
    """Draw the sheet and say where it is."""
    from recipes._commands import print_json
    from recipes._quiet import import_tensorflow

    if options.count < 1 or options.columns < 1:
        raise ConfigError("--count and --columns must be at least 1")
    if options.seed < 0:
        raise ConfigError(f"--seed must be at least 0, received: {options.seed}")
    if options.size is not None and options.size < 1:
        raise ConfigError(f"--size must be at least 1, received: {options.size}")
    import_tensorflow()
    from augment.sheet import check_path, show

    _plainly(check_path, options.out)
    recipe = _recipe(options) if options.recipe else None
    # Before the images are read, which may take a while.
    named = None if recipe else _named(options)
    images, labels, class_names = _images(options, recipe)
    if recipe:
        from recipes.augmentation import recipe_transform

        # A single image file is a single class, of which no targets can be made.
        transform = _plainly(recipe_transform, recipe, max(2, len(class_names)))
        named = transform, f"recipe {recipe.name}"
    augmentation, title = named
    _plainly(
        show,
        augmentation,
        images,
        labels,
        columns=options.columns,
        seed=options.seed,
        class_names=class_names,
        title=title,
        path=options.out,
    )
    result = {
        "file": options.out,
        "augmentation": title,
        "images": len(images),
        "columns": options.columns,
        "seed": options.seed,
    }
    return print_json(result) if options.json else print(options.out)


def _plainly(function, *arguments, **named) -> Any:
    """Call a function of `augment`; say its complaints as those about what a user gave."""
    import tensorflow as tf

    try:
        return function(*arguments, **named)
    except RecipesError:
        raise
    except (OSError, TypeError, ValueError, tf.errors.OpError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RecipesError(lines[0]) from error


def _recipe(options):
    from recipes.catalog import get_recipe
    from recipes.config import parse_settings

    return get_recipe(options.recipe).override(parse_settings(options.set))


def _named(options) -> tuple[Any, str]:
    """Return the operation or policy asked for, and what to call it."""
    from recipes.config import parse_settings

    settings = {name: _value(text) for name, text in parse_settings(options.set).items()}
    if options.policy:
        from augment import policy

        found = _plainly(policy, options.policy, **settings)
        return found, str(found)
    known = operations()
    short = {name.removeprefix("random_"): name for name in known}
    name = options.operation
    name = short.get(name, name)
    if name not in known:
        # Layers are named like RandomFlip.
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        name = name.lstrip("_")
    if name not in known:
        hint = nearest(options.operation, [*known, *short])
        raise ConfigError(
            f"unknown operation {options.operation!r}{hint or ' (known: ' + ', '.join(known) + ')'}"
        )
    make = getattr(known[name], "operation", None) or known[name].mix
    unknown = [key for key in settings if key not in _parameters(make)]
    if unknown:
        hint = nearest(unknown[0], _parameters(make))
        raise ConfigError(f"{name} has no argument {unknown[0]!r}{hint}")
    # Found now, not when the images have been read.
    _plainly(make, **settings)
    arguments = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    return functools.partial(known[name], **settings), f"{name}({arguments})"


def operations() -> dict[str, Any]:
    """Return the operations of `augment` on images and on batches, by name."""
    import augment

    found = {name: getattr(augment, name) for name in augment.__all__}
    return {
        name: value
        for name, value in found.items()
        if not isinstance(value, type) and (hasattr(value, "operation") or hasattr(value, "mix"))
    }


def _parameters(make) -> list[str]:
    import inspect

    return list(inspect.signature(make).parameters)


def _value(text: str) -> Any:
    """Return a Python value, or the text itself where it is none."""
    plain = {"true": True, "false": False, "none": None}
    if text.lower() in plain:
        return plain[text.lower()]
    try:
        return ast.literal_eval(text)
    except (TypeError, ValueError, SyntaxError):
        return text


def _images(options, recipe) -> tuple[Any, Any, tuple[str, ...]]:
    """Return images uint8 `(count, height, width, channels)`, their labels and all class names."""
    if all(Path(source).is_file() for source in options.source):
        return _image_files(options, recipe)
    if len(options.source) > 1:
        missing = next(source for source in options.source if not Path(source).is_file())
        raise DataError(f"there is no image file {missing}")
    return _labelled_images(options, recipe)


def _image_files(options, recipe):
    import numpy as np

    from recipes.data import read_image

    size = options.size or (recipe.data.image_size if recipe else None) or _SIDE
    height, width = (size, size) if isinstance(size, int) else size
    fit = recipe.data.fit if recipe else "crop"
    paths = options.source[: options.count]
    images = [read_image(path, image_shape=(height, width, 3), fit=fit) for path in paths]
    # Each file is a class of its own, so that mixes say what was mixed.
    return np.stack(images), np.arange(len(paths)), tuple(Path(path).stem for path in paths)


def _labelled_images(options, recipe):
    from recipes.data import load_data
    from recipes.training import load_recipe_data

    source = options.source[0]
    if recipe is None:
        data = load_data(source, labels=options.labels, image_size=options.size)
    else:
        if options.size:
            recipe = recipe.override({"data.image_size": options.size})
        data = load_recipe_data(recipe, source, labels=options.labels)
    split = data.splits["train"]
    chosen = _one_of_each_class(split.labels, options.count)
    return split.load(chosen), split.labels[chosen], data.class_names


def _one_of_each_class(labels, count):
    """Return indices of images, the classes in turn, so that mixes are mixes of classes."""
    import numpy as np

    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return np.lexsort((labels, ranks))[:count]
