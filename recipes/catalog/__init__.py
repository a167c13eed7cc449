"""The catalogue: one file a recipe, each with `config()`; its docstring says what it gave.

No TensorFlow here, so that listing is instant.
"""

import importlib
import pkgutil
from pathlib import Path

from recipes.config import Recipe
from recipes.errors import ConfigError, nearest
from recipes.files import read_json


def list_recipes() -> list[str]:
    """Return the names of the catalogue, sorted.

    Example:
        >>> "fashion-mini" in list_recipes()
        True
    """
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def get_recipe(name: str) -> Recipe:
    """Return a recipe by its name, or from a JSON file (`recipe.json` of a run, say).

    Args:
        name: A name of `list_recipes()`, or the path of a file that ends in `.json`.

    Raises:
        ConfigError: If there is none, with the nearest name; or if the file is wrong.

    Example:
        >>> get_recipe("fashion-mini").model.name
        'resnet9'
    """
    if name.endswith(".json"):
        return _from_file(Path(name))
    return _module(name).config()


def recipe_notes(name: str) -> str:
    """Return what the catalogue says of a recipe: source, command, measured result."""
    return (_module(name).__doc__ or "").strip()


def _module(name):
    if name not in list_recipes():
        raise ConfigError(
            f"unknown recipe {name!r}{nearest(name, list_recipes())} "
            f"(known: {', '.join(list_recipes())}, or the path of a .json file)"
        )
    return importlib.import_module(f"recipes.catalog.{name.replace('-', '_')}")


def _from_file(path):
    try:
        values = read_json(path)
    except OSError as error:
        raise ConfigError(f"cannot read recipe {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    return Recipe.from_dict(values)
